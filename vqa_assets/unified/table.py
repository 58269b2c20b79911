"""The Parquet file of a unified corpus, made from its JSONL piece by piece; every row is validated on the way.

The file says which JSONL it was made from, so that two files of different runs never pass as one.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqa_assets.errors import SchemaError
from vqa_assets.provenance import file_record
from vqa_assets.tables.files import parse_json_line, read_json_lines
from vqa_assets.tables.parquet import TableDigest, json_texts, open_parquet
from vqa_assets.tables.specs import UNIFIED_CORPUS
from vqa_assets.tables.validation import validate_frames, validate_rows

if TYPE_CHECKING:
    import pyarrow as pa

TIME_STAMPS = ("ingested_at_utc", "aggregated_at_utc")
ORIGIN_SCHEMA = "unified-corpus-parquet-v1"
_ORIGIN = b"vqa_assets.unified_corpus"
_PIECE_BYTES = 16 << 20
_LEAST_BLOCK_BYTES = 1 << 20
_LARGEST_INTEGER = 2**63 - 1
_EACH_ONCE = replace(UNIFIED_CORPUS, columns=tuple(replace(column, unique=False) for column in UNIFIED_CORPUS.columns))
"""The column specs but for uniqueness, which the aggregation sees to."""
Kinds = Mapping[str, frozenset[type]]


@dataclass(frozen=True)
class Origin:
    """What a Parquet file was made from: the SHA-256 of the JSONL; and the data version of the rows in both."""

    jsonl_sha256: str
    data_version: str


def origin_of(parquet: Path) -> Origin | None:
    """What the Parquet file says it was made from; None where it says nothing that is understood, or is none."""
    try:
        told = json.loads((open_parquet(parquet).metadata.metadata or {}).get(_ORIGIN, b"{}"))
    except (SchemaError, ValueError):
        return None
    if told.get("schema") != ORIGIN_SCHEMA:
        return None
    return Origin(told["jsonl_sha256"], told["data_version"])


def stands(jsonl: Path, parquet: Path, data_version: str) -> bool:
    """Whether both files are there, of one run, with these rows."""
    origin = origin_of(parquet)
    return origin is not None and origin.data_version == data_version and made_from(jsonl, parquet)


def made_from(jsonl: Path, parquet: Path) -> bool:
    """Whether the Parquet file holds the rows of the JSONL as it is now."""
    origin = origin_of(parquet)
    return origin is not None and file_record(jsonl).get("sha256") == origin.jsonl_sha256


def write_table(jsonl: Path, parquet: Path, extras: Kinds, what: str) -> str:
    """Write the rows of ``jsonl`` as Parquet and return their data version.

    ``extras`` are all fields without a column spec, with some of the kinds of their values: where others turn up, all
    are looked at. SchemaError, naming ``what``, where a row breaks the column specs.
    """
    import pyarrow as pa

    try:
        return _write(jsonl, parquet, extras)
    except (SchemaError, pa.ArrowInvalid) as error:
        validate_rows((line.row for line in read_json_lines(jsonl)), UNIFIED_CORPUS, what)
        if isinstance(error, SchemaError):
            raise
        return _write(jsonl, parquet, _all_kinds(jsonl, extras))


def _write(jsonl: Path, parquet: Path, extras: Kinds) -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([*_specified(), *((name, _arrow_type(extras[name])) for name in sorted(extras))])
    mixed = [name for name in schema.names if name in extras and _is_mixed(extras[name])]
    digest = TableDigest(name for name in schema.names if name not in TIME_STAMPS)
    names = [column.name for column in UNIFIED_CORPUS.columns]

    def frames(writer: Any) -> Iterator[Any]:
        for piece in _pieces(jsonl):
            table = _table_of(piece, schema, mixed)
            digest.update(table)
            writer.write_table(table)
            yield table.select(names).to_pandas(ignore_metadata=True)

    with pq.ParquetWriter(parquet, schema, compression="zstd") as writer:
        validate_frames(frames(writer), _EACH_ONCE, str(parquet))
        version = digest.version()
        origin = {"schema": ORIGIN_SCHEMA, "jsonl_sha256": file_record(jsonl)["sha256"], "data_version": version}
        writer.add_key_value_metadata({_ORIGIN: json.dumps(origin).encode()})
    return version


def _specified() -> list[tuple[str, "pa.DataType"]]:
    import pyarrow as pa

    kinds = {"string": pa.string(), "integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_()}
    return [(column.name, kinds[column.kind]) for column in UNIFIED_CORPUS.columns]


def _arrow_type(kinds: frozenset[type]) -> "pa.DataType":
    """The type of a column whose values are of these kinds; text where they are mixed."""
    import pyarrow as pa

    kinds -= {type(None)}
    if kinds == {int, float}:
        return pa.float64()
    plain = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    return plain.get(next(iter(kinds)), pa.string()) if len(kinds) == 1 else pa.string()


def _is_mixed(kinds: frozenset[type]) -> bool:
    kinds -= {type(None)}
    return not (kinds == {int, float} or (len(kinds) <= 1 and kinds <= {str, int, float, bool}))


def _all_kinds(jsonl: Path, names: Iterable[str]) -> Kinds:
    """The kinds of all values of the fields; a column with integers beyond 64 bits counts as mixed."""
    found: dict[str, set[type]] = {name: set() for name in names}
    for line in read_json_lines(jsonl):
        for name in found.keys() & line.row.keys():
            value = line.row[name]
            too_large = isinstance(value, int) and abs(value) > _LARGEST_INTEGER
            found[name].add(object if too_large else type(value))
    return {name: frozenset(kinds) for name, kinds in found.items()}


def _pieces(jsonl: Path) -> Iterator[bytes]:
    """The file in pieces of whole lines."""
    with jsonl.open("rb") as lines:
        while piece := lines.read(_PIECE_BYTES):
            yield piece + lines.readline()


def _table_of(piece: bytes, schema: "pa.Schema", mixed: Iterable[str]) -> "pa.Table":
    """The rows in some lines that ``json_line`` wrote; ArrowInvalid where a value is not of its column's type."""
    import pyarrow as pa
    import pyarrow.json as paj

    lines = piece.splitlines(keepends=True)
    plain = pa.schema([field for field in schema if field.name not in set(mixed)])
    table = paj.read_json(
        pa.py_buffer(piece),
        read_options=paj.ReadOptions(block_size=max(_LEAST_BLOCK_BYTES, *map(len, lines))),
        parse_options=paj.ParseOptions(explicit_schema=plain, unexpected_field_behavior="ignore"),
    )
    if not mixed:
        return table.select(schema.names)
    rows = [parse_json_line(line, Path(), 0) for line in lines]
    texts = {name: json_texts(row.get(name) for row in rows) for name in mixed}
    return pa.table([texts[name] if name in texts else table[name] for name in schema.names], schema=schema)
