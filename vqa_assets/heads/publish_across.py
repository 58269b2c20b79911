"""The cross-corpus evaluation as a file: its matrices, its corpora, clips of several corpora that look alike.

What is measured is in ``across``.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from vqa_assets.heads.across import METRICS, Across
from vqa_assets.heads.manifest import as_plain
from vqa_assets.heads.recipe import TrainingSettings
from vqa_assets.provenance import Manifest, RunContext, content_version, told_settings, write_manifest
from vqa_assets.tables.files import write_json
from vqa_assets.tables.paths import manifest_path

SCHEMA, MANIFEST_SCHEMA = "cross-corpus-evaluation-v1", "cross-corpus-evaluation-manifest-v1"
_SHAPE = ("nr_width", "nr_height", "nr_duration_s", "width", "height", "duration_s")


@dataclass(frozen=True)
class PublishedAcross:
    """The file, what is in it, its replay manifest, its data version."""

    path: Path
    report: Mapping[str, Any]
    manifest_path: Path
    manifest: Mapping[str, Any]
    data_version: str


def publish_across(
    across: Across, settings: TrainingSettings, tables: Mapping[str, Path], context: RunContext
) -> PublishedAcross:
    """Write ``<root>/models/cross_corpus_evaluation.json`` and its replay manifest; ``tables`` by corpus."""
    path = context.root.models() / "cross_corpus_evaluation.json"
    told = report(across, settings, tables)
    write_json(path, told)
    body = {name: told[name] for name in ("feature_schema", "absent", "excluded", "device", *METRICS)}
    manifest = Manifest(
        MANIFEST_SCHEMA,
        {**body, "corpora": list(across.corpora)},
        told_settings(settings.as_json(), TrainingSettings().as_json()),
        {f"features_with_mos_{name}": table for name, table in tables.items()},
        {"cross_corpus_evaluation": path},
    )
    written = write_manifest(manifest_path(path), manifest, context)
    return PublishedAcross(path, told, manifest_path(path), written, content_version([path.read_bytes()]))


def report(across: Across, settings: TrainingSettings, tables: Mapping[str, Path]) -> dict[str, Any]:
    """The evaluation as JSON without NaN. ``tables`` are the corpora's, for clips of theirs that look alike."""
    counts, facts = across.table.counts, across.chosen.facts
    groups, corpora = np.asarray(across.table.groups), np.asarray(across.table.corpora)
    told = {
        "schema": SCHEMA,
        "feature_schema": across.table.schema.name,
        "feature_order": across.table.schema.columns,
        "corpora": {
            name: {
                "title": facts[name].title,
                "licence": facts[name].licence,
                "rows": counts[name].used,
                "contents": len(np.unique(groups[corpora == name])),
                "counts": asdict(counts[name]),
            }
            for name in across.corpora
        },
        "absent": across.chosen.absent,
        "excluded": across.chosen.excluded,
        "unused": across.chosen.unused,
        "diagonal": f"within a corpus: {settings.k_folds} folds by content, all their predictions together",
        **{metric: across.matrix(metric) for metric in METRICS},
        "cells": [
            {"trained_on": one, "tested_on": other, **(cell.as_json() if cell else {"rows": 0})}
            for (one, other), cell in across.cells.items()
        ],
        "leave_one_corpus_out": {
            name: {"groups": judged.groups, **judged.scores.as_json(), "interval_95": judged.interval}
            for name, judged in across.left_out.items()
        },
        "shared_contents": {"count": len(across.shared_contents), "examples": across.shared_contents[:20]},
        "near_duplicates": near_duplicates({name: tables[name] for name in across.corpora}),
        "constant": across.table.constant,
        "device": across.device,
        "settings": settings.as_json(),
    }
    plain: dict[str, Any] = as_plain(told)
    return plain


def near_duplicates(tables: Mapping[str, Path], named: int = 50) -> dict[str, Any] | None:
    """Groups of clips of several corpora that look alike, by the perceptual hashes of tables that have them.

    None where fewer than two tables do. Such clips make a number between their corpora optimistic; none is left out.
    """
    from vqa_assets.features.near_duplicates import COLUMN, near_duplicate_groups

    frames = []
    for corpus, path in tables.items():
        scan = pl.scan_parquet(path)
        have = scan.collect_schema().names()
        if COLUMN in have and "key" in have:
            wanted = [name for name in (*_SHAPE, COLUMN, "key") if name in have]
            frames.append(scan.select(wanted).collect().with_columns(corpus=pl.lit(corpus)))
    if len(frames) < 2:
        return None
    rows = pl.concat(frames, how="diagonal_relaxed").to_dicts()
    groups = [[rows[i] for i in group] for group in near_duplicate_groups(rows)]
    across = [group for group in groups if len({row["corpus"] for row in group}) > 1]
    shown = [[f"{row['corpus']}: {row['key']}" for row in group] for group in across[:named]]
    return {"groups": len(across), "clips": sum(map(len, across)), "examples": shown}
