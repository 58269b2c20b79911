"""Which format a table file is in, by its suffix. Reads no rows."""

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

from vqa_assets.errors import LabelError
from vqa_assets.tables.files import LFS_POINTER


class Format(StrEnum):
    """A table file's format."""

    PARQUET = "parquet"
    JSONL = "jsonl"
    JSON = "json"
    CSV = "csv"

    @property
    def is_json(self) -> bool:
        """True where rows are JSON objects, each with keys of its own."""
        return self in (Format.JSONL, Format.JSON)


_SUFFIXES = {
    ".parquet": Format.PARQUET,
    ".pq": Format.PARQUET,
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".json": Format.JSON,
    ".csv": Format.CSV,
}


def format_of(path: Path) -> Format:
    """The format that a file's suffix says; LabelError for any other suffix."""
    found = _SUFFIXES.get(path.suffix.lower())
    if found is None:
        raise LabelError(
            f"{path}",
            found=f"the suffix {path.suffix!r}",
            expected=f"a table: {', '.join(_SUFFIXES)}",
            next_step="save it in one of these formats under its suffix",
        )
    return found


def check_present(path: Path, role: str, made_by: str) -> None:
    """LabelError where a table is not there, empty, or a Git-LFS pointer."""
    if not path.is_file():
        found, next_step = "found a folder" if path.is_dir() else "found nothing there", made_by
    else:
        try:
            with path.open("rb") as content:
                begin = content.read(len(LFS_POINTER))
        except OSError as error:
            found = f"a file that cannot be opened ({error.strerror})"
            raise LabelError(
                f"{role} {path}", found=found, expected="a table with rows", next_step="mend it"
            ) from error
        if begin and begin != LFS_POINTER:
            return
        found = "found a Git-LFS pointer" if begin else "found an empty file"
        next_step = "run git lfs pull where it came from" if begin else made_by
    raise LabelError(f"{role} {path}", found=found, expected="a table with rows", next_step=next_step)


def check_apart(inputs: Iterable[Path], outputs: Iterable[Path]) -> None:
    """LabelError where an output is one of the inputs or a folder, or two outputs are one file."""
    known = {path.resolve(): "an input" for path in inputs}
    for path in outputs:
        role = "a folder" if path.is_dir() else known.get(path.resolve())
        if role:
            raise LabelError(
                f"output {path}",
                found=f"it is {role}",
                expected="a file of its own",
                next_step="set out and audit_json to other files; an input is never replaced",
            )
        known[path.resolve()] = "another output"
