"""One shard: where it lies, which of its lines are rows of a corpus JSONL, and how to read one line again.

What is refused is said here, with file and line. Which rows are kept is decided in ``index`` and ``duplicates``.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqa_assets.corpora.scales import RAW_MOS
from vqa_assets.errors import AggregateError, SchemaError
from vqa_assets.tables.files import json_line, parse_json_line

REQUIRED_KEYS = ("src", "src_sha256", "mos", "corpus")
ENCODE_GRID_KEYS = ("vmaf_score", "encoder", "preset", "crf")
UNIFIED_KEY = "mos_native"
"""A row that has it has been unified already."""
NUMBER_KEYS = ("mos", RAW_MOS, "mos_std_dev")


@dataclass(frozen=True)
class Shard:
    """One corpus JSONL; ``corpus`` overrides the name in its rows."""

    path: Path
    corpus: str | None = None


@dataclass(frozen=True)
class OpenedShard:
    """A shard as it was when its first line was read: a row may only be read again from the same bytes."""

    path: Path
    size_bytes: int
    _identity: tuple[int, int, int]

    @classmethod
    def of(cls, path: Path) -> "OpenedShard":
        """The shard as it is now; AggregateError where it cannot be read."""
        try:
            with path.open("rb") as file:
                found = os.fstat(file.fileno())
        except OSError as error:
            raise _unreadable(path, error) from error
        return cls(path, found.st_size, _identity_of(found))

    @contextmanager
    def reading(self) -> Iterator[int]:
        """A file descriptor for the block; AggregateError where the file cannot be read or is no longer the same."""
        try:
            with self.path.open("rb", buffering=0) as file:
                if _identity_of(os.fstat(file.fileno())) != self._identity:
                    raise AggregateError(
                        f"{self.path}",
                        found="it changed while it was being read",
                        expected="one state from the first line to the last",
                        next_step="materialize unified_corpus again when corpus_jsonl is done",
                    )
                yield file.fileno()
        except OSError as error:
            raise _unreadable(self.path, error) from error


def _identity_of(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_ino, found.st_size, found.st_mtime_ns


def _unreadable(path: Path, error: OSError) -> AggregateError:
    return AggregateError(
        f"{path}",
        found=f"it cannot be read ({error.strerror})",
        expected="a readable corpus JSONL",
        next_step="correct its permissions or its disk, or move it away to go on without it",
    )


def read_row(raw: bytes, path: Path, number: int) -> dict[str, Any]:
    """The row in one line; AggregateError, with file and line, where it is no row of a corpus JSONL."""
    try:
        row = parse_json_line(raw, path, number)
    except SchemaError as error:
        raise AggregateError(
            error.what, found=error.found, expected=error.expected, next_step=error.next_step
        ) from error
    check_row(row, f"{path}:{number}")
    return row


def check_row(row: Mapping[str, Any], where: str) -> None:
    """AggregateError where a row is of another asset, or lacks what every row of a corpus JSONL has."""
    if all(key in row for key in ENCODE_GRID_KEYS):
        raise AggregateError(
            where,
            found="an encode-grid row",
            expected="a row with opinions",
            next_step="it belongs to fr_training_corpus",
        )
    if UNIFIED_KEY in row:
        raise AggregateError(
            where,
            found="a unified row",
            expected="a row of one corpus",
            next_step="give the corpus_jsonl files instead",
        )
    missing = [key for key in REQUIRED_KEYS if row.get(key) is None]
    if missing:
        raise AggregateError(
            f"{where}: missing required keys: {missing}", next_step="re-run the adapter (corpus_jsonl)"
        )
    _check_kinds(row, where)


def wrong_value(where: str, key: str, value: object, expected: str) -> AggregateError:
    """The error of a value that is of another kind than its key promises."""
    return AggregateError(
        f"{where}: {key}",
        found=shortened(repr(value)),
        expected=expected,
        next_step="re-run the adapter (corpus_jsonl); is this a corpus JSONL?",
    )


def shortened(text: str, most: int = 200) -> str:
    """A text that fits into a message."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"


def _check_kinds(row: Mapping[str, Any], where: str) -> None:
    for key in REQUIRED_KEYS:
        if key != "mos" and not isinstance(row[key], str):
            raise wrong_value(where, key, row[key], "a text")
    for key in NUMBER_KEYS:
        if row.get(key) is not None and not _is_number(row[key]):
            raise wrong_value(where, key, row[key], "a number")
    try:
        json_line(row)
    except TypeError as error:
        raise not_writable(where, error) from error


def not_writable(where: str, error: TypeError) -> AggregateError:
    """The error of a row that cannot be written: a lone surrogate, too large an integer, too deep a nest."""
    return AggregateError(
        where,
        found=f"a value that JSON in UTF-8 cannot hold ({error})",
        expected="values that can be written again",
        next_step="re-run the adapter (corpus_jsonl)",
    )


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        float(value)
    except OverflowError:
        return False
    return True
