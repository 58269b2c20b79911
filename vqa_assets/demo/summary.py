"""What the demo tells at its end: a short table, read from the replay manifests of what was made."""

from collections.abc import Iterator, Mapping
from typing import Any

from vqa_assets.corpora import CORPORA
from vqa_assets.demo.corpus import DemoCorpus
from vqa_assets.heads.recipe import KONVID_MOS_HEAD_V1
from vqa_assets.ingest.report import LOST
from vqa_assets.tables.files import read_json_object
from vqa_assets.tables.paths import DataRoot, manifest_path

_CORPUS = CORPORA["konvid-150k"]
_WIDTH = 22


def summary_lines(root: DataRoot, demo: DemoCorpus) -> Iterator[str]:
    """The lines of the table; a stage that left no manifest is said to be missing."""
    yield ""
    yield "The demo's clips are procedural and its scores are made up: they show the platform, not video quality."
    yield ""
    yield from _ingest(_manifest(root, "ingest"), demo)
    yield from _unified(_manifest(root, "unified"))
    yield from _features(_manifest(root, "features"))
    yield from _head(_manifest(root, "head"))
    yield ""
    yield f"files are in {root.path}"
    yield "see it all in the web UI (lineage, checks, partitions, metadata): make ui"


def _manifest(root: DataRoot, stage: str) -> Mapping[str, Any]:
    paths = {
        "ingest": manifest_path(root.corpus_jsonl(_CORPUS)),
        "unified": manifest_path(root.unified_corpus()),
        "features": manifest_path(root.features(_CORPUS)),
        "head": root.models() / f"{KONVID_MOS_HEAD_V1.name}.json",
    }
    return read_json_object(paths[stage]) if paths[stage].is_file() else {}


def _line(name: str, told: object) -> str:
    return f"  {name:<{_WIDTH}}{told}"


def _ingest(manifest: Mapping[str, Any], demo: DemoCorpus) -> Iterator[str]:
    if not manifest:
        yield _line("rows in", "missing: corpus_jsonl failed")
        return
    counters = manifest["counters"]
    yield _line("rows in", counters["rows_in"])
    for loss in manifest["losses"]:
        yield _line(f"  {loss['counter']}", f"{loss['src']}: {loss['reason']}")
    lost = sum(counters[name] for name in LOST)
    yield _line("rows out", f"{counters['rows_out']} = {counters['rows_in']} in − {lost} lost")
    yield _line("faults put in", ", ".join(f"{name} ({what})" for name, what in demo.faults.items()))


def _unified(manifest: Mapping[str, Any]) -> Iterator[str]:
    told = manifest["counters"]["rows_out"] if manifest else "missing: unified_corpus failed"
    yield _line("unified rows", told)


def _features(manifest: Mapping[str, Any]) -> Iterator[str]:
    if not manifest:
        yield _line("features", "missing: clip_features failed")
        return
    counters = manifest["counters"]
    yield _line(
        "features",
        f"{counters['measured'] + counters['cached']} clips ({counters['measured']} measured now, "
        f"{counters['cached']} known), {counters['failed']} failed",
    )


def _head(manifest: Mapping[str, Any]) -> Iterator[str]:
    if not manifest:
        yield _line("head", f"missing: {KONVID_MOS_HEAD_V1.name} failed")
        return
    yield _line("head", f"models/{manifest['onnx']}, models/{KONVID_MOS_HEAD_V1.name}.json, … _card.md")
    for fold in manifest["folds"]["each"]:
        yield _line(f"  {fold['name']}", _scores(fold))
    yield _line("  mean", _scores(manifest["folds"]["mean"]))
    yield _line("  ridge", _scores(manifest["folds"]["baselines"]["ridge"]["mean"]))
    verdict = "passed" if manifest["gate"]["passed"] else "missed"
    yield _line("gate", f"{verdict}: the head is {manifest['status']}")
    for reason in manifest["gate"]["reasons"]:
        yield _line("", reason)
    yield _line("", "with so few clips a miss is what should be expected")


def _scores(scores: Mapping[str, Any]) -> str:
    names = ("plcc", "srocc", "rmse")
    return "  ".join(f"{n.upper()} {scores[n]:.3f}" if scores.get(n) is not None else f"{n.upper()} –" for n in names)
