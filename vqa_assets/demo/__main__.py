"""``python -m vqa_assets.demo``: a small corpus made on the spot becomes a trained, judged head, through Dagster.

The pictures are procedural and the scores made up: what comes out shows the platform, and says nothing of video.
"""

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from vqa_assets.arguments import CommandParser
from vqa_assets.clips.work import clock
from vqa_assets.corpora import CORPORA
from vqa_assets.definitions import build_defs, declared_corpora
from vqa_assets.demo.demo_corpus import DemoCorpus, is_demo_manifest, make_demo_corpus, write_manifest
from vqa_assets.demo.server import ClipServer
from vqa_assets.errors import SettingsError, VqaError
from vqa_assets.heads.recipe import KONVID_MOS_HEAD_V1
from vqa_assets.home import instance_of
from vqa_assets.ingest.layout import CorpusLayout
from vqa_assets.ingest.rows import LOST
from vqa_assets.printing import logger, tell, tell_error
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.tables.files import read_json_object, write_bytes
from vqa_assets.tables.paths import DataRoot, manifest_path
from vqa_assets.workflow import StepResult, left_out_lines, log_to_stderr, plan, run_steps

CORPUS = CORPORA["konvid-150k"]
PORT = 38_150
LEAST_CLIPS = 20
_SETTINGS = (
    "# The demo's corpus is small, KonViD-150k's own bound is 5 000 rows; and it is no release of KonViD-150k.\n"
    f'min_rows = {LEAST_CLIPS}\ncorpus_version = "demo"\n'
)
_WIDTH = 22
OVERVIEW_ADDRESS = "http://127.0.0.1:3000/assets/overview"
"""Where ``make ui`` shows the overview; ``ui.PORT`` is not imported for it, since that loads a server."""
_log = logger("vqa_assets.demo")


def prepare(root: DataRoot, clips: int) -> DemoCorpus:
    """The demo's clips (made once) under ``<root>/.demo``, and the corpus's ``ingest.toml``.

    SettingsError where the root holds a score file that is not the demo's, whichever corpus it is of.
    """
    # The demo writes its own score file: one that somebody dropped stands in the way, and is never replaced. Beside
    # other corpora its made-up scores would go into what is made of them all.
    own = root.corpus_dir(CORPUS) / CORPUS.acquisition.file
    corpora = declared_corpora(root).values()
    dropped = [path for one in corpora for path in CorpusLayout.standing(one, root).waiting_annotation_files()]
    files = dict.fromkeys([*([own] if own.exists() else []), *dropped])
    foreign = [path for path in files if not is_demo_manifest(path)]
    if foreign:
        raise SettingsError(
            f"{foreign[0]}",
            found="a score file that the demo did not write",
            expected="a data root of the demo's own",
            next_step="name another folder by --root: demo-data is the usual one; nothing was written here",
        )
    demo = make_demo_corpus(root.path / ".demo", clips=clips, say=_log.info)
    settings = root.ingest_toml(CORPUS)
    if not settings.exists():
        write_bytes(settings, _SETTINGS.encode())
    return demo


def run_demo(root: DataRoot, clips: int, port: int) -> tuple[DemoCorpus, list[StepResult]]:
    """Serve the demo's clips on 127.0.0.1 and materialize every stage from them."""
    demo = prepare(root, clips)
    with ClipServer(demo.served, port=port) as server:
        annotation_file = root.corpus_dir(CORPUS) / CORPUS.acquisition.file
        write_manifest(demo, server.base_url, annotation_file)
        defs = build_defs(data_root=DataRootResource(path=str(root.path)))
        return demo, run_steps(plan(root), defs, instance_of(root), _log.info, root)


def summary_lines(root: DataRoot, demo: DemoCorpus) -> Iterator[str]:
    """A short table from the replay manifests of what was made; a stage that left none is named as missing."""
    yield ""
    yield "The demo's clips are procedural and its scores are made up: they show the platform, not video quality."
    yield ""
    yield from _ingest(_manifest(root, "ingest"), demo)
    unified = _manifest(root, "unified")
    yield _line("unified rows", unified["counters"]["rows_out"] if unified else "missing: unified_corpus failed")
    yield from _features(_manifest(root, "features"))
    joined = _manifest(root, "unified_features")
    missing = "missing: unified_features failed"
    yield _line("unified with features", joined["counters"]["rows_out"] if joined else missing)
    yield from _head(_manifest(root, "head"))
    yield ""
    yield f"files are in {root.path}"
    yield f"see it all in the web UI: vqa-assets ui --root {quote(str(root.path))} (in a checkout: make ui)"
    yield f"the page to open first: {OVERVIEW_ADDRESS}"


def _manifest(root: DataRoot, stage: str) -> Mapping[str, Any]:
    paths = {
        "ingest": CorpusLayout.standing(CORPUS, root).manifest,
        "unified": manifest_path(root.unified_corpus()),
        "features": manifest_path(root.features(CORPUS)),
        "unified_features": manifest_path(root.unified_features()),
        "head": root.models() / f"{KONVID_MOS_HEAD_V1.name}.json",
    }
    return read_json_object(paths[stage]) if paths[stage].is_file() else {}


def _line(name: str, value: object) -> str:
    return f"  {name:<{_WIDTH}}{value}"


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


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit status 0 when every stage succeeded."""
    parser = CommandParser(prog="vqa-assets demo", description=__doc__)
    parser.add_argument("--root", default="demo-data", help="data root to make (default: demo-data)")
    parser.add_argument("--clips", type=int, default=120, help="clips to make (default: 120)")
    parser.add_argument("--port", type=int, default=PORT, help=f"port of the clips' server (default: {PORT}, if free)")
    options = parser.parse_args(arguments)
    if options.clips < LEAST_CLIPS:
        parser.error(f"argument --clips: {options.clips}, expected at least {LEAST_CLIPS}")
    log_to_stderr()
    begun = time.monotonic()
    path = Path(options.root)
    path.mkdir(parents=True, exist_ok=True)
    try:
        root = DataRoot.resolve(str(path), os.environ)
        demo, results = run_demo(root, options.clips, options.port)
    except VqaError as error:
        tell_error(error)
        return 1
    tell("\n".join(summary_lines(root, demo)))
    if lines := left_out_lines(results):
        tell("\n".join(lines))
    failed = [result.step.title for result in results if result.failed]
    if failed:
        tell(f"\nFAILED: {', '.join(failed)}; the reasons stand above", file=sys.stderr)
    tell(f"\nall done in {clock(time.monotonic() - begun)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
