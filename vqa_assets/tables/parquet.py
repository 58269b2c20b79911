"""Tables: what Parquet ones hold, independent of how the file is laid out, and what stands for an empty cell."""

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqa_assets.errors import SchemaError, VqaError
from vqa_assets.printing import logger
from vqa_assets.tables.content_errors import reading
from vqa_assets.tables.files import LFS_POINTER, fault_of, place_to_read
from vqa_assets.tables.makers import refuse_newer_mark

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NO_VALUE = ("nan", "na", "n/a", "<na>", "null", "none")
"""What tables say, in any case, where a cell is empty."""
USUAL_NUMBERS = 256
"""Numbers in a row of a table without vectors, about: what bounds of memory that are stated in rows are made for."""
_BATCH_ROWS = 65_536
_log = logger("vqa_assets.tables")


def open_parquet(path: Path) -> Any:
    """The ``pyarrow.parquet.ParquetFile``; SchemaError says what stands there where it is none.

    NewerFormatError where a later version of ours wrote it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(place_to_read(path))
    except (pa.ArrowException, OSError) as error:
        if (fault := fault_of(error)) is not None:  # the disk's trouble says nothing of what the file is
            raise SchemaError(
                f"{path}",
                found=f"a file that cannot be read ({os.strerror(fault)})",
                expected="a Parquet table",
                next_step="mend its permissions or the disk, then run again",
            ) from error
        raise SchemaError(
            f"{path}",
            found=f"found {_what_is_there(path, error)}",
            expected="a Parquet table",
            next_step="put the table there, or make it",
        ) from error
    refuse_newer_mark(file.metadata.metadata or {}, path)
    return file


def _what_is_there(path: Path, error: Exception) -> str:
    if not path.exists():
        return "nothing"
    if path.is_dir():
        return "a folder"
    try:
        with path.open("rb") as content:
            pointer = content.read(len(LFS_POINTER)) == LFS_POINTER
    except OSError as refused:
        return f"a file that cannot be read ({refused.strerror})"
    return "a Git-LFS pointer (run git lfs pull where it came from)" if pointer else f"no Parquet file ({error})"


def column_names(path: Path) -> list[str]:
    """The columns of a Parquet file, in order."""
    return list(open_parquet(path).schema_arrow.names)


def rows_at_once(most: int, numbers: int) -> int:
    """``most`` rows of usual tables, of about ``USUAL_NUMBERS`` a row; fewer where vectors make a row longer."""
    return max(min(most, most * USUAL_NUMBERS // max(numbers, 1)), 1)


def table_version(path: Path, without: Collection[str] = ()) -> str:
    """A hash of a Parquet file's columns and values, whatever its row groups, encodings and writer."""
    file = open_parquet(path)
    digest = TableDigest(name for name in file.schema_arrow.names if name not in without)
    # A batch of all columns of a long table is large: as many columns are read at once as hold no more cells than one
    # column's batch does. The file is opened once, for to open one of many columns is slow.
    at_once = max(_BATCH_ROWS // max(file.metadata.num_rows, 1), 1)
    # A column of vectors is as many columns by itself.
    sizes = {field.name: getattr(field.type, "list_size", 1) for field in file.schema_arrow}
    with reading(path):
        for first in range(0, len(digest.names), at_once):
            names = digest.names[first : first + at_once]
            rows = max(_BATCH_ROWS // max(sizes[name] for name in names), 1)
            for batch in file.iter_batches(batch_size=rows, columns=names):
                digest.update(batch)
    return digest.version()


def standing_version(path: Path) -> str | None:
    """``table_version`` of what stands at a path; None where that is no table that can be read to its end."""
    return _version_or_damage(path)[0]


def stands_as(path: Path, version: str) -> bool:
    """Whether a table of that ``table_version`` stands; damage to it is told, for then its stage makes it again."""
    standing, damage = _version_or_damage(path)
    if damage and path.is_file():
        _log.warning("%s was damaged and is made again: %s", path, damage)
    return standing == version


def _version_or_damage(path: Path) -> tuple[str | None, str]:
    try:
        return table_version(path), ""
    except VqaError as error:
        return None, error.found
    except OSError as error:
        return None, str(error)


class TableDigest:
    """``table_version`` of a table that comes in batches; a batch may hold any of the columns."""

    def __init__(self, names: Iterable[str]) -> None:
        self._columns = {name: _ColumnDigest() for name in sorted(names)}

    @property
    def names(self) -> list[str]:
        """The columns that count, by name."""
        return list(self._columns)

    def update(self, batch: Any) -> None:
        """Take in the next rows, an Arrow record batch or table."""
        for name in batch.schema.names:
            if name in self._columns:
                column = batch.column(name)
                for chunk in getattr(column, "chunks", [column]):
                    self._columns[name].update(chunk)

    def version(self) -> str:
        """The version of all rows so far."""
        digest = hashlib.sha256()
        for name, column in self._columns.items():
            digest.update(json.dumps(name).encode() + column.digest())
        return digest.hexdigest()[:32]


def iterate_frames(path: Path, columns: Sequence[str], rows: int = _BATCH_ROWS) -> Iterator[Any]:
    """The named columns that a Parquet file has, as pandas frames of so many rows; integers with nulls are floats."""
    for batch in iterate_batches(path, columns, rows):
        yield batch.to_pandas(ignore_metadata=True)


def iterate_batches(path: Path, columns: Sequence[str], rows: int = _BATCH_ROWS) -> Iterator[Any]:
    """The same as Arrow record batches; the next one is decoded while one is looked at."""
    file = open_parquet(path)
    there = set(file.schema_arrow.names)
    present = [name for name in columns if name in there]
    batches = file.iter_batches(batch_size=rows, columns=present)
    with reading(path), ThreadPoolExecutor(1, thread_name_prefix="decode") as pool:
        coming = pool.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = pool.submit(next, batches, None)
            yield batch


def json_texts(values: Iterable[Any]) -> Any:
    """The values of a column of mixed types as an Arrow array of JSON texts."""
    import pyarrow as pa

    return pa.array([None if v is None else json.dumps(v, sort_keys=True) for v in values], type=pa.string())


def _kind(value: object) -> type:
    """bool, int, float or str for these and their subclasses (NumPy's float64 is a float), else the value's own.

    NumPy's arrays are vectors, which ``ColumnKinds`` keeps as lists of float32.
    """
    # bool comes first: a bool is an int, too.
    return next((kind for kind in (bool, int, float, str) if isinstance(value, kind)), type(value))


class ColumnKinds:
    """The columns of rows that come one by one, in the order they are met, and the Arrow type each will have.

    Whole numbers and floats together are floats, vectors of one length fixed-size lists of float32; any other mixture
    of types becomes JSON texts.
    """

    def __init__(self) -> None:
        self._kinds: dict[str, set[type]] = {}
        self._lengths: dict[str, int] = {}

    @property
    def names(self) -> list[str]:
        """The columns met."""
        return list(self._kinds)

    def add(self, row: Mapping[str, Any]) -> None:
        """Take in one row."""
        for name, value in row.items():
            kinds = self._kinds.setdefault(name, set())
            if value is not None:
                kinds.add(_kind(value))
                if hasattr(value, "dtype") and getattr(value, "ndim", 0) == 1:
                    self._lengths.setdefault(name, len(value))

    def schema(self, columns: Sequence[str]) -> Any:
        """The ``pyarrow.Schema`` of these columns."""
        import pyarrow as pa

        types = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}

        def type_of(name: str) -> Any:
            kinds = self._kinds.get(name, set())
            if name in self._lengths:
                return pa.list_(pa.float32(), self._lengths[name])
            if kinds == {int, float}:
                return pa.float64()
            return types.get(next(iter(kinds)), pa.string()) if len(kinds) == 1 else pa.string()

        return pa.schema([(name, type_of(name)) for name in columns])

    def batch(self, rows: Sequence[Mapping[str, Any]], schema: Any) -> Any:
        """Rows as a ``pyarrow.Table`` of that schema; a column of mixed types becomes JSON texts."""
        import pyarrow as pa

        arrays = []
        for field in schema:
            values = [row.get(field.name) for row in rows]
            kinds = self._kinds.get(field.name, set())
            if pa.types.is_string(field.type) and kinds and kinds != {str}:
                arrays.append(json_texts(values))
            elif pa.types.is_floating(field.type):
                arrays.append(pa.array([None if v is None else float(v) for v in values], type=field.type))
            else:
                arrays.append(pa.array(values, type=field.type))
        return pa.Table.from_arrays(arrays, schema=schema)


class _ColumnDigest:
    """A column's kind, which of its values are there, the values, and how long each is."""

    def __init__(self) -> None:
        self._kind = ""
        self._hashes = [hashlib.sha256() for _ in range(3)]

    def update(self, array: Any) -> None:
        self._kind, *parts = _encoded(array)
        for digest, part in zip(self._hashes, parts, strict=True):
            digest.update(part)

    def digest(self) -> bytes:
        return self._kind.encode() + b"".join(digest.digest() for digest in self._hashes)


def _encoded(array: Any) -> tuple[str, bytes, bytes, bytes]:
    """(kind, validity, values, lengths) of one batch of a column, as bytes that do not depend on the batch's layout."""
    import numpy as np
    import pyarrow as pa

    # Dictionaries, widths of integers and floats, and what lies below a null are the writer's choice, not content.
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    there = _bits(array.is_valid())
    valid = there.tobytes()
    if pa.types.is_integer(array.type) or pa.types.is_boolean(array.type):
        kind = "bool" if pa.types.is_boolean(array.type) else "integer"
        whole, dtype = (array, "<u8") if array.type == pa.uint64() else (array.cast(pa.int64()), "<i8")
        return kind, valid, np.where(there, _numbers(whole, dtype), np.zeros(1, dtype)).tobytes(), b""
    if pa.types.is_floating(array.type):
        numbers = np.where(there, _numbers(array.cast(pa.float64()), "<f8"), 0.0)
        return "number", valid, np.where(np.isnan(numbers), np.nan, numbers).tobytes(), b""
    if pa.types.is_fixed_size_list(array.type) and pa.types.is_floating(array.type.value_type):
        numbers = array.drop_null().flatten().cast(pa.float64()).to_numpy(zero_copy_only=False)
        return f"vector {array.type.list_size}", valid, np.asarray(numbers).tobytes(), b""
    if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
        array = pa.array([None if v is None else _text(v) for v in array.to_pylist()], pa.large_string())
    # A null is as long as nothing.
    texts = array.cast(pa.large_string()).drop_null()
    lengths = np.zeros(len(array), "<i8")
    # The buffers of a slice are those of the whole column: its own part lies between its first and its last edge.
    _, places, content = texts.buffers()
    edges = np.frombuffer(places, "<i8", len(texts) + 1, texts.offset * 8) if len(texts) else np.zeros(1, "<i8")
    lengths[there.astype(bool)] = np.diff(edges)
    return "text", valid, bytes(memoryview(content or b"")[edges[0] : edges[-1]]), lengths.tobytes()


# Arrow's own to_numpy and fill_null import pandas: what is hashed needs none of it.
def _numbers(array: Any, dtype: str) -> "NDArray[Any]":
    """The numbers of an Arrow array of that width; below a null there may be any."""
    import numpy as np

    place = array.buffers()[1]
    if place is None or not len(array):
        return np.zeros(len(array), dtype)
    return np.frombuffer(place, dtype, len(array), array.offset * np.dtype(dtype).itemsize)


def _bits(array: Any) -> "NDArray[np.uint8]":
    """1 and 0 for an Arrow array of booleans without nulls."""
    import numpy as np

    if not len(array):
        return np.zeros(0, np.uint8)
    first = array.offset // 8
    packed = np.frombuffer(array.buffers()[1], np.uint8, (array.offset + len(array) + 7) // 8 - first, first)
    return np.unpackbits(packed, bitorder="little")[array.offset - 8 * first :][: len(array)]


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
