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

from vqa_assets.aggregate.index import NATIVE_SCALES
from vqa_assets.aggregate.shards import OpenedShard, not_writable
from vqa_assets.mos import CONTINUOUS_0_100, RAW_MOS, UNIFIED
from vqa_assets.schemas import UNIFIED_CORPUS
from vqa_assets.store.files import json_line, parse_json_line

BLOCK_ROWS = 2_048
_SPECIFIED = frozenset(column.name for column in UNIFIED_CORPUS.columns)


@dataclass(frozen=True)
class Block:
    """Entries of rows in the order of output, and what their numbers mean."""

    entries: NDArray[np.void]
    shards: tuple[OpenedShard, ...]
    corpora: tuple[str, ...]
    now: str


@dataclass(frozen=True)
class Written:
    """The lines of a block, and of each field that has no column spec the kinds its values have."""

    lines: bytes
    kinds: Mapping[str, frozenset[type]]


def blocks_of(whole: Block, rows: int = BLOCK_ROWS) -> Iterator[Block]:
    """The same rows in blocks."""
    for start in range(0, len(whole.entries), rows):
        yield Block(whole.entries[start : start + rows], whole.shards, whole.corpora, whole.now)


def write_block(block: Block) -> Written:
    """The lines of a block."""
    lines = [b""] * len(block.entries)
    extras = _ExtraFields()
    for place, row in unified_rows(block):
        extras.note(row)
        try:
            lines[place] = json_line(row)
        except TypeError as error:
            shard = block.shards[block.entries[place]["shard"]]
            raise not_writable(f"{shard.path}: {row['src']}", error) from error
    return Written(b"".join(lines), extras.kinds())


def unified_rows(block: Block) -> Iterator[tuple[int, dict[str, Any]]]:
    """(place in the block, unified row), shard by shard and in the order of their bytes, which disks like best."""
    for number in np.unique(block.entries["shard"]).tolist():
        places = np.flatnonzero(block.entries["shard"] == number)
        places = places[np.argsort(block.entries["offset"][places])]
        entries = block.entries[places]
        columns = (entries[name].tolist() for name in ("offset", "length", "scale", "corpus"))
        shard = block.shards[number]
        with shard.reading() as descriptor:
            yield from _of_shard(block, (shard.path, descriptor), zip(places.tolist(), *columns, strict=True))


def _of_shard(
    block: Block, shard: tuple[Path, int], wanted: Iterable[tuple[int, int, int, int, int]]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Reads, decodes and unifies one row after the other; as little as can be is called for each.

    A raw 0–100 score beside ``mos`` is the native one, and the SD follows it there; an unknown SD is 0.
    """
    path, descriptor = shard
    maps = [(scale.name, *scale.map_to(UNIFIED)) for scale in NATIVE_SCALES]
    raw_name, (raw_slope, raw_intercept) = CONTINUOUS_0_100.name, CONTINUOUS_0_100.map_to(UNIFIED)
    read, decode, now, unified, corpora = os.pread, orjson.loads, block.now, UNIFIED.name, block.corpora
    for place, offset, length, scale, corpus in wanted:
        line = read(descriptor, length, offset)
        try:
            row = decode(line)
        except orjson.JSONDecodeError:
            row = parse_json_line(line, path, 0)
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
        row["mos_scale"] = unified
        row["mos_std_dev"] = spread
        row["mos_native"] = native
        row["mos_native_scale"] = name
        row["corpus_source"] = corpora[corpus]
        row["aggregated_at_utc"] = now
        yield place, row


class _ExtraFields:
    """Which fields without a column spec were met, and of which kinds their values are."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._kinds: dict[tuple[str, ...], set[tuple[type, ...]]] = {}

    def note(self, row: Mapping[str, Any]) -> None:
        keys = tuple(row)
        names = self._names.get(keys)
        if names is None:
            names = self._names[keys] = tuple(name for name in keys if name not in _SPECIFIED)
            self._kinds.setdefault(names, set())
        if names:
            self._kinds[names].add(tuple([type(row[name]) for name in names]))

    def kinds(self) -> dict[str, frozenset[type]]:
        """Name → kinds of its values."""
        found: dict[str, set[type]] = {}
        for names, combinations in self._kinds.items():
            for combination in combinations:
                for name, kind in zip(names, combination, strict=True):
                    found.setdefault(name, set()).add(kind)
        return {name: frozenset(kinds) for name, kinds in found.items()}


def merged_kinds(parts: Sequence[Mapping[str, frozenset[type]]]) -> dict[str, frozenset[type]]:
    """The kinds of all parts together."""
    found: dict[str, frozenset[type]] = {}
    for part in parts:
        for name, kinds in part.items():
            found[name] = found.get(name, frozenset()) | kinds
    return found
