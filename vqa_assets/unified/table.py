"""The Parquet file of a unified corpus: made from its JSONL piece by piece, every row validated on the way; and read.

The file says which JSONL it was made from, so that two files of different runs never pass as one. What is computed
from its columns is in ``description`` and ``related``.
"""

import json
import os
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqa_assets.errors import Make, SchemaError
from vqa_assets.provenance import file_record
from vqa_assets.tables.files import parse_json_line, place_to_read, read_json_lines
from vqa_assets.tables.makers import mark
from vqa_assets.tables.parquet import TableDigest, column_names, json_texts, open_parquet
from vqa_assets.tables.publication import is_as_published
from vqa_assets.tables.specs import UNIFIED_CORPUS, Table
from vqa_assets.tables.validation import BATCH_ROWS, validate_frames, validate_rows

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

TOTAL = "(total)"
"""What stands for a corpus where all are counted together; no corpus can have this name."""
TIME_STAMPS = ("ingested_at_utc", "aggregated_at_utc")
ORIGIN_SCHEMA = "unified-corpus-parquet-v1"
_ORIGIN = b"vqa_assets.unified_corpus"
_PIECE_BYTES = 16 << 20
_BLOCK_BYTES = 1 << 20
_LARGEST_INTEGER = 2**63 - 1
Kinds = Mapping[str, frozenset[type]]
"""Field without a column spec → some of the kinds that its values have."""


@dataclass(frozen=True)
class Origin:
    """What a Parquet file was made from: the SHA-256 of the JSONL; and the data version of the rows in both."""

    jsonl_sha256: str
    data_version: str


def origin_of(parquet: Path) -> Origin | None:
    """What the Parquet file says it was made from; None where it says nothing that is understood, or is none."""
    try:
        origin = json.loads((open_parquet(parquet).metadata.metadata or {}).get(_ORIGIN, b"{}"))
    except (SchemaError, ValueError):
        return None
    if origin.get("schema") != ORIGIN_SCHEMA:
        return None
    return Origin(origin["jsonl_sha256"], origin["data_version"])


def stands(jsonl: Path, parquet: Path, data_version: str) -> bool:
    """Whether both files are there, of one run, with these rows, and undamaged."""
    origin = origin_of(parquet)
    if origin is None or origin.data_version != data_version or not made_from(jsonl, parquet):
        return False
    # What a table says of itself stays readable where its pages rot.
    return is_as_published(parquet, jsonl)


def made_from(jsonl: Path, parquet: Path) -> bool:
    """Whether the Parquet file holds the rows of the JSONL as it is now."""
    origin = origin_of(parquet)
    return origin is not None and file_record(jsonl).get("sha256") == origin.jsonl_sha256


def unified_columns(parquet: Path, columns: Sequence[str]) -> "pl.LazyFrame":
    """Some columns of a unified corpus; SchemaError where no file is there, no Parquet table, or one without them."""
    import polars as pl

    is_there = place_to_read(parquet).is_file()
    missing = sorted(set(columns) - set(column_names(parquet))) if is_there else []
    if missing or not is_there:
        raise SchemaError(
            f"{parquet}",
            found=f"no column {', '.join(missing)}" if is_there else "found nothing there",
            expected="the Parquet file of unified_corpus",
            next_step=Make("unified_corpus", ", or give its .parquet file"),
        )
    return pl.scan_parquet(place_to_read(parquet), glob=False).select(columns)


def write_table(
    jsonl_sha256: Callable[[], str],
    jsonl: Path,
    parquet: Path,
    extras: Kinds,
    place: Callable[[int], tuple[Path, int]],
    specs: Table = UNIFIED_CORPUS,
) -> str:
    """Write the rows of ``jsonl`` as Parquet, which names those bytes, and return their data version.

    ``jsonl_sha256`` hashes them, on a thread of its own. The maker's mark in the file is left open: whoever publishes
    it seals it.

    ``extras`` are all fields without a column spec, with some of the kinds of their values: where others turn up, all
    are looked at. SchemaError where a row breaks the column specs: it names file and line of the first one, which
    ``place`` knows of each row, counted from 0.
    """
    import pyarrow as pa

    try:
        return _write(jsonl_sha256, jsonl, parquet, extras, specs)
    except (SchemaError, pa.ArrowInvalid) as error:
        # judged again, so that the message names the line; where no row is wrong, Arrow met other kinds of values than
        # the first row of each shape had
        _refuse_first_wrong(jsonl, place, specs)
        if isinstance(error, SchemaError):
            raise
        return _write(jsonl_sha256, jsonl, parquet, _all_kinds(jsonl, extras), specs)


def _refuse_first_wrong(jsonl: Path, place: Callable[[int], tuple[Path, int]], specs: Table) -> None:
    """SchemaError of the first row that breaks the column specs alone; nothing where none does."""
    lines, first = read_json_lines(jsonl), 0
    while rows := [line.row for line in islice(lines, BATCH_ROWS)]:
        after = first + len(rows)
        if _breaks(rows, specs):
            while len(rows) > 1:  # the first half, if it breaks them, else the other
                half = rows[: len(rows) // 2]
                if _breaks(half, specs):
                    rows = half
                else:
                    first, rows = first + len(half), rows[len(half) :]
            path, line = place(first)
            validate_rows(rows, specs, f"{path}:{line}", first=line)
        first = after


def _breaks(rows: Iterable[Mapping[str, Any]], specs: Table) -> bool:
    try:
        validate_rows(rows, _each_once(specs), "")
    except SchemaError:
        return True
    return False


def _each_once(specs: Table) -> Table:
    """The column specs but for uniqueness, which the aggregation sees to."""
    return replace(specs, columns=tuple(replace(column, unique=False) for column in specs.columns))


def _write(jsonl_sha256: Callable[[], str], jsonl: Path, parquet: Path, extras: Kinds, specs: Table) -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    specified = {"string": pa.string(), "integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_()}
    schema = pa.schema(
        [
            *((column.name, specified[column.kind]) for column in specs.columns),
            *((name, _arrow_type(extras[name])) for name in sorted(extras)),
        ]
    )
    mixed = [name for name in sorted(extras) if _is_mixed(extras[name])]
    digest = TableDigest(name for name in schema.names if name not in TIME_STAMPS)
    names = [column.name for column in specs.columns]

    def parts(writer: Any, pool: ThreadPoolExecutor) -> Generator[Any, None, None]:
        # Arrow and hashing let go of the interpreter: a table is hashed and encoded while it is validated, and while
        # the next one is parsed. No more of them are in memory at a time.
        at_work: list[Future[None]] = []
        for table in _tables(jsonl, schema, mixed):
            for done in at_work:
                done.result()
            at_work = [pool.submit(digest.update, table), pool.submit(writer.write_table, table)]
            yield table.select(names)
        for done in at_work:
            done.result()

    # A dictionary of values that hardly ever come twice takes longer to make, and more room, than the values.
    once = {"src", *(column.name for column in specs.columns if column.unique)}
    often_equal = [f.name for f in schema if f.name not in once and not pa.types.is_floating(f.type)]
    # From the inside out: no row group is being written any more when the writer ends the file, whatever went wrong.
    with (
        pq.ParquetWriter(parquet, schema, compression="zstd", use_dictionary=often_equal) as writer,
        ThreadPoolExecutor(thread_name_prefix="unified table") as pool,
    ):
        sha256 = pool.submit(jsonl_sha256)
        with closing(parts(writer, pool)) as validated:
            validate_frames(validated, _each_once(specs), str(parquet))
        version = digest.version()
        origin = {"schema": ORIGIN_SCHEMA, "jsonl_sha256": sha256.result(), "data_version": version}
        writer.add_key_value_metadata({_ORIGIN: json.dumps(origin).encode()})
        writer.add_key_value_metadata(mark("unified_corpus"))
    return version


def _tables(jsonl: Path, schema: "pa.Schema", mixed: Collection[str]) -> Iterator["pa.Table"]:
    """The rows as tables of whole lines of about ``_PIECE_BYTES``; each is parsed while the one before is used."""
    with jsonl.open("rb") as lines, ThreadPoolExecutor(1, thread_name_prefix="unified rows") as pool:

        def following() -> "pa.Table | None":
            start = lines.tell()
            lines.seek(_PIECE_BYTES, os.SEEK_CUR)
            lines.readline()  # to the end of the line that the edge falls into
            length = lines.tell() - start
            lines.seek(start)
            piece = lines.read(length)
            return _table_of(piece, schema, mixed) if piece else None

        parsed = pool.submit(following)
        while (table := parsed.result()) is not None:
            parsed = pool.submit(following)
            yield table


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
    kinds: dict[str, set[type]] = {name: set() for name in names}
    for line in read_json_lines(jsonl):
        for name in kinds.keys() & line.row.keys():
            value = line.row[name]
            too_large = isinstance(value, int) and abs(value) > _LARGEST_INTEGER
            kinds[name].add(object if too_large else type(value))
    return {name: frozenset(types) for name, types in kinds.items()}


def _table_of(piece: bytes, schema: "pa.Schema", mixed: Collection[str]) -> "pa.Table":
    """The rows in some lines that ``json_line`` wrote; ArrowInvalid where a value is not of its column's type."""
    import pyarrow as pa
    import pyarrow.json as paj

    # fields of mixed kinds have no Arrow type: they are left out here, and added as JSON texts
    plain = pa.schema([field for field in schema if field.name not in set(mixed)])
    parse = paj.ParseOptions(explicit_schema=plain, unexpected_field_behavior="ignore")
    try:
        table = paj.read_json(pa.py_buffer(piece), paj.ReadOptions(block_size=_BLOCK_BYTES), parse)
    except pa.ArrowInvalid:
        # a row must fit into a block, and the longest is looked for only where one may not; what is wrong raises again
        table = paj.read_json(pa.py_buffer(piece), paj.ReadOptions(block_size=max(_BLOCK_BYTES, len(piece))), parse)
    if not mixed:
        # in one piece each, as all that follows takes its time for every piece of every column
        return table.select(schema.names).combine_chunks()
    rows = [parse_json_line(line, Path(), 0) for line in piece.splitlines(keepends=True)]
    texts = {name: json_texts(row.get(name) for row in rows) for name in mixed}
    return pa.table([texts[name] if name in texts else table[name] for name in schema.names], schema=schema)
