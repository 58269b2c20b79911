"""What libraries say of a file's content that they cannot read, in our words. Which library it was is for the cause.

What a disk refuses is in ``files``: those errors have a number, and pass here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vqa_assets.errors import SchemaError, TableError, VqaError
from vqa_assets.tables.files import read_json_object

NEXT = "make it again, or copy the file again where it comes from"
_LIBRARIES = (
    "google.protobuf",
    "json",
    "lzma",
    "msgspec",
    "onnx",
    "onnxruntime",
    "openpyxl",
    "orjson",
    "pandas",
    "polars",
    "pyarrow",
    "sqlite3",
    "zipfile",
    "zlib",
)
_LONGEST = 300


def is_of_content(error: BaseException) -> bool:
    """Whether a library raised the error over what it read: none of ours, none of the disk, no defect of the code."""
    if isinstance(error, VqaError | MemoryError):
        return False
    # By name, for a library that was not imported raised nothing. pyarrow says of torn pages OSError, without a number.
    of_library = any(
        kind.__module__ == name or kind.__module__.startswith(f"{name}.")
        for kind in type(error).__mro__
        for name in _LIBRARIES
    )
    return of_library or isinstance(error, UnicodeError) or (isinstance(error, OSError) and error.errno is None)


def in_words(error: BaseException) -> str:
    """The first line of what the library says."""
    return str(error).strip().partition("\n")[0][:_LONGEST] or type(error).__name__


class WholeDocument(dict[str, Any]):
    """A JSON object of ours: what it lacks is a SchemaError that names file and entry, and no KeyError."""

    def __init__(self, content: dict[str, Any], path: Path) -> None:
        super().__init__({name: _whole(value, path) for name, value in content.items()})
        self._path = path

    def __missing__(self, name: str) -> Any:
        raise SchemaError(f"{self._path}", found=f"no {name!r}", expected="a whole replay manifest", next_step=NEXT)


def _whole(value: Any, path: Path) -> Any:
    if isinstance(value, dict):
        return WholeDocument(value, path)
    return [_whole(item, path) for item in value] if isinstance(value, list) else value


def read_document(path: Path) -> WholeDocument:
    """The JSON object in a file of ours, such as a replay manifest; SchemaError where it is none."""
    return WholeDocument(read_json_object(path), path)


@contextmanager
def reading(path: Path, *, expected: str = "a whole table", next_step: str = NEXT) -> Iterator[None]:
    """Turn what a library says of the content of ``path``, which the block reads, into a TableError that names it."""
    try:
        yield
    except Exception as error:
        if not is_of_content(error):
            raise
        found = f"content that cannot be read ({in_words(error)})"
        raise TableError(f"{path}", found=found, expected=expected, next_step=next_step) from error


@contextmanager
def library_words() -> Iterator[None]:
    """The same at the border of a command or a run, where the file is not known: a net below ``reading``."""
    try:
        yield
    except Exception as error:
        if not is_of_content(error):
            raise
        raise TableError(
            "a file could not be read",
            found=f"{type(error).__name__}: {in_words(error)}",
            expected="whole files",
            next_step="vqa-assets status and the replay manifests (vqa-assets verify) "
            "say which file changed; if none did, report this as a defect",
        ) from error
