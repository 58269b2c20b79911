"""A head's verdict in a line, from its manifest alone: may it be shipped, may it be passed on, what did it learn from.

It is the first line of the card, of the metadata and of ``status``. Manifests of earlier editions give what they hold.
"""

from collections.abc import Mapping
from typing import Any

from vqa_assets.printing import named_or_counted

PREDICTORS = {
    "head": "the head",
    "ridge": "ridge regression",
    "svr": "RBF-SVR",
    "kernel_ridge": "RBF kernel ridge regression",
    "constant": "a constant",
    "vmaf": "VMAF",
}
"""What predicts beside a head, in words."""


def verdict_in_a_line(manifest: Mapping[str, Any], *, bold: bool = False) -> str:
    """The verdict; with ``bold`` as Markdown, whose first words stand out."""
    gate, mark = manifest["gate"], "**" if bold else ""
    worse = _worse_than(manifest)
    return " ".join(
        [
            *([f"{mark}{worse}{mark}"] if worse else []),
            f"{mark}{manifest['status']}{mark}.",
            _of_gate(gate),
            *_no_better_than_a_constant(manifest),
            # Of synthetic rows a head passes its gate, and says nothing about any video.
            "Do not ship it." if manifest.get("synthetic") or not gate["passed"] else "It may be shipped.",
            _passed_on(manifest),
            _learned_from(manifest),
        ]
    )


def differences(manifest: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Per baseline ``srocc``, the head's minus its own over the protocol's splits, and its 95 % ``interval``."""
    protocol = manifest.get("protocol") or {}
    return dict(protocol.get("head_minus", {}))


def beside_ridge(manifest: Mapping[str, Any]) -> str:
    """How the head's means over folds stand to those of ridge regression, as Markdown: PLCC and SROCC may disagree."""
    own, ridge = manifest["folds"]["mean"], manifest["folds"]["baselines"]["ridge"]["mean"]
    known = [name for name in ("plcc", "srocc") if own[name] is not None and ridge[name] is not None]
    above = {name.upper(): own[name] - ridge[name] for name in known}
    numbers = ", ".join(f"{name} {by:+.3f}" for name, by in above.items()) or "not known"
    better = [name for name, by in above.items() if by > 0]
    if len(better) == 2:
        words = "The head beats a ridge regression"
    elif better:
        words = f"**The head beats a ridge regression in {better[0]} only**"
    else:
        words = "**The head does not beat a ridge regression**"
    return f"{words}: the means over folds differ by {numbers}."


def with_limits(value: float | None, interval: tuple[float | None, float | None]) -> str:
    """``0.012 [-0.003, 0.031]``; ``0.012`` where there is no interval, ``–`` where there is no number."""
    if value is None:
        return "–"
    low, high = interval
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _better_baselines(manifest: Mapping[str, Any]) -> list[str]:
    """The baselines that a head is worse than beyond the interval of the difference, the best of them first."""
    apart = differences(manifest)
    better = [name for name, one in apart.items() if one["interval"][1] is not None and one["interval"][1] < 0]
    return sorted(better, key=lambda name: apart[name]["srocc"])


def _worse_than(manifest: Mapping[str, Any]) -> str:
    """Which baselines do better, and what to use instead; empty where none does."""
    better, apart = _better_baselines(manifest), differences(manifest)
    if not better:
        return ""
    best = better[0]
    each = ", ".join(
        f"{PREDICTORS[name]} (SROCC of the head minus its own: "
        f"{with_limits(apart[name]['srocc'], apart[name]['interval'])})"
        for name in better
    )
    instead = (
        "Use no head of these features."
        if best == "constant"
        else f"Use {PREDICTORS[best]} instead, fitted on these corpora with the settings that stand in the manifest "
        f"(`protocol.settings_chosen.{best}`)."
    )
    return f"On the same features {each} {'does' if len(better) == 1 else 'do'} better. {instead}"


def _no_better_than_a_constant(manifest: Mapping[str, Any]) -> list[str]:
    apart = differences(manifest).get("constant")
    low, high = apart["interval"] if apart else (None, None)
    if apart is None or low is None or high is None or low > 0 or high < 0:
        return []
    return [f"It is no better than a constant (SROCC {with_limits(apart['srocc'], (low, high))})."]


def _of_gate(gate: Mapping[str, Any]) -> str:
    if gate["passed"]:
        return "It passed its gate."
    begin = "It missed its gate: " if gate.get("measured", True) else "Its gate is "
    return f"{begin}{'; '.join(gate['reasons'])}."


def _passed_on(manifest: Mapping[str, Any]) -> str:
    redistribution = manifest.get("redistribution")
    return f"It {redistribution['consequence']}." if redistribution else "No licence binds it."


def _learned_from(manifest: Mapping[str, Any]) -> str:
    help_ = manifest.get("help") or {}
    corpora = {name: facts["rows"] for name, facts in manifest["corpora"].items()}
    helped = {f"{name} (help)": facts["rows"] for name, facts in help_.get("corpora", {}).items() if help_["used"]}
    each = ", ".join(f"{rows} rows of {name}" for name, rows in {**corpora, **helped}.items())
    absent = f"; absent: {named_or_counted(manifest['absent'])}" if manifest.get("absent") else ""
    return f"Trained on {each or 'synthetic rows only'}{absent}."
