"""A score file costs so much time and memory and no more, whatever its format; what is no file is told."""

import gzip
import io
import json
import os
import signal
import socket
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from vqa_assets.annotations import score_files
from vqa_assets.annotations.finding import find_annotation_files
from vqa_assets.annotations.matlab import SheetFacts
from vqa_assets.annotations.reading import read_annotations
from vqa_assets.annotations.score_files import ScoreFile, read_score_file, stop_reading
from vqa_assets.corpora.konvid_150k import KONVID_150K
from vqa_assets.errors import AnnotationError
from vqa_assets.ingest.settings import resolve
from vqa_assets_tests.shared.layouts import workbook

MIB = 1 << 20
FACTS = SheetFacts("little: scores", "nowhere", 1, ("name",), ("mos",), "mos")
LITTLE = KONVID_150K.but(name="little", min_rows=1, lookalike="", parts=(), clip_folders=())
GOOD = b"name,mos\na.mp4,3.5\nb.mp4,4\n"


@pytest.fixture(autouse=True)
def fresh_process() -> Iterator[None]:
    """What these tests do to the process that reads is theirs alone."""
    yield
    stop_reading()


def wide_text(separator: bytes) -> bytes:
    """A text of two million values."""
    return b"name,mos\n".replace(b",", separator) + (b"ab" + separator) * (2 * MIB)


def long_texts(rows: int = 50_000) -> bytes:
    """A workbook of rows with a text of 2 500 characters each, well packed; it says that there are two rows."""
    plain = io.BytesIO(workbook(MOS=[["name", "mos"], ["a.mp4", 3.5]]))
    packed = io.BytesIO()
    with zipfile.ZipFile(plain) as book, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as out:
        for name in book.namelist():
            content = book.read(name)
            if name.endswith("sheet1.xml"):
                row = b'<row r="%d"><c r="A%d" t="inlineStr"><is><t>%02500d</t></is></c></row>'
                head, end, tail = content.partition(b"</sheetData>")
                content = head + b"".join(row % (at, at, at) for at in range(3, rows + 1)) + end + tail
            out.writestr(name, content)
    return packed.getvalue()


def packed_numbers() -> bytes:
    """A MATLAB file of version 5: a hundred million bytes of zeros in a few thousand."""
    out = io.BytesIO()
    scipy.io.savemat(out, {"name": np.array(["a", "b"], object), "mos": np.zeros(12 * MIB)}, do_compression=True)
    return out.getvalue()


def packed_numbers_7_3() -> bytes:
    """The same as version 7.3."""
    out = io.BytesIO()
    with h5py.File(out, "w", userblock_size=512) as file:
        file.create_dataset("mos", shape=(1, 12 * MIB), dtype=float, compression="gzip")
        file["mos"].attrs["MATLAB_class"] = np.bytes_("double")
    head = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Nov 03 10:00:00 2025 HDF5 schema 1.00 .".ljust(124)
    return head + b"\x00\x02IM" + out.getvalue()[128:]


LARGE: dict[str, Callable[[], bytes]] = {
    "csv": lambda: wide_text(b","),
    "tsv": lambda: wide_text(b"\t"),
    "blanks": lambda: wide_text(b" "),
    "json": lambda: b"[" + b'["a"],' * (2 * MIB) + b'["a"]]',
    "xlsx": long_texts,
    "mat": packed_numbers,
    "mat 7.3": packed_numbers_7_3,
}


def refusal(path: Path, facts: SheetFacts = FACTS) -> AnnotationError:
    with pytest.raises(AnnotationError) as caught:
        read_score_file(path, facts)
    assert caught.value.next_step
    return caught.value


def names(file: ScoreFile) -> list[str]:
    return [values[0] for _, values in file.lines]


@pytest.mark.parametrize("kind", LARGE)
def test_a_file_that_takes_too_much_memory_is_refused_and_the_next_is_read(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scores").write_bytes(LARGE[kind]())
    (tmp_path / "good.csv").write_bytes(GOOD)
    monkeypatch.setattr(score_files, "MOST_BYTES", 64 * MIB)
    found = refusal(tmp_path / "scores").found
    # A library may say it in its own words before the limit is met.
    assert found == "a file that takes more than 64 MiB of memory to read" or "cannot be read" in found, found
    assert names(read_score_file(tmp_path / "good.csv", FACTS)) == ["name", "a.mp4", "b.mp4"]


@pytest.mark.parametrize("kind", ["csv", "json", "xlsx"])
def test_a_file_that_takes_too_long_is_refused_and_the_next_is_read(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scores").write_bytes(LARGE[kind]())
    (tmp_path / "good.csv").write_bytes(GOOD)
    assert names(read_score_file(tmp_path / "good.csv", FACTS))[0] == "name"  # the process is there
    monkeypatch.setattr(score_files, "MOST_SECONDS", 0.05)
    begun = time.monotonic()
    error = refusal(tmp_path / "scores")
    assert time.monotonic() - begun < 10
    assert error.found == "a file that takes more than 0.05 s to read"
    assert error.expected == "one that is read within 0.05 s and 1024 MiB"
    monkeypatch.undo()
    assert names(read_score_file(tmp_path / "good.csv", FACTS))[1:] == ["a.mp4", "b.mp4"]


def test_the_limits_are_a_minute_and_a_gibibyte() -> None:
    assert (score_files.MOST_SECONDS, score_files.MOST_BYTES) == (60, 1 << 30)


def test_a_file_larger_than_the_limit_is_refused_by_its_size(tmp_path: Path) -> None:
    with (tmp_path / "scores.csv").open("wb") as sparse:
        sparse.truncate((1 << 30) + MIB)
    assert refusal(tmp_path / "scores.csv").found == "a file of 1025 MiB"


def test_a_process_that_somebody_ends_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "good.csv").write_bytes(GOOD)
    read_score_file(tmp_path / "good.csv", FACTS)
    worker = score_files._READER._worker
    assert worker is not None
    os.kill(worker.pid, signal.SIGKILL)
    assert len(read_score_file(tmp_path / "good.csv", FACTS).lines) == 3


def in_the_way(path: Path, kind: str) -> None:
    if kind == "a named pipe":
        os.mkfifo(path)
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    elif kind == "a socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(os.fspath(path))
    else:
        path.mkdir()


@pytest.mark.parametrize("kind", ["a named pipe", "a device", "a socket", "a folder"])
def test_what_stands_in_the_place_of_a_score_file_is_told(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    in_the_way(path, kind)
    with pytest.raises(AnnotationError) as named:
        find_annotation_files(LITTLE, tmp_path, path)
    assert named.value.found == f"found {kind} there"
    with pytest.raises(AnnotationError) as found:
        find_annotation_files(LITTLE, tmp_path, None)
    assert found.value.found.startswith(f"found {kind} at {path}")
    # Put there after it was found: nobody waits for what comes out of it.
    assert kind in refusal(path).found or "cannot be read" in refusal(path).found


def test_a_file_is_hashed_as_it_is_read(tmp_path: Path) -> None:
    import hashlib

    path = tmp_path / "manifest.csv"
    path.write_bytes(GOOD)
    annotations = read_annotations(LITTLE, resolve(LITTLE, {}, tmp_path / "ingest.toml").values, path)
    path.write_bytes(GOOD + b"c.mp4,2\n")
    (read,) = annotations.read
    assert annotations.sha256 == read.record["sha256"] == hashlib.sha256(GOOD).hexdigest()
    assert (read.record["size_bytes"], read.stands()) == (len(GOOD), False)


def test_a_workbook_that_says_it_is_smaller_than_it_is_loses_no_row(tmp_path: Path) -> None:
    (tmp_path / "scores.xlsx").write_bytes(long_texts(5))
    assert [at for at, _ in read_score_file(tmp_path / "scores.xlsx", FACTS).lines] == [1, 2, 3, 4, 5]


def test_a_packed_text_is_told_by_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "scores.csv.gz").write_bytes(gzip.compress(json.dumps([]).encode()))
    assert refusal(tmp_path / "scores.csv.gz").found == "a gzip file"
