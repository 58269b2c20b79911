"""The second pass: rows that stand are read again, brought onto 0–100, and made into lines in the order of output.

Decides nothing about them; the files that they go into are made in ``aggregation`` and ``table``.
"""

import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from vqa_assets.corpora.scales import CONTINUOUS_0_100, POLARITIES, RAW_MOS, UNIFIED, MosScale
from vqa_assets.tables.files import json_line, parse_json_line
from vqa_assets.tables.specs import UNIFIED_CORPUS
from vqa_assets.unified.index import FurtherOf
from vqa_assets.unified.shards import OpenedShard, is_number, not_writable
from vqa_assets.unified.table import Kinds

BLOCK_ROWS = 512
"""Few enough for their lines to stay in the processor's cache: more of them take longer each."""
SPECIFIED = frozenset(column.name for column in UNIFIED_CORPUS.columns)


@dataclass(frozen=True)
class Block:
    """Entries of rows in the order of output, and what their numbers mean."""

    entries: NDArray[np.void]
    shards: tuple[OpenedShard, ...]
    corpora: tuple[str, ...]
    scales: tuple[MosScale, ...]
    further: Mapping[int, FurtherOf]
    now: str


@dataclass(frozen=True)
class Written:
    """The lines of a block, and the kinds of values in the first row of each shape (its keys in their order).

    ``refused`` counts the further scores that are no numbers or outside their scale, by field: they are unknown.
    """

    lines: bytes
    kinds: Kinds
    refused: Mapping[str, int]


def blocks_of(whole: Block, rows: int = BLOCK_ROWS) -> Iterator[Block]:
    """The same rows in blocks."""
    for start in range(0, len(whole.entries), rows):
        yield replace(whole, entries=whole.entries[start : start + rows])


def write_block(block: Block) -> Written:
    """The lines of a block, read shard by shard and in the order of their bytes, which disks like best.

    A raw 0–100 score beside ``mos`` is the native one, and the SD follows it there; an unknown SD is 0.
    """
    lines = [b""] * len(block.entries)
    shapes: set[tuple[str, ...]] = set()
    kinds: dict[str, set[type]] = {}
    refused: Counter[str] = Counter()
    maps = [(one.name, *one.map_to(UNIFIED), one.convert_spread(1.0, UNIFIED), _turned(one)) for one in block.scales]
    raw_name, (raw_slope, raw_intercept) = CONTINUOUS_0_100.name, CONTINUOUS_0_100.map_to(UNIFIED)
    # names of this function are found faster than a module's, a few million times over
    read, decode, encode = os.pread, orjson.loads, json_line
    for number in np.unique(block.entries["shard"]).tolist():
        places = np.flatnonzero(block.entries["shard"] == number)
        places = places[np.argsort(block.entries["offset"][places])]
        entries = block.entries[places]
        columns = (entries[name].tolist() for name in ("offset", "length", "scale", "corpus"))
        path = block.shards[number].path
        # one loop for everything that happens to a row: a call in it costs as much as a field
        with block.shards[number].reading() as descriptor:
            for place, offset, length, scale, corpus in zip(places.tolist(), *columns, strict=True):
                line = read(descriptor, length, offset)
                try:
                    row = decode(line)
                except orjson.JSONDecodeError:  # what only Python's own parser reads, and what the first pass let by
                    row = parse_json_line(line, path, 0)
                if corpus in block.further:
                    refused.update(_unify_further(row, block.further[corpus], block.scales[scale]))
                if (shape := tuple(row)) not in shapes:
                    shapes.add(shape)
                    for name in shape:
                        if name not in SPECIFIED:
                            kinds.setdefault(name, set()).add(type(row[name]))
                scale_name, slope, intercept, of_spread, turned = maps[scale]
                spread = float(row.get("mos_std_dev") or 0.0)
                if not 0 < spread < math.inf:  # NaN too
                    spread = 0.0
                native = row.get(RAW_MOS)
                row["mos_std_dev_unified"] = spread * of_spread
                row.update(turned)
                if native is None:
                    native = row["mos"]
                else:
                    scale_name, spread, slope, intercept = raw_name, spread * of_spread, raw_slope, raw_intercept
                row["mos"] = slope * native + intercept
                row["mos_scale"] = UNIFIED.name
                row["mos_std_dev"] = spread
                row["mos_native"] = native
                row["mos_native_scale"] = scale_name
                row["corpus_source"] = block.corpora[corpus]
                row["aggregated_at_utc"] = block.now
                try:
                    lines[place] = encode(row)
                except TypeError as error:
                    where = f"{path}:{block.shards[number].line_at(offset)}: {row['src']}"
                    raise not_writable(where, error) from error
    return Written(b"".join(lines), {name: frozenset(types) for name, types in kinds.items()}, refused)


def _turned(scale: MosScale) -> dict[str, str]:
    """What a row says of its polarity where its native score runs the other way."""
    same = scale.polarity == UNIFIED.polarity
    return {} if same else {"mos_polarity": UNIFIED.polarity, "mos_native_polarity": scale.polarity}


def _unify_further(row: dict[str, Any], further: FurtherOf, mos: MosScale) -> Iterator[str]:
    """Bring a row's further scores onto 0–100, as its ``mos`` is; yields the fields whose score had to be left out."""
    for one in further.scores:
        name, polarity = row.pop(one.scale_field, None), row.pop(one.polarity_field, None)
        score = row.pop(one.field, None)
        if score is None:
            continue
        scale = mos if name is None else further.scales.get(name) if isinstance(name, str) else None
        if scale is not None and is_number(score) and polarity in (None, *POLARITIES):
            scale = scale.directed(polarity or mos.polarity)
            if scale.holds(score):
                row[one.field] = scale.convert(score, UNIFIED)
                continue
        yield one.field


def read_unified(row: Block) -> dict[str, Any]:
    """The one row of a block as it is written."""
    return parse_json_line(write_block(row).lines, row.shards[0].path, 0)


def place_of(rows: Block, number: int) -> tuple[Path, int]:
    """The shard, and the line in it, that a row of the output came from; rows count from 0."""
    entry = rows.entries[number]
    shard = rows.shards[entry["shard"]]
    return shard.path, shard.line_at(int(entry["offset"]))


def merged_kinds(parts: Iterable[Kinds]) -> Kinds:
    """The kinds of all parts together."""
    merged: dict[str, frozenset[type]] = {}
    for part in parts:
        for name, kinds in part.items():
            merged[name] = merged.get(name, frozenset()) | kinds
    return merged
