"""Of a million clips little is in memory: where rows lie, what is known of whole clips; and the rows are the same."""

import errno
import gc
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vqa_assets.annotations import score_files
from vqa_assets.annotations.score_files import PackedLines
from vqa_assets.clips.folders import FileStamp
from vqa_assets.clips.geometry import Geometry
from vqa_assets.corpora import CORPORA
from vqa_assets.errors import ChangedInputError, IngestError
from vqa_assets.ingest import gather, rows
from vqa_assets.ingest.cache import PackedClips, ReadClip
from vqa_assets.ingest.clip_task import ClipOutcome, ClipSource, ClipState
from vqa_assets.ingest.outcomes import Outcomes
from vqa_assets.ingest.rows import OutputRow, OutputRows
from vqa_assets.tables import validation
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.fakes import SmallCorpus

GEOMETRY = Geometry(960, 540, 25.0, 8.0, "yuv420p", "h264")
WHOLE = ReadClip(FileStamp(1_000, 1_700_000_000_123_456_789), "ab" * 32, GEOMETRY)
MOST_BYTES_PER_ROW = 1_400
"""1.5 GiB for a million, less what a process takes by itself."""


def corpus_of(root: Path, clips: int) -> SmallCorpus:
    small = SmallCorpus(DataRoot(root), corpus=CORPORA["konvid-150k"])
    for i in range(clips):
        small.stage(f"{i:06d}.mp4", f"clip {i}".encode())
    small.annotate([(f"{i:06d}.mp4", "", 1 + i % 400 / 100, 0.5, 5) for i in range(clips)])
    return small


def test_rows_in_a_file_are_those_in_memory_however_few_are_in_hand(
    root_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = corpus_of(root_path, 12)
    first = small.ingest(max_rows=9)
    lines, version = small.lines(), first.data_version
    (small.folder / "clips" / "000003.mp4").unlink()
    for where, few in (
        (rows, {"_MOST_IN_MEMORY_BYTES": 1}),
        (gather, {"SETTLED_AT_ONCE": 2}),
        (score_files, {"_LINES_AT_ONCE": 2}),
        (validation, {"BATCH_ROWS": 2}),
    ):
        for name, value in few.items():
            monkeypatch.setattr(where, name, value)
    again = small.ingest(max_rows=9)
    assert (small.lines(), again.data_version, again.report.unchanged) == (lines, version, 8)
    assert [row["src"] for row in small.rows()] == [f"{i:06d}.mp4" for i in range(9)]
    assert small.ingest().report.counters()["written"] == 3


def test_rows_outside_a_run_stand_where_the_score_file_has_them(root_path: Path) -> None:
    small = corpus_of(root_path, 6)
    small.ingest()
    small.annotate([(f"{i:06d}.mp4", "", 3, 0.5, 5) for i in (5, 4, 2, 0)])
    small.ingest(max_rows=2)
    assert [row["src"][5] for row in small.rows()] == ["5", "4", "2", "0", "1", "3"]


def test_a_jsonl_that_somebody_writes_into_meanwhile_ends_the_run_and_stays_as_it_is(root_path: Path) -> None:
    small = corpus_of(root_path, 3)
    small.ingest()
    jsonl = small.root.corpus_jsonl(small.corpus)

    class WhoWritesIntoIt:
        """A prober under whose hands the earlier JSONL changes."""

        def probe(self, path: Path, timeout_s: float) -> Geometry:
            jsonl.write_text("{}\n" * 3)
            return GEOMETRY

        def close(self) -> None:
            """Nothing is open."""

    small.stage("000001.mp4", b"another clip")
    small.prober = WhoWritesIntoIt()
    with pytest.raises(ChangedInputError, match="changed while it was read"):
        small.ingest()
    assert jsonl.read_text() == "{}\n" * 3


def test_a_temporary_folder_without_room_is_told_by_its_name(root_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = corpus_of(root_path, 3)

    class Full:
        """A file for which there is no room."""

        def seek(self, _place: int) -> None:
            """At any place."""

        def write(self, _content: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None:
            """It holds nothing."""

    monkeypatch.setattr(rows.tempfile, "SpooledTemporaryFile", lambda **_: Full())
    monkeypatch.setattr(rows.tempfile, "gettempdir", lambda: "/scratch/of/mine")
    with pytest.raises(IngestError, match=r"cannot write /scratch/of/mine: No space left on device.*free space"):
        small.ingest()
    assert not small.root.corpus_jsonl(small.corpus).exists()


def test_rows_are_read_in_their_order_while_others_are_taken_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_MOST_IN_MEMORY_BYTES", 10)
    output = OutputRows()
    for name in "cab":
        output.append(OutputRow({"src": name}, b'{"src":"%s"}\n' % name.encode()))
        assert [out.row["src"] for out in output][-1] == name
    output.sort(lambda row: (0, str(row["src"])))
    assert [out.row["src"] for out in output] == ["a", "b", "c"]
    assert output.size_bytes == sum(map(len, output.raw()))


@pytest.mark.parametrize(
    "clip",
    [
        WHOLE,
        ReadClip(WHOLE.stamp, WHOLE.sha256, Geometry(960, 540, 25, 8.0, "yuv420p", "h264")),
        ReadClip(FileStamp(10, -5), "cd" * 32, GEOMETRY),
        ReadClip(FileStamp(10, 5), "cd" * 32, None, "no video stream"),
        ReadClip(FileStamp(10, 5), "cd" * 32, None, header=GEOMETRY),
        ReadClip(FileStamp(10, 5), "no digest", GEOMETRY),
    ],
    ids=["whole", "whole rate", "before 1970", "broken", "over a cap", "odd digest"],
)
def test_a_clip_in_few_bytes_is_the_clip_that_was_put(clip: ReadClip) -> None:
    clips = PackedClips()
    clips["other"], clips["a"] = WHOLE, clip
    assert (clips["a"], clips["other"], len(clips), list(clips)) == (clip, WHOLE, 2, ["other", "a"])
    assert repr(clips["a"]) == repr(clip)  # 25 and 25.0 are equal, and two rows
    del clips["a"]
    assert "a" not in clips
    assert clips.get("a") is None


def test_outcomes_are_as_they_were_put_but_for_what_a_clip_took() -> None:
    source = ClipSource("http://host/x", "x", "x.mkv", Path("x.mkv"))
    put = {
        "read": ClipOutcome(ClipState.READ, WHOLE, read_bytes=1_000),
        "from a source": ClipOutcome(ClipState.READ, WHOLE, source=source),
        "gone": ClipOutcome(ClipState.FAILED, reason="HTTP 404"),
    }
    outcomes = Outcomes(put)
    assert dict(outcomes) == {**put, "read": ClipOutcome(ClipState.READ, WHOLE)}
    outcomes["gone"], outcomes["read"] = outcomes["read"], outcomes["gone"]
    assert (outcomes["gone"].state, outcomes["read"].state, len(outcomes)) == (ClipState.READ, ClipState.FAILED, 3)
    del outcomes["gone"], outcomes["read"]
    assert list(outcomes) == ["from a source"]


def test_packed_lines_are_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_files, "_LINES_AT_ONCE", 3)
    lines = [(at, [f"clip {at}", "3.5"]) for at in range(1, 9)]
    packed = PackedLines(lines)
    assert list(packed) == lines
    for part in (slice(1, None), slice(2, 7), slice(None, None, -1), slice(5, 2), slice(-2, None)):
        assert packed[part] == lines[part]
    assert (packed[0], packed[-1], len(packed)) == (lines[0], lines[-1], 8)
    with pytest.raises(IndexError):
        packed[8]


@pytest.fixture
def few_in_hand(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Windows that are small beside the few clips of a test."""
    monkeypatch.setattr(rows, "_MOST_IN_MEMORY_BYTES", 1)
    monkeypatch.setattr(validation, "BATCH_ROWS", 200)
    monkeypatch.setattr(gather, "SETTLED_AT_ONCE", 200)
    # What other tests left alive is no heap of a run's: beside a large one Python looks for garbage more rarely.
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
    tracemalloc.stop()


@pytest.mark.takes_long("tracing what 3 000 clips take")
@pytest.mark.usefixtures("few_in_hand")
def test_memory_per_row_allows_a_million_clips_in_one_and_a_half_gibibytes(tmp_path: Path) -> None:
    def peaks(clips: int) -> list[int]:
        small, found = corpus_of(tmp_path / str(clips), clips), []
        for _ in range(2):
            gc.collect()
            tracemalloc.start()
            small.ingest()
            found.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        return found

    corpus_of(tmp_path / "warm", 10).ingest()  # libraries are imported by now
    few, many = peaks(300), peaks(1_500)
    growth: list[Any] = [(more - less) / 1_200 for less, more in zip(few, many, strict=True)]
    assert max(growth) < MOST_BYTES_PER_ROW, growth
