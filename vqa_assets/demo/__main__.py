"""``python -m vqa_assets.demo``: a small corpus made on the spot becomes a trained, judged head, through Dagster.

The pictures are procedural and the scores made up: what comes out shows the platform, and says nothing of video.
"""

import argparse
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from vqa_assets.clip_work import clock
from vqa_assets.corpora import CORPORA
from vqa_assets.definitions import build_defs
from vqa_assets.demo.corpus import DemoCorpus, make_demo_corpus, write_manifest
from vqa_assets.demo.server import ClipServer
from vqa_assets.demo.summary import summary_lines
from vqa_assets.errors import VqaError
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.store.files import write_bytes
from vqa_assets.store.paths import DataRoot
from vqa_assets.workflow import StepResult, instance_for_commands, log_to_stderr, plan, run_steps

CORPUS = CORPORA["konvid-150k"]
PORT = 38_150
_SETTINGS = "# The demo's corpus is small; KonViD-150k's own bound is 5 000 rows.\nmin_rows = 20\n"
_log = logging.getLogger("vqa_assets.demo")


def prepare(root: DataRoot, clips: int) -> DemoCorpus:
    """The demo's clips (made once) under ``<root>/.demo``, and the corpus's ``ingest.toml``."""
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
        return demo, run_steps(plan(root), defs, instance_for_commands(), _log.info)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit status 0 when every stage succeeded."""
    parser = argparse.ArgumentParser(prog="python -m vqa_assets.demo", description=__doc__)
    parser.add_argument("--root", default="demo-data", help="data root to make (default: demo-data)")
    parser.add_argument("--clips", type=int, default=120, help="clips to make (default: 120)")
    parser.add_argument("--port", type=int, default=PORT, help=f"port of the clips' server (default: {PORT}, if free)")
    options = parser.parse_args(arguments)
    log_to_stderr()
    begun = time.monotonic()
    path = Path(options.root)
    path.mkdir(parents=True, exist_ok=True)
    try:
        root = DataRoot.resolve(str(path), os.environ)
        demo, results = run_demo(root, options.clips, options.port)
    except VqaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("\n".join(summary_lines(root, demo)))
    failed = [result.step.title for result in results if not result.succeeded]
    if failed:
        print(f"\nFAILED: {', '.join(failed)}; the reasons stand above", file=sys.stderr)
    print(f"\nall done in {clock(time.monotonic() - begun)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
