"""A head's model card, Markdown for people, written from its manifest alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from vqa_assets.heads.picture import target_of

Manifest = Mapping[str, Any]
_METRICS = {"plcc": "PLCC", "srocc": "SROCC", "krocc": "KROCC", "rmse": "RMSE", "rmse_over_sd": "RMSE ÷ SD"}
_PREDICTORS = {"head": "the head", "ridge": "ridge regression", "svr": "RBF-SVR", "vmaf": "VMAF"}
_FITTED = {"plcc_fitted": "PLCC fitted", "rmse_fitted": "RMSE fitted"}


def render_card(manifest: Manifest, picture: str = "") -> str:
    """The card as Markdown, ending in a newline. Numbers that are not defined read ``–``.

    ``picture`` is the file beside the card that shows predictions and residuals, where there is one.
    """
    first, middle = (_head, _purpose, _data, _results), (_residuals, _gate, _protocol, _use, _provenance)
    shown = f"![Predicted over measured scores, and residuals by corpus]({picture})" if picture else ""
    told = (*(section(manifest) for section in first), shown, *(section(manifest) for section in middle))
    return "\n\n".join(text for text in told if text) + "\n"


def _head(m: Manifest) -> str:
    lines = [f"# {m['title']} (`{m['id']}`)", "", f"**{m['status']}**. {_outcome(m)}"]
    if m["synthetic"]:
        lines += ["", "**Trained on synthetic rows only. It says nothing about any video.**"]
    return "\n".join(lines)


def _outcome(m: Manifest) -> str:
    gate = m["gate"]
    return "It passed its gate." if gate["passed"] else f"It missed its gate: {'; '.join(gate['reasons'])}."


def _purpose(m: Manifest) -> str:
    return "\n".join([f"For: {m['intended_use']}.", "", "Not for:", "", *(f"- {use}" for use in m["not_for"])])


def _data(m: Manifest) -> str:
    if not m["corpora"]:
        return "## Corpora\n\nNone."
    rows = [
        (f"{c['title']} ({name})", c["version"], c["rows"], c["licence"], c["redistribution"])
        for name, c in m["corpora"].items()
    ]
    lines = ["## Corpora", "", _table(("corpus", "version", "rows", "licence", "redistribution"), rows), ""]
    lines += [f"- {c['citation']}" for c in m["corpora"].values()]
    lines += ["", f"The strictest of these licences rules: the head {m['redistribution']['consequence']}."]
    told = {
        "absent": "Without a table",
        "excluded": "Excluded",
        "unused": "No row used",
        "constant": "Columns of one value",
        "filled": "Filled",
    }
    lines += [f"{text}: {', '.join(m[key])}." for key, text in told.items() if m[key]]
    return "\n".join([*lines, *_left_out(m)])


_LEFT_OUT = {
    "rows_failed": "of encodes that failed",
    "rows_unlabelled": "without a label",
    "rows_missing_features": "without all features",
    "duplicates": "of clips taken from another corpus",
}


def _left_out(m: Manifest) -> list[str]:
    """Per corpus, the rows that were not used, by reason."""
    told = []
    for name, corpus in m["corpora"].items():
        parts = [f"{corpus['counts'][key]} {why}" for key, why in _LEFT_OUT.items() if corpus["counts"][key]]
        told += [f"Left out of the {corpus['counts']['rows_in']} rows of {name}: {', '.join(parts)}."] if parts else []
    return told


_HOW_SPLIT = {
    "folds": "folds by content",
    "split": "the corpora's own split",
    "sources": "each source left out once",
}
_TOGETHER = {"folds": "All folds", "split": "The rows that judge", "sources": "All sources"}
_UNSEEN = {"folds": "out of fold", "split": "of the rows that judge", "sources": "each source by a head without it"}


def _results(m: Manifest) -> str:
    folds, names = m["folds"], {**_METRICS, **_FITTED}
    if not folds["each"]:
        return "## Results\n\nNot measured: there are too few sources to leave one out."
    each = [(f["name"], f["rows"], f["groups"], *_numbers(f, names)) for f in folds["each"]]
    means = [("mean", "", "", *_numbers(folds["mean"], names))]
    baselines = [(f"{name} (mean)", "", "", *_numbers(b["mean"], names)) for name, b in folds["baselines"].items()]
    pooled, held = folds["pooled"], m["holdout"]
    lines = [
        f"## Results, {_HOW_SPLIT[folds['kind']]}",
        "",
        _table(("", "rows", "contents", *names.values()), each + means + baselines),
        "",
    ]
    lines.append("The head beats ridge." if m["beats_ridge"] else "**The head does not beat a ridge regression.**")
    if leaking := folds["groups_in_train_and_test"]:
        lines.append(
            f"**{leaking} contents stand on both sides of the split: these numbers say nothing of new content.**"
        )
    lines.append(f"{_TOGETHER[folds['kind']]} together ({pooled['groups']} contents): {_intervals(pooled)}.")
    lines.append(_holdout(held) if held["rows"] else "Nothing was held out beside these.")
    if held["vmaf"]:
        lines.append(f"VMAF on {held['vmaf']['rows']} of the held-out rows: SROCC {_number(held['vmaf']['srocc'])}.")
    lines += [f"Test rows of {corpus}: {_intervals(judged)}." for corpus, judged in m["given_tests"].items()]
    left_out = m.get("leave_one_corpus_out", {})
    lines += [f"{corpus}, by a head trained on the others: {_intervals(j)}." for corpus, j in left_out.items()]
    return "\n".join(_as_paragraphs(lines))


def _as_paragraphs(lines: Sequence[str]) -> list[str]:
    """The sentences below a table as a list, which Markdown does not run together."""
    return [*lines[:4], *(f"- {line}" for line in lines[4:])]


def _holdout(held: Mapping[str, Any]) -> str:
    what = f"{held['rows']} rows of {held['groups']} contents, held out before anything else"
    return f"The shipped head on {what}: {_intervals(held)}."


def _residuals(m: Manifest) -> str:
    found = m["folds"]["residuals"]
    if not found:
        return ""
    names = {"mean": "mean", "sd": "SD", "p05": "5 %", "p95": "95 %"}
    table = _table(("predicted − measured", *names.values()), [(c, *_numbers(r, names)) for c, r in found.items()])
    return f"### Residuals by corpus, {_UNSEEN[m['folds']['kind']]}\n\n{table}"


def _gate(m: Manifest) -> str:
    gate = m["gate"]
    asked = [(name, limit) for name, limit in gate["thresholds"].items() if limit is not None]
    rows = [(n, _number(gate["numbers"][n]), limit) for n, limit in asked]
    lines = ["## Gate", "", _table(("number", "measured", "limit"), rows), "", "Thresholds never move with a result."]
    return "\n".join([*lines, "", *(f"- {reason}" for reason in gate["reasons"])]).rstrip()


def _protocol(m: Manifest) -> str:
    found = m["protocol"]
    if not found:
        return ""
    names = {"srocc": "SROCC", "krocc": "KROCC", "plcc": "PLCC", "rmse": "RMSE", "rmse_over_sd": "RMSE ÷ SD"}
    rows = [
        (_of_rows(name, found), *(_with_interval(medians[n], found["interval_95"][name][n]) for n in names))
        for name, medians in found["median"].items()
    ]
    asked = m["training_recipe"]["settings"]["protocol_splits"]
    all_there_are = " (all that there are)" if found["splits"] < asked else ""
    how = (
        f"Medians over {found['splits']} splits by content{all_there_are} (80 % train, 20 % judge) of "
        f"{found['rows']} rows of {found['groups']} contents; PLCC and RMSE after a four-parameter logistic fit; in "
        "brackets 95 % intervals over resampled contents (–: too few contents). The gate does not read them."
    )
    lines = [
        "## The field's protocol",
        "",
        how,
        "",
        _table(("", *names.values()), rows),
        "",
        f"The SVR has a Gaussian kernel and reads at most {found['svr_rows_at_most']} rows.",
    ]
    lines += [
        f"SROCC of the head minus that of {_PREDICTORS[name]}: {_with_interval(d['srocc'], d['interval'])}."
        for name, d in found["head_minus"].items()
    ]
    return "\n".join(lines)


def _of_rows(name: str, found: Mapping[str, Any]) -> str:
    """What a predictor is called, and on how many rows where those are fewer than the head's."""
    rows, told = found["rows_judged"], _PREDICTORS.get(name, name)
    return told if rows[name] == rows["head"] else f"{told} (known of {rows[name]} of {rows['head']} rows)"


def _with_interval(value: float | None, interval: Sequence[float | None]) -> str:
    return "–" if value is None else f"{_number(value)} [{', '.join(map(_number, interval))}]"


def _use(m: Manifest) -> str:
    features, vocab = len(m["feature_order"]), ", ".join(m["encoder_vocab"])
    name, (low, high) = target_of(m)
    told = f"{name.upper()} on {low:g}–{high:g}; NaN where an input of the row is not finite"
    rows = [
        ("`features`", f"float32 (N, {features})", "raw values in `feature_order`, never standardised by the caller"),
        (
            "`encoder_onehot`",
            f"float32 (N, {len(m['encoder_vocab'])})",
            f"1.0 for the {'clip' if name == 'mos' else 'encode'}'s one of: {vocab}",
        ),
        (f"`{name}` (output)", "float32 (N,)", told),
    ]
    lines = ["## Use", "", _table(("tensor", "shape", "unit"), rows), "", f"Feature schema `{m['feature_schema']}`:"]
    lines += [", ".join(f"`{column}`" for column in m["feature_order"]) + ".", ""]
    lines += [f"Architecture: {m['training_recipe']['architecture']}; {m['n_parameters']} parameters."]
    return "\n".join([*lines, *(("", _example(m)) if m["onnx"] else ())])


def _example(m: Manifest) -> str:
    """Ten lines that run beside the file."""
    typical = ", ".join(f"{mean:.6g}" for mean in m["feature_mean"])
    name, (low, high) = target_of(m)
    return f"""```python
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("{m["onnx"]}", providers=["CPUExecutionProvider"])
# one row per {"clip" if name == "mos" else "encode"}, in the order of feature_order; these are the training rows' means
features = np.array([[{typical}]], dtype=np.float32)
encoder_onehot = np.eye({len(m["encoder_vocab"])}, dtype=np.float32)[[0] * len(features)]
({name},) = session.run(["{name}"], {{"features": features, "encoder_onehot": encoder_onehot}})
print({name})  # one {name.upper()} on {low:g}–{high:g} per row
```"""


def _provenance(m: Manifest) -> str:
    trained = m["training_recipe"]
    lines = ["## Provenance", ""]
    lines.append(f"- trained on {trained['rows']} rows ({trained['trained_on']}), seed {trained['settings']['seed']}")
    lines.append(f"- on {trained['device']}, {trained['settings']['epochs']} epochs at most")
    if m["onnx"]:
        parity = m["parity"]["max_abs_difference"]
        lines.append(f"- `{m['onnx']}`, opset {m['opset']}, IR {m['ir_version']}, SHA-256 `{m['sha256']}`")
        lines.append(f"- onnxruntime and torch differ by {parity:.1e} at most")
    return "\n".join([*lines, *_run(m.get("run_provenance")), "- all settings: the manifest beside the file"])


def _run(run: Mapping[str, Any] | None) -> list[str]:
    """What the run read, with which code, and when; nothing of a head that was not stored."""
    if run is None:
        return []
    git, asset = run["git"], run["dagster"].get("asset_key")
    code = f"commit `{git['commit']}`{' with changes' if git.get('dirty') else ''}" if git.get("commit") else ""
    read = [f"- read {name}: SHA-256 `{file['sha256']}`" for name, file in run["inputs"].items()]
    told = ", ".join(part for part in (f"asset {asset}" if asset else "", code) if part)
    return [*read, f"- made {run['started_at_utc']}" + (f" by {told}" if told else "")]


def _numbers(scores: Mapping[str, Any], names: Mapping[str, str]) -> list[str]:
    return [_number(scores[name]) for name in names]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _intervals(judged: Mapping[str, Any]) -> str:
    """``PLCC 0.71 [0.60, 0.80]`` and so on, with 95 % bootstrap limits."""
    told = (
        f"{_METRICS[name]} {_number(judged[name])} [{_number(low)}, {_number(high)}]"
        for name, (low, high) in judged["interval_95"].items()
    )
    return ", ".join(told)


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
