"""The whole metadata path at 10⁴, 10⁵ and 10⁶ clips: seconds and peak memory of every stage, and how both grow.

A clip is a file of a few bytes; a fake prober and a fake extractor say what is in it, so that what is measured is what
the coordinator does. Each stage runs in a process of its own on what the stages before it left.

``VQA_BENCH_FULL=1`` adds 10⁶ clips, which take most of an hour on two cores and 15 GB of disk. What is measured goes
into the table and the plot of docs/scaling.md, in the place of rows of the same sizes.
"""

import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.corpus_folder import CORPUS, CorpusFolder, NoDownloader, NoProber, Threads
from benchmarks.features_table import NAMES, RandomNumbers
from benchmarks.plain import write_between
from vqa_assets.clips.folders import ClipFolders
from vqa_assets.features.family import Measured
from vqa_assets.provenance import RunContext
from vqa_assets.tables.paths import DataRoot

if TYPE_CHECKING:
    from vqa_assets.list_scores import ListReport

SIZES, LARGEST = (10_000, 100_000), 1_000_000
SLOPE_TARGET, MEMORY_TARGET_GIB = 1.1, 1.5
COLUMNS = 60
"""Features of a clip; a table of them has a dozen columns more."""
WORKERS = 32
"""Many, since none has work: what is measured is the coordinator, and it waits a moment for each window of clips."""
MARKS = "<!-- scale -->", "<!-- /scale -->"
_ROW = re.compile(
    r"\| `(?P<stage>[^`]+)` \| (?P<clips>[\d ]+) \| (?P<clock_s>[\d.]+) \| (?P<cpu_s>[\d.]+) \| (?P<peak_mib>\d+) \|"
)
PAGE = Path("docs/scaling.md")
PLOT = Path("docs/pictures/scale.png")


@dataclass(frozen=True)
class Cost:
    """What a stage took at one size: seconds by the clock and of processor, and the peak of its memory in MiB.

    Child processes count, but for the memory of those that ended.
    """

    clips: int
    clock_s: float
    cpu_s: float
    peak_mib: float


class FewNumbers(RandomNumbers):
    """An extractor of ``COLUMNS`` random numbers that opens no clip."""

    version = "few.1"

    def measure(self, clip: Path, **_: object) -> dict[str, Measured]:
        """The same numbers of one clip each time."""
        state, numbers = int(clip.stem) + 1, []
        for _number in range(COLUMNS):
            state = state * 48271 % 2147483647  # Park and Miller's generator: NumPy's takes longer to be made
            numbers.append(state / 2147483647)
        return {"random": {**dict(zip(NAMES, numbers, strict=False)), "n_feature_frames": 240}}


def corpus_jsonl(root: DataRoot) -> None:
    """Ingest: every clip is hashed and probed for the first time."""
    CorpusFolder(root).ingest(NoProber())


def corpus_jsonl_again(root: DataRoot) -> None:
    """Ingest of a corpus where nothing changed."""
    done = CorpusFolder(root).ingest(NoProber())
    if done.report.unchanged != done.report.rows_in:
        raise RuntimeError(done.report.counters())


def unified_corpus(root: DataRoot) -> None:
    """The unified corpus of that one shard, with all that the asset makes."""
    from vqa_assets.clips.processes import WorkerPool
    from vqa_assets.corpora import CORPORA
    from vqa_assets.unified.aggregation import UnifiedSettings, make_unified_corpus
    from vqa_assets.unified.shards import Shard

    with WorkerPool() as workers:
        settings = UnifiedSettings((Shard(root.corpus_jsonl(CORPUS)),), root.unified_corpus())
        make_unified_corpus(settings, CORPORA, _context(root), workers)


def clip_features(root: DataRoot) -> None:
    """The feature table: columns of a fake extractor, which opens no clip."""
    from vqa_assets.features.corpus_table import FeatureSettings, make_clip_features

    clips = ClipFolders(root.corpus_dir(CORPUS) / "clips")
    settings = FeatureSettings(root.corpus_jsonl(CORPUS), clips, workers=WORKERS)
    make_clip_features(CORPUS, settings, FewNumbers(), Threads(), _context(root))


def mos_features(root: DataRoot) -> None:
    """Features joined with scores."""
    from vqa_assets.labels.labelled import make_labelled_table
    from vqa_assets.labels.settings import LabelPaths, LabelSettings

    paths = LabelPaths(
        features=root.features(CORPUS),
        labels=(root.corpus_jsonl(CORPUS),),
        out=root.labelled(CORPUS),
        audit_json=root.labelled_audit(CORPUS),
    )
    make_labelled_table(paths, LabelSettings(), _context(root))


class NumbersOfHead(FewNumbers):
    """The same, with the columns that the head reads."""

    version = "few.head.1"

    def measure(self, clip: Path, **_: object) -> dict[str, Measured]:
        """See ``FewNumbers``."""
        from vqa_assets.feature_names import KONVID_V1

        numbers = super().measure(clip)["random"]
        return {"random": {**numbers, **{name: numbers[NAMES[n]] for n, name in enumerate(KONVID_V1.columns)}}}


def predict(root: DataRoot) -> None:
    """Scores of the clips as a list of names: hashed, probed by a fake and measured by a fake for the first time."""
    done = _scored(root)
    if (done.scored, done.measured) != (done.rows, done.rows):
        raise RuntimeError(done.counters())


def predict_again(root: DataRoot) -> None:
    """The same with all of it in the caches: what it costs to go on from a run that was cut short at its end."""
    done = _scored(root)
    if (done.scored, done.known) != (done.rows, done.rows):
        raise RuntimeError(done.counters())


def _scored(root: DataRoot) -> "ListReport":
    from vqa_assets.clip_list import open_list
    from vqa_assets.heads.using import open_head
    from vqa_assets.ingest.tools import ClipTools
    from vqa_assets.list_scores import ListServices, caches_of, score_list

    head, out = root.models() / f"{HEAD}.onnx", root.path / "scores.parquet"
    corpus = CorpusFolder(root)
    clips = open_list(corpus.folder / "manifest.csv", root, clip_column="video_name", clips_url=str(corpus.clips))
    tools, caches = ClipTools(NoProber(), NoDownloader()), caches_of(clips, root, out)
    services = ListServices(NumbersOfHead(), tools, Threads(), *caches, say=lambda _: None, workers=WORKERS)
    return score_list(open_head(head), head, clips, out, services, _context(root))


def make_head(root: DataRoot) -> None:
    """A head of two epochs."""
    from vqa_assets.heads.build import build_head
    from vqa_assets.heads.members.training import TorchTrainer
    from vqa_assets.heads.publish import HeadInputs, publish_head
    from vqa_assets.heads.recipe import HEAD_RECIPES
    from vqa_assets.heads.settings import TrainingSettings
    from vqa_assets.provenance.reading import read_now
    from vqa_assets_tests.shared.head_tables import FACTS, labelled, quiet, written

    settings = TrainingSettings(epochs=2, device="cpu", protocol_splits=0)
    table = {"konvid-1k": written(labelled(200), root.path / "train.parquet")}
    built = build_head(HEAD_RECIPES[HEAD], table, FACTS, settings, TorchTrainer(), quiet)
    publish_head(
        built, HeadInputs(HEAD, settings, read_now(table), {"konvid-1k": list(table.values())}), _context(root)
    )


STAGES: Mapping[str, Callable[[DataRoot], None]] = {
    "corpus_jsonl": corpus_jsonl,
    "corpus_jsonl again": corpus_jsonl_again,
    "unified_corpus": unified_corpus,
    "clip_features": clip_features,
    "mos_features": mos_features,
    "predict --from": predict,
    "predict --from again": predict_again,
}
HEAD = "konvid_mos_head_v1"


def _context(root: DataRoot) -> RunContext:
    return RunContext(root, {}, Path(__file__))


def main() -> None:
    """Print a line a stage and size, then how time and memory grow; write both into the docs."""
    sizes = (*SIZES, LARGEST) if os.environ.get("VQA_BENCH_FULL") == "1" else SIZES
    page = PAGE.read_text(encoding="utf-8")
    costs = {stage: {one.clips: one for one in told} for stage, told in _told(page).items()}
    for clips in sizes:
        with tempfile.TemporaryDirectory(prefix="vqa-bench-") as folder:
            _make_clips(DataRoot(Path(folder)), clips)
            # In a process of its own: what training takes is not the coordinator's that is measured.
            subprocess.run([sys.executable, "-m", "benchmarks.scale", "head", folder], check=True)
            for stage, of_stage in costs.items():
                cost = of_stage[clips] = _cost_of(stage, Path(folder), clips)
                print(
                    f"{stage}, {clips} clips: {cost.clock_s:.1f} s, {cost.cpu_s:.1f} s of processor, "
                    f"{cost.peak_mib:.0f} MiB at most; target: under {MEMORY_TARGET_GIB * 1024:.0f} MiB at {LARGEST}",
                    flush=True,
                )
    ordered = {stage: sorted(of_stage.values(), key=lambda one: one.clips) for stage, of_stage in costs.items()}
    for line in _growth(ordered):
        print(f"{line}; target: at most {SLOPE_TARGET}")
    write_between(PAGE, *MARKS, "\n".join(_lines(ordered)))
    _plot(ordered)


def _told(page: str) -> dict[str, list[Cost]]:
    """What the page's table says, stage by stage."""
    told: dict[str, list[Cost]] = {stage: [] for stage in STAGES}
    for row in _ROW.finditer(page):
        numbers = [float(row[name].replace(" ", "")) for name in ("clips", "clock_s", "cpu_s", "peak_mib")]
        if row["stage"] in told:
            told[row["stage"]].append(Cost(int(numbers[0]), *numbers[1:]))
    return told


def _growth(costs: Mapping[str, Sequence[Cost]]) -> Iterator[str]:
    """The slope of log time over log clips between the sizes, by processor time, which neighbours disturb less."""
    for stage, of_stage in costs.items():
        slopes = ", ".join(
            f"{_slope(few.cpu_s, many.cpu_s, many.clips / few.clips):.2f} from {few.clips} to {many.clips}"
            for few, many in pairwise(of_stage)
        )
        if slopes:
            yield f"{stage}: slope of log seconds of processor over log clips {slopes}"


def _slope(few: float, many: float, times: float) -> float:
    return math.log(many / few) / math.log(times)


def _lines(costs: Mapping[str, Sequence[Cost]]) -> Iterable[str]:
    """The table as the page has it."""
    yield f"{len(os.sched_getaffinity(0))} cores of an {os.uname().machine} machine, {COLUMNS} features a clip:\n"
    yield "| stage | clips | seconds | of processor | MiB at most |\n|---|---:|---:|---:|---:|"
    for stage, of_stage in costs.items():
        for one in of_stage:
            clips = f"{one.clips:,}".replace(",", " ")
            yield f"| `{stage}` | {clips} | {one.clock_s:.1f} | {one.cpu_s:.1f} | {one.peak_mib:.0f} |"
    yield ""
    yield from (f"- {line}" for line in _growth(costs))


def _plot(costs: Mapping[str, Sequence[Cost]]) -> None:
    """Seconds of processor and memory over clips, both axes logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, what, field in zip(
        figure.subplots(1, 2), ("seconds of processor", "MiB at most"), ("cpu_s", "peak_mib"), strict=True
    ):
        for stage, of_stage in costs.items():
            axes.loglog([c.clips for c in of_stage], [getattr(c, field) for c in of_stage], marker="o", label=stage)
        axes.set(xlabel="clips", ylabel=what)
        axes.grid(visible=True, which="major", alpha=0.3)
    figure.axes[0].legend(fontsize=7)
    figure.savefig(PLOT, dpi=90)


def _make_clips(root: DataRoot, count: int) -> None:
    corpus = CorpusFolder(root)
    corpus.clips.mkdir(parents=True)
    names = [f"{i:07d}.mp4" for i in range(count)]
    for name in names:
        (corpus.clips / name).write_bytes(name.encode())
    corpus.annotate(names)


def _cost_of(stage: str, folder: Path, clips: int) -> Cost:
    command = [sys.executable, "-m", "benchmarks.scale", stage, str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Cost(clips, **json.loads(done.stdout.splitlines()[-1]))


def _run(stage: str, folder: str) -> None:
    """One stage in this process; what it took is printed as JSON."""
    if stage == "head":
        make_head(DataRoot(Path(folder)))
        return
    begun = time.perf_counter()
    STAGES[stage](DataRoot(Path(folder)))
    seconds, processor = time.perf_counter() - begun, sum(os.times()[:4])
    print(json.dumps({"clock_s": seconds, "cpu_s": processor, "peak_mib": _peak_mib()}))


def _peak_mib() -> float:
    """The most memory this process had: not ``ru_maxrss``, which counts what its parent had when it was started."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    return int(found[1]) / 1024 if found else math.nan


if __name__ == "__main__":
    _run(*sys.argv[1:]) if len(sys.argv) > 1 else main()
