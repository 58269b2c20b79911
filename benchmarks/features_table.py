"""Memory of the feature table of 150 000 clips: its own process, a fake family of random numbers, nothing decoded.

What is measured is the coordinator: cache, batches, Parquet, the view and the audit over it.
"""

import json
import multiprocessing
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vqa_assets.clips.folders import ClipFolders
from vqa_assets.clips.work import ThreadClipPool
from vqa_assets.corpora import CORPORA
from vqa_assets.feature_names import NO_REFERENCE, TIME_VARYING, pooled_columns
from vqa_assets.features.corpus_table import FeatureSettings, make_clip_features
from vqa_assets.features.family import FamilyVersion, Measured
from vqa_assets.provenance import RunContext
from vqa_assets.tables.parquet import column_names
from vqa_assets.tables.paths import DataRoot

CLIPS, COLUMNS, TARGET_GIB = 150_000, 197, 1.0
WORKERS = 32
"""Many, since none has work: what is measured is the coordinator, and it waits a moment for each window of clips."""

CARRIED_ALONG = 10
"""Columns of the table that no family measures: key, hash, geometry, size, codec, corpus."""

NAMES = [name for feature in (*NO_REFERENCE, *TIME_VARYING) for name in pooled_columns(feature)]


class RandomNumbers:
    """An extractor of one family, that opens no clip; with what is carried along a row has ``COLUMNS`` columns."""

    version = "random.1"

    @property
    def families(self) -> Sequence[FamilyVersion]:
        """The one family."""
        return [FamilyVersion("random", self.version, compares=False)]

    def measure(self, clip: Path, **_: object) -> dict[str, Measured]:
        """Random numbers that are always the same for one clip."""
        numbers = np.random.default_rng(int(clip.stem)).random(COLUMNS - CARRIED_ALONG - 1)
        return {"random": {**dict(zip(NAMES, numbers.tolist(), strict=False)), "n_feature_frames": 240}}


def main() -> None:
    """Print the peak memory of a run that measures all, and of one that has all in the cache."""
    with tempfile.TemporaryDirectory(prefix="vqa-bench-") as folder:
        _make_corpus(Path(folder))
        for what in ("measured", "from the cache"):
            # A process of its own: the peak of this one would be that of whatever ran before.
            process = multiprocessing.get_context("spawn").Process(target=_measure, args=(folder, what))
            process.start()
            process.join()
            if process.exitcode:
                raise RuntimeError(f"exit status {process.exitcode}")


def _make_corpus(root: Path) -> None:
    """The JSONL of the corpus; all of its clips are one empty file under many names."""
    corpus = CORPORA["konvid-150k"]
    clips = DataRoot(root).corpus_dir(corpus) / "clips"
    clips.mkdir(parents=True)
    (clips / "empty").touch()
    shape = {"width": 960, "height": 540, "framerate": 30.0, "duration_s": 5.0, "pix_fmt": "yuv420p"}
    with DataRoot(root).corpus_jsonl(corpus).open("w") as jsonl:
        for number in range(CLIPS):
            name = f"{number:07}.mp4"
            (clips / name).symlink_to("empty")
            row = {"src": name, "src_sha256": f"{number:064x}", "src_size_bytes": 99, "mos": 1 + number % 400 / 100}
            jsonl.write(json.dumps({**row, **shape, "encoder_upstream": "h264", "corpus": corpus.name}) + "\n")


def _measure(folder: str, what: str) -> None:
    root, corpus = DataRoot(Path(folder)), CORPORA["konvid-150k"]
    clips = ClipFolders(root.corpus_dir(corpus) / "clips")
    settings = FeatureSettings(root.corpus_jsonl(corpus), clips, workers=WORKERS)
    begun, used = time.perf_counter(), time.process_time()
    made = make_clip_features(corpus, settings, RandomNumbers(), ThreadClipPool(), RunContext(root, {}, Path(__file__)))
    seconds, processor = time.perf_counter() - begun, time.process_time() - used
    # Not RUSAGE_SELF: its peak outlives exec, and would be that of the process that began this one.
    peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text(encoding="ascii"))
    gib = int(peak[1]) / 2**20 if peak else float("nan")
    print(
        f"feature table of {made.rows} clips × {len(column_names(made.path))} columns, {what}: {gib:.2f} GiB at most, "
        f"{seconds:.0f} s ({processor:.0f} s of the processor); target: under {TARGET_GIB:g} GiB; "
        "bound by JSON and SQLite",
        flush=True,
    )


if __name__ == "__main__":
    main()
