"""The encode grid's training corpus as a training table: what a full-reference regressor reads. Opinions are not here.

A row's content is its source, its target VMAF; sources of the grid stand in for corpora.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from vqa_assets.corpora import ENCODE_GRID_SOURCES
from vqa_assets.corpora.external import NETFLIX
from vqa_assets.encode_grid.grid_rows import read_grid
from vqa_assets.errors import NoLabelledRowsError
from vqa_assets.feature_names import CANONICAL_6, FeatureSchema, crf_norm, preset_rank
from vqa_assets.heads.recipe import VMAF_TARGET
from vqa_assets.heads.table_reading import Reading, assembled
from vqa_assets.heads.training_table import RowCounts, TrainingTable

_COLUMNS: Mapping[str, Any] = {
    **dict.fromkeys(("key", "content_id", "encoder"), pl.String),
    **dict.fromkeys((*CANONICAL_6, "crf_norm", "preset_rank", "mos"), pl.Float64),
}


def read_grid_table(
    paths: Iterable[Path], schema: FeatureSchema, allow_missing: Collection[str] = (), exclude: Collection[str] = ()
) -> TrainingTable:
    """The encodes of the grid files: ``mos`` is VMAF on 0–100, ``groups`` are sources, ``onehot`` is over the encoders.

    Encodes with an ``exit_status`` other than 0 are left out and counted (``rows_failed``); so are those without a
    VMAF, and those of which a feature is unknown (a preset of no known encoder among them). ``exclude`` names sources
    of the grid. TrainingError as in ``read_training_table``; NoLabelledRowsError without rows; EncodeGridError names
    file and line of what is no row of the grid.
    """
    own = tuple(name for name in schema.columns if name not in _COLUMNS)
    good, failed = _read(paths, exclude, own)
    rows = {source: good[source] for source in (*ENCODE_GRID_SOURCES, *sorted(good)) if good.get(source)}
    if not rows:
        raise NoLabelledRowsError(
            "no encode to train on",
            found=f"{sum(failed.values())} encodes that failed",
            expected="encodes with exit_status 0 and a VMAF",
            next_step="materialize fr_training_corpus again",
        )
    columns = {**_COLUMNS, **dict.fromkeys(own, pl.Float64)}
    frames = {source: pl.DataFrame(of, schema=columns).lazy() for source, of in rows.items()}
    table = assembled(frames, schema, allow_missing, Reading(target=VMAF_TARGET, encoders=True))
    none = RowCounts(0, 0, 0, 0, 0)
    counts = {source: (table.counts.get(source, none), lost) for source, lost in failed.items()}
    told = {s: replace(c, rows_in=c.rows_in + lost, rows_failed=lost) for s, (c, lost) in counts.items()}
    return replace(table, counts=told)


def _read(
    paths: Iterable[Path], exclude: Collection[str], own: Collection[str]
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, int]]:
    """Per source, the rows of its encodes, with ``own`` columns of numbers, and how many of them failed."""
    good: dict[str, list[dict[str, Any]]] = {}
    failed: dict[str, int] = {}
    for path in paths:
        for _, row in read_grid(path):
            source = _source(row)
            if source not in exclude:
                good.setdefault(source, []).extend([_own(row, own)] if row["exit_status"] == 0 else [])
                failed[source] = failed.get(source, 0) + (row["exit_status"] != 0)
    return good, failed


def _source(row: Mapping[str, Any]) -> str:
    """BVI-DVC's rows say whose they are; all others came through the Netflix adapter."""
    named = str(row["src"]).partition(":")[0]
    return named if named in ENCODE_GRID_SOURCES else NETFLIX.name


def _own(row: Mapping[str, Any], own: Collection[str]) -> dict[str, Any]:
    numbers = {name: row.get(name) for name in own}
    return {
        **{name: float(n) if isinstance(n, int | float) else None for name, n in numbers.items()},
        "key": f"{row['src']} {row['encoder']} {row['preset']} crf {row['crf']:g}",
        "content_id": row["src_sha256"],
        "encoder": row["encoder"],
        **{name: float(row[f"{name}_mean"]) for name in CANONICAL_6},
        "crf_norm": crf_norm(float(row["crf"])),
        "preset_rank": preset_rank(row["preset"]),
        "mos": float(row["vmaf_score"]),
    }
