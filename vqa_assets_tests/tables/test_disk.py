"""A disk that refuses a file: whatever library meets it, the message names the file and what to do."""

import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vqa_assets.assets.runs import dagster_failures
from vqa_assets.errors import IngestError
from vqa_assets.ingest.run import disk_faults_in_words
from vqa_assets.tables.files import drafting, fault_of
from vqa_assets.tables.publication import publishing

ROWS = list(range(100_000))
pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full not found: Linux only")


def write_onto_a_full_disk(target: Path, write: Callable[[Path], object]) -> None:
    """By a link, never to the device itself: a library may remove what it failed to write."""
    with dagster_failures(), drafting(target) as draft:
        draft.path.symlink_to("/dev/full")
        write(draft.path)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: pl.LazyFrame({"a": ROWS}).sink_parquet(path),
        lambda path: pl.LazyFrame({"a": ROWS}).sink_csv(path),
        lambda path: pl.DataFrame({"a": ROWS}).write_parquet(path),
        lambda path: pq.write_table(pa.table({"a": ROWS}), path),
        lambda path: path.write_text("x" * 100_000),
    ],
    ids=["polars sink", "polars csv", "polars frame", "pyarrow", "python"],
)
def test_a_full_disk_is_told_with_the_file_and_the_earlier_file_stands(
    tmp_path: Path, write: Callable[[Path], object]
) -> None:
    target = tmp_path / "table.parquet"
    target.write_text("earlier")
    with pytest.raises(dg.Failure) as told:
        write_onto_a_full_disk(target, write)
    assert str(told.value.description) == (
        f"cannot write {target}: No space left on device, expected a folder with space that this user may write; "
        "free space or mend the permissions, then run again: the earlier output is kept"
    )
    assert target.read_text() == "earlier"
    assert os.listdir(tmp_path) == ["table.parquet"]  # noqa: PTH208
    assert Path("/dev/full").is_char_device()


def test_errors_that_are_not_the_disks_pass_as_they_are(tmp_path: Path) -> None:
    assert fault_of(OSError(errno.ENOENT, "gone")) is None
    assert fault_of(ValueError("(os error 2)")) is None
    with pytest.raises(KeyError, match="mine"), dagster_failures(), drafting(tmp_path / "x"):
        raise KeyError("mine")


@contextmanager
def another_user() -> Iterator[None]:
    """Root may read everything; whoever else runs the tests is refused by the file's mode alone."""
    own = os.geteuid()
    if own == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(own)


def test_a_file_that_may_not_be_read_is_not_told_as_one_that_cannot_be_written() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        scores = Path(folder) / "scores.csv"
        scores.write_text("name,mos")
        scores.chmod(0)
        with another_user(), pytest.raises(IngestError) as told, disk_faults_in_words(Path(folder)):
            scores.read_bytes()
        with another_user(), pytest.raises(dg.Failure) as failed, dagster_failures():
            scores.read_bytes()
    words = f"cannot read {scores}: Permission denied, expected a file that this user may read; mend its permissions"
    assert str(told.value).startswith(words)
    assert str(failed.value.description).startswith(words)


def test_a_disk_that_fails_is_told_without_a_guess(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    with pytest.raises(dg.Failure) as failed, dagster_failures():
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(tmp_path / "a"))
    assert str(failed.value.description).startswith(f"cannot read or write {tmp_path / 'a'}: Input/output error")


def test_a_failure_after_a_publication_does_not_say_that_the_earlier_output_stands(tmp_path: Path) -> None:
    def publish_and_fail() -> None:
        with publishing("stage", tmp_path / "table.parquet", "stage-v1") as publication:
            publication.write(tmp_path / "table.parquet", b"new")
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(tmp_path / "view"))

    for told, context in ((dg.Failure, dagster_failures()), (IngestError, disk_faults_in_words(tmp_path))):
        with pytest.raises(told) as failed, context:
            publish_and_fail()
        words = getattr(failed.value, "description", None) or str(failed.value)
        assert "table.parquet was published before that, and is kept" in words
        assert "earlier" not in words
