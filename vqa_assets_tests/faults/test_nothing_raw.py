"""Damaged files of ours: every command and stage that reads one ends in our own words, whatever library read it.

What a fault in the middle of a run leaves is the campaign's; here files lie, and are damaged while nothing runs.
"""

import contextlib
import io
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from vqa_assets import describe, judge, predict, status
from vqa_assets.command import main as vqa_assets_main
from vqa_assets.errors import VqaError
from vqa_assets.heads.build import BuiltHead, build_head
from vqa_assets.heads.judging.regression import against_published
from vqa_assets.heads.judging.seen import KnownRows, training_of
from vqa_assets.heads.members.training import TorchTrainer
from vqa_assets.heads.publish import HeadInputs, publish_head
from vqa_assets.heads.recipe import KONVID_MOS_HEAD_V1
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.provenance import RunContext
from vqa_assets.provenance import verify as provenance
from vqa_assets.tables.files import fault_of
from vqa_assets.tables.parquet import iterate_frames, table_version
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.fakes import SmallCorpus
from vqa_assets_tests.shared.head_tables import FACTS, labelled, quiet, written
from vqa_assets_tests.shared.unified_corpora import clip, unify

SEED = 20261128
HEAD = KONVID_MOS_HEAD_V1.name
ONE_ROW = KnownRows(("a.mp4",), ("konvid-1k",), ("a",), ("",))
SETTINGS = TrainingSettings(epochs=1, device="cpu", protocol_splits=0, k_folds=2)


@dataclass(frozen=True)
class Ground:
    """A small data root of files that commands read, and what was built to publish the head again."""

    root: DataRoot
    built: BuiltHead
    inputs: HeadInputs

    @property
    def table(self) -> Path:
        return self.root.path / "konvid-1k" / "features_with_mos.parquet"


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    root = DataRoot(tmp_path_factory.mktemp("ground") / "data")
    (root.path / "konvid-1k").mkdir(parents=True)
    unify(root.path, [clip(name, 2.0 + number, "konvid-1k") for number, name in enumerate("abc")])
    small = SmallCorpus(root)
    small.annotate([(f"{name}.mp4", "", 3, "", "") for name in "ab"])
    for name in "ab":
        small.stage(f"{name}.mp4", name.encode())
    small.ingest()
    table = written(labelled(60), root.path / "konvid-1k" / "features_with_mos.parquet")
    built = build_head(KONVID_MOS_HEAD_V1, {"konvid-1k": table}, FACTS, SETTINGS, TorchTrainer(), quiet)
    inputs = HeadInputs(HEAD, SETTINGS, {"features_with_mos_konvid-1k": table}, {"konvid-1k": [table]})
    ground = Ground(root, built, inputs)
    publish_head(built, inputs, RunContext(root, {}, Path(__file__)))
    return ground


def cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def flipped(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    # Half of them near the end, where a Parquet table keeps what it needs to be read.
    place = chance.choice([chance.randrange(len(changed)), len(changed) - 1 - chance.randrange(min(400, len(changed)))])
    changed[place] ^= 1 << chance.randrange(8)
    return bytes(changed)


def zeroed(content: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(content))
    return content[:start] + bytes(len(content[start : start + 512])) + content[start + 512 :]


def emptied(content: bytes, chance: random.Random) -> bytes:
    return b""


DAMAGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (cut, cut, flipped, flipped, flipped, zeroed, emptied)


def command(main: Callable[[list[str]], int], *arguments: object) -> str:
    """What a command says, which must end by itself, with a status."""
    with contextlib.redirect_stderr(io.StringIO()) as told, contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())):
        assert main([str(argument) for argument in arguments]) in (0, 1, 2)
    assert "Error:" not in told.getvalue()
    return told.getvalue()


def in_our_words(call: Callable[[], object]) -> None:
    """Nothing but an error of ours comes out of ``call``, or what the disk refuses."""
    with contextlib.suppress(VqaError):
        try:
            call()
        except OSError as error:
            if fault_of(error) is None:
                raise


def reader_of(ground: Ground, name: str) -> Callable[[Path], object]:
    """What reads a file of this name."""
    at = ["--root", ground.root.path]
    head = ground.root.models() / f"{HEAD}.onnx"
    scores = ["--resamples", "12"]

    def shared(*what: str) -> None:
        command(vqa_assets_main, *what, "--to", ground.root.path.with_name("shared"), *at, "--i-may")

    def judged_and_predicted(path: Path) -> None:
        shared("publish", "konvid-1k")
        command(judge.main, *scores, head, ground.table)
        command(judge.main, *scores, "adm2", ground.table)
        command(predict.main, head, ground.table)

    def compared(path: Path) -> None:
        against_published(
            head, None, ground.built.held_out, ground.inputs.rows, target=ground.inputs.settings.target, synthetic=False
        )

    def seen(path: Path) -> None:
        if training := training_of(head):
            training.seen(ONE_ROW)

    def verified(path: Path) -> None:
        command(status.main, *at)
        command(provenance.main, "verify", path)

    readers: dict[str, Callable[[Path], object]] = {
        "features_with_mos.parquet": judged_and_predicted,
        f"{HEAD}.onnx": lambda path: (
            command(predict.main, head, ground.table),
            compared(path),
            shared("publish", HEAD),
        ),
        f"{HEAD}.json": lambda path: (
            command(predict.main, head, ground.table),
            verified(path),
            seen(path),
            shared("publish", HEAD),
        ),
        f"{HEAD}.predictions.parquet": seen,
        "unified_corpus.parquet": lambda path: (
            command(describe.main, path),
            shared("publish", "unified_corpus"),
            in_our_words(lambda: table_version(path)),
            in_our_words(lambda: list(iterate_frames(path, ["src"]))),
        ),
        "konvid_150k.jsonl": lambda path: (command(status.main, *at), shared("export", "--for", "csv")),
        "konvid_150k.manifest.json": verified,
        "unified_corpus.manifest.json": verified,
    }
    return readers[name]


FILES = (
    "konvid-1k/features_with_mos.parquet",
    f"models/{HEAD}.onnx",
    f"models/{HEAD}.json",
    f"models/{HEAD}.predictions.parquet",
    "aggregated/unified_corpus.parquet",
    "aggregated/unified_corpus.manifest.json",
    "konvid-150k/konvid_150k.jsonl",
    "konvid-150k/konvid_150k.manifest.json",
)


@pytest.fixture
def kept(ground: Ground) -> Iterator[None]:
    """The data root as it was, after the test again."""
    beside = ground.root.path.with_name("kept")
    shutil.copytree(ground.root.path, beside)
    yield
    shutil.rmtree(ground.root.path)
    beside.rename(ground.root.path)


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("name", FILES)
def test_whoever_reads_a_damaged_file_says_so_in_our_words(ground: Ground, name: str) -> None:
    path = ground.root.path / name
    content, chance, read = path.read_bytes(), random.Random(SEED), reader_of(ground, Path(name).name)
    for damage in DAMAGES:
        path.write_bytes(damage(content, chance))
        in_our_words(lambda: read(path))


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize(
    "content", ["{}", '{"run_provenance": [], "target": "mos"}', '{"run_provenance": {}, "folds": 7}']
)
def test_a_head_is_published_whatever_became_of_the_manifest_of_the_one_before(ground: Ground, content: str) -> None:
    onnx = ground.root.models() / f"{HEAD}.onnx"
    onnx.with_suffix(".json").write_text(content)
    held = ground.built.held_out
    told = against_published(onnx, "f" * 64, held, ground.inputs.rows, target="mos", synthetic=False)
    assert told["compared"] is False
    assert told["reason"].startswith("the head before cannot be used: ")
