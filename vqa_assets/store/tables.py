"""Parquet tables: what they hold, independent of how the file is laid out."""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vqa_assets.errors import SchemaError
from vqa_assets.store.files import LFS_POINTER

_BATCH_ROWS = 65_536


def open_parquet(path: Path) -> Any:
    """The ``pyarrow.parquet.ParquetFile``; SchemaError says what stands there where it is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise SchemaError(
            f"{path}",
            found=f"found {_what_is_there(path, error)}",
            expected="a Parquet table",
            next_step="put the table there, or materialize the asset that writes it",
        ) from error


def _what_is_there(path: Path, error: Exception) -> str:
    if not path.exists():
        return "nothing"
    if path.is_dir():
        return "a folder"
    with path.open("rb") as content:
        pointer = content.read(len(LFS_POINTER)) == LFS_POINTER
    return "a Git-LFS pointer (run git lfs pull where it came from)" if pointer else f"no Parquet file ({error})"


def column_names(path: Path) -> list[str]:
    """The columns of a Parquet file, in order."""
    return list(open_parquet(path).schema_arrow.names)


def table_version(path: Path, without: Collection[str] = ()) -> str:
    """A hash of a Parquet file's columns and values, whatever its row groups, encodings and writer."""
    names = [name for name in column_names(path) if name not in without]
    digest = hashlib.sha256()
    for name in sorted(names):
        digest.update(json.dumps(name).encode() + _column_digest(path, name))
    return digest.hexdigest()[:32]


def iterate_frames(path: Path, columns: Sequence[str]) -> Iterator[Any]:
    """The named columns that a Parquet file has, as pandas frames batch by batch; integers with nulls become floats."""
    file = open_parquet(path)
    present = [name for name in columns if name in file.schema_arrow.names]
    for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=present):
        yield batch.to_pandas(ignore_metadata=True)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write rows (mappings) as Parquet in the given column order; a column of mixed types becomes JSON texts."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = [_array([row.get(name) for row in rows]) for name in columns]
    pq.write_table(pa.Table.from_arrays(arrays, names=list(columns)), path, compression="zstd")


def _array(values: list[Any]) -> Any:
    import pyarrow as pa

    kinds = {_kind(value) for value in values if value is not None}
    if kinds <= {int, float} and float in kinds:
        return pa.array([None if v is None else float(v) for v in values], type=pa.float64())
    if len(kinds) <= 1 and kinds <= {str, int, bool}:
        return pa.array(values, type={str: pa.string(), int: pa.int64(), bool: pa.bool_()}.get(next(iter(kinds), str)))
    return pa.array([None if v is None else json.dumps(v, sort_keys=True) for v in values], type=pa.string())


def _kind(value: object) -> type:
    """bool, int, float or str for these and their subclasses (NumPy's float64 is a float), else the value's own."""
    return next((kind for kind in (bool, int, float, str) if isinstance(value, kind)), type(value))


def _column_digest(path: Path, name: str) -> bytes:
    validity, values, lengths = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
    kind = ""
    for batch in open_parquet(path).iter_batches(batch_size=_BATCH_ROWS, columns=[name]):
        kind, valid, content, sizes = _encoded(batch.column(0))
        validity.update(valid)
        values.update(content)
        lengths.update(sizes)
    return kind.encode() + validity.digest() + values.digest() + lengths.digest()


def _encoded(array: Any) -> tuple[str, bytes, bytes, bytes]:
    """(kind, validity, values, lengths) of one batch of a column, as bytes that do not depend on the batch's layout."""
    import numpy as np
    import pyarrow as pa

    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    valid = array.is_valid().to_numpy(zero_copy_only=False).astype(np.uint8).tobytes()
    if pa.types.is_integer(array.type) or pa.types.is_boolean(array.type):
        kind = "bool" if pa.types.is_boolean(array.type) else "integer"
        filled = array.cast(pa.int64()).fill_null(0) if array.type != pa.uint64() else array.fill_null(0)
        return kind, valid, np.asarray(filled.to_numpy(zero_copy_only=False)).tobytes(), b""
    if pa.types.is_floating(array.type):
        numbers = array.cast(pa.float64()).fill_null(0.0).to_numpy(zero_copy_only=False)
        return "number", valid, np.where(np.isnan(numbers), np.nan, numbers).tobytes(), b""
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type) or pa.types.is_string_view(array.type):
        return "text", valid, *_text_bytes(array)
    texts = [_text(value) for value in array.to_pylist()]
    return "text", valid, b"".join(texts), np.array([len(t) for t in texts], dtype="<i8").tobytes()


def _text_bytes(array: Any) -> tuple[bytes, bytes]:
    """(values, lengths) of texts, nulls as empty ones, straight from the column's buffers."""
    import numpy as np
    import pyarrow as pa

    texts = array.cast(pa.large_string()).fill_null("")
    offsets = np.frombuffer(texts.buffers()[1], dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]
    if not len(texts):
        return b"", b""
    values = texts.buffers()[2]
    content = b"" if values is None else bytes(memoryview(values)[offsets[0] : offsets[-1]])
    return content, np.diff(offsets).astype("<i8").tobytes()


def _text(value: object) -> bytes:
    if value is None:
        return b""
    return value.encode() if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str).encode()
