"""The second pass: rows that stand are read again, unified, and written in order. Decides nothing about them."""

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from vqa_assets.corpora.scales import CONTINUOUS_0_100, RAW_MOS, UNIFIED
from vqa_assets.tables.files import json_line, parse_json_line
from vqa_assets.tables.specs import UNIFIED_CORPUS
from vqa_assets.unified.index import NATIVE_SCALES
from vqa_assets.unified.shards import OpenedShard, not_writable

BLOCK_ROWS = 512
"""Few enough for their lines to stay in the processor's cache: more of them take longer each."""
SPECIFIED = frozenset(column.name for column in UNIFIED_CORPUS.columns)


@dataclass(frozen=True)
class Block:
    """Entries of rows in the order of output, and what their numbers mean."""

    entries: NDArray[np.void]
    shards: tuple[OpenedShard, ...]
    corpora: tuple[str, ...]
    now: str


@dataclass(frozen=True)
class Written:
    """The lines of a block, and of each field without a column spec some of the kinds that its values have."""

    lines: bytes
    kinds: Mapping[str, frozenset[type]]


def blocks_of(whole: Block, rows: int = BLOCK_ROWS) -> Iterator[Block]:
    """The same rows in blocks."""
    for start in range(0, len(whole.entries), rows):
        yield Block(whole.entries[start : start + rows], whole.shards, whole.corpora, whole.now)


def write_block(block: Block) -> Written:
    """The lines of a block, read shard by shard and in the order of their bytes, which disks like best."""
    lines = [b""] * len(block.entries)
    kinds = _Kinds()
    for number in np.unique(block.entries["shard"]).tolist():
        places = np.flatnonzero(block.entries["shard"] == number)
        places = places[np.argsort(block.entries["offset"][places])]
        entries = block.entries[places]
        columns = (entries[name].tolist() for name in ("offset", "length", "scale", "corpus"))
        shard = block.shards[number]
        with shard.reading() as descriptor:
            _write(zip(places.tolist(), *columns, strict=True), block, (shard.path, descriptor), (lines, kinds))
    return Written(b"".join(lines), kinds.found())


def read_unified(row: Block) -> dict[str, Any]:
    """The one row of a block as it is written."""
    return parse_json_line(write_block(row).lines, row.shards[0].path, 0)


def _write(
    wanted: Iterable[tuple[int, int, int, int, int]],
    block: Block,
    shard: tuple[Path, int],
    results: tuple[list[bytes], "_Kinds"],
) -> None:
    """Read, unify and write one row after the other; a single loop, because each call in it costs as much as a field.

    A raw 0–100 score beside ``mos`` is the native one, and the SD follows it there; an unknown SD is 0.
    """
    (path, descriptor), (lines, kinds) = shard, results
    maps = [(scale.name, *scale.map_to(UNIFIED)) for scale in NATIVE_SCALES]
    raw_name, (raw_slope, raw_intercept) = CONTINUOUS_0_100.name, CONTINUOUS_0_100.map_to(UNIFIED)
    read, decode, encode, now, shapes = os.pread, orjson.loads, json_line, block.now, kinds.shapes
    for place, offset, length, scale, corpus in wanted:
        line = read(descriptor, length, offset)
        try:
            row = decode(line)
        except orjson.JSONDecodeError:
            row = parse_json_line(line, path, 0)
        if (shape := tuple(row)) not in shapes:
            kinds.note(shape, row)
        name, slope, intercept = maps[scale]
        spread = float(row.get("mos_std_dev") or 0.0)
        if not 0 < spread < math.inf:
            spread = 0.0
        native = row.get(RAW_MOS)
        row["mos_std_dev_unified"] = spread * slope
        if native is None:
            native = row["mos"]
        else:
            name, spread, slope, intercept = raw_name, spread * slope, raw_slope, raw_intercept
        row["mos"] = slope * native + intercept
        row["mos_scale"] = UNIFIED.name
        row["mos_std_dev"] = spread
        row["mos_native"] = native
        row["mos_native_scale"] = name
        row["corpus_source"] = block.corpora[corpus]
        row["aggregated_at_utc"] = now
        try:
            lines[place] = encode(row)
        except TypeError as error:
            raise not_writable(f"{path}: {row['src']}", error) from error


class _Kinds:
    """The fields without a column spec, and of which kinds their values are in the first row of each shape."""

    def __init__(self) -> None:
        self.shapes: set[tuple[str, ...]] = set()
        self._found: dict[str, set[type]] = {}

    def note(self, shape: tuple[str, ...], row: Mapping[str, Any]) -> None:
        self.shapes.add(shape)
        for name in shape:
            if name not in SPECIFIED:
                self._found.setdefault(name, set()).add(type(row[name]))

    def found(self) -> dict[str, frozenset[type]]:
        return {name: frozenset(kinds) for name, kinds in self._found.items()}


def merged_kinds(parts: Sequence[Mapping[str, frozenset[type]]]) -> dict[str, frozenset[type]]:
    """The kinds of all parts together."""
    found: dict[str, frozenset[type]] = {}
    for part in parts:
        for name, kinds in part.items():
            found[name] = found.get(name, frozenset()) | kinds
    return found
