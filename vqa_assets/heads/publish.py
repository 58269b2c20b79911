"""A trained head, and the cross-corpus evaluation, become files. Trains and judges nothing.

A head's are the ONNX, its manifest sidecar, its card and the card's picture; the evaluation's its matrices with a
replay manifest. What a manifest says is in ``manifest``, what a card says in ``card``.
"""

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from vqa_assets.heads.across import METRICS, Across
from vqa_assets.heads.build import BuiltHead
from vqa_assets.heads.card import render_card
from vqa_assets.heads.evaluation import Predictions
from vqa_assets.heads.manifest import SCHEMA, as_plain, target_of
from vqa_assets.heads.regression import against_published
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.provenance import Manifest, RunContext, content_version, write_manifest
from vqa_assets.settings import with_origins
from vqa_assets.tables.files import read_json_object, write_bytes, write_json
from vqa_assets.tables.paths import manifest_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NO_HEAD = "no-head"
CORPORA_DRAWN = 12
"""The most corpora whose residuals are drawn: those with most rows."""

ACROSS_SCHEMA, ACROSS_MANIFEST_SCHEMA = "cross-corpus-evaluation-v1", "cross-corpus-evaluation-manifest-v1"
_OPAQUE_UP_TO = 300
_DOTS = 1_000
_SHAPE = ("nr_width", "nr_height", "nr_duration_s", "width", "height", "duration_s")


@dataclass(frozen=True)
class PublishedHead:
    """A head's files, its manifest as written, and the data version of the real head (a smoke run leaves it)."""

    onnx: Path | None
    manifest_path: Path
    card: Path
    picture: Path
    manifest: Mapping[str, Any]
    data_version: str


@dataclass(frozen=True)
class HeadInputs:
    """What a head was trained from: its recipe's name, the settings, the tables by corpus."""

    recipe: str
    settings: TrainingSettings
    tables: Mapping[str, Path]


def publish_head(built: BuiltHead, inputs: HeadInputs, context: RunContext) -> PublishedHead:
    """Write ``<stem>.onnx``, ``.json``, ``_card.md`` and its ``_card.png`` under ``<root>/models``, each atomically.

    Where the settings say that nothing is exported, the stem is ``<stem>.unexported``: the head that stands keeps its
    manifest and card. An ONNX whose bytes would stay the same is left alone.
    """
    folder = context.root.models()
    folder.mkdir(parents=True, exist_ok=True)
    regression = against_published(
        folder / f"{inputs.recipe}.onnx",
        built.manifest["sha256"],
        built.held_out,
        inputs.tables,
        synthetic=built.manifest["synthetic"],
    )
    stem = built.file_stem if built.onnx is not None else f"{built.file_stem}.unexported"
    onnx, sidecar, card = (folder / f"{stem}{suffix}" for suffix in (".onnx", ".json", "_card.md"))
    if built.onnx is not None and not (onnx.exists() and onnx.read_bytes() == built.onnx):
        write_bytes(onnx, built.onnx)
    outputs = {} if built.onnx is None else {"onnx": onnx}
    manifest = write_manifest(
        sidecar,
        Manifest(
            schema=SCHEMA,
            body={
                **built.manifest,
                "onnx": None if built.onnx is None else onnx.name,
                "regression": as_plain(regression),
            },
            args=with_origins(inputs.settings.public_values(), TrainingSettings().public_values()),
            inputs=_files_read(inputs, built.manifest),
            outputs=outputs,
        ),
        context,
    )
    picture = card.with_suffix(".png")
    write_bytes(picture, card_png(built.predictions, manifest))
    write_bytes(card, render_card(manifest, picture.name).encode())
    # A smoke run, or one that exports nothing, leaves the head that stands: its version stays that head's.
    real = folder / f"{inputs.recipe}.json"
    sha256 = read_json_object(real).get("sha256") if real.is_file() else None
    version = str(sha256)[:32] if sha256 else NO_HEAD
    return PublishedHead(onnx if outputs else None, sidecar, card, picture, manifest, version)


def _files_read(inputs: HeadInputs, manifest: Mapping[str, Any]) -> dict[str, Path]:
    what = "features_with_mos" if "mos_range" in manifest else "rows"
    files = {f"{what}_{name}": path for name, path in inputs.tables.items()}
    profile = inputs.settings.display_profile_json if "display_profile" in manifest else None
    return {**files, "display_profile": Path(profile).expanduser()} if profile else files


def card_png(predictions: Predictions, manifest: Mapping[str, Any]) -> bytes:
    """A small PNG of two panels: predicted over MOS, one dot a row, and the spread of predicted − MOS per corpus.

    Of more than 1 000 rows an even 1 000 are dots. A head for another target than MOS is drawn on its own range.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.6), dpi=80, layout="tight")
    left, right = figure.subplots(1, 2)
    name, ends = target_of(manifest)
    _scatter(left, predictions, name, ends)
    _residuals(right, predictions, name)
    figure.suptitle(manifest["title"], fontsize=10)
    png = io.BytesIO()
    FigureCanvasAgg(figure)  # no pyplot: no display, and no state that runs in one process would share
    figure.savefig(png, format="png", metadata={"Software": None})  # no version of matplotlib in the bytes
    return png.getvalue()


def _scatter(axes: "Axes", predictions: Predictions, name: str, ends: tuple[float, float]) -> None:
    dots = slice(None, None, -(-len(predictions.mos) // _DOTS) or 1)
    mos, predicted = predictions.mos[dots], predictions.predicted[dots]
    # The more dots, the fainter each, so that a cloud shows where it is dense.
    dense = max(0.1, min(0.6, _OPAQUE_UP_TO / max(1, len(mos))))
    axes.plot(ends, ends, color="0.5", linewidth=1)
    axes.plot(mos, predicted, ".", markersize=4, alpha=dense, color="tab:blue", mew=0)
    label = f"{name.upper()} ({ends[0]:g}–{ends[1]:g})"
    axes.set(xlim=ends, ylim=ends, xlabel=label, ylabel="predicted, not trained on")


def _residuals(axes: "Axes", predictions: Predictions, name: str) -> None:
    corpora = np.asarray(predictions.corpora)
    names, counts = np.unique(corpora, return_counts=True)
    drawn = [str(n) for n in names[np.argsort(-counts, kind="stable")][:CORPORA_DRAWN]][::-1]
    apart = predictions.predicted - predictions.mos
    axes.axvline(0, color="0.5", linewidth=1)
    if drawn:
        each = [apart[corpora == n] for n in drawn]
        axes.boxplot(each, orientation="horizontal", tick_labels=drawn, whis=(5, 95), showfliers=False)
    axes.tick_params(labelsize=8)
    axes.set_xlabel(f"predicted − {name.upper()}: median, quarters, 5–95 %")


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
    evaluation = report(across, settings, tables)
    write_json(path, evaluation)
    body = {name: evaluation[name] for name in ("feature_schema", "absent", "excluded", "device", *METRICS)}
    manifest = write_manifest(
        manifest_path(path),
        Manifest(
            schema=ACROSS_MANIFEST_SCHEMA,
            body={**body, "corpora": list(across.corpora)},
            args=with_origins(settings.public_values(), TrainingSettings().public_values()),
            inputs={f"features_with_mos_{name}": table for name, table in tables.items()},
            outputs={"cross_corpus_evaluation": path},
        ),
        context,
    )
    return PublishedAcross(path, evaluation, manifest_path(path), manifest, content_version([path.read_bytes()]))


def report(across: Across, settings: TrainingSettings, tables: Mapping[str, Path]) -> dict[str, Any]:
    """The evaluation as JSON without NaN. ``tables`` are the corpora's, for clips of theirs that look alike."""
    counts, facts = across.table.counts, across.chosen.facts
    groups, corpora = np.asarray(across.table.groups), np.asarray(across.table.corpora)
    document = {
        "schema": ACROSS_SCHEMA,
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
        "settings": settings.public_values(),
    }
    plain: dict[str, Any] = as_plain(document)
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
            columns = [name for name in (*_SHAPE, COLUMN, "key") if name in have]
            frames.append(scan.select(columns).collect().with_columns(corpus=pl.lit(corpus)))
    # Hashes within one corpus say nothing of what two corpora share.
    if len(frames) < 2:
        return None
    rows = pl.concat(frames, how="diagonal_relaxed").to_dicts()
    groups = [[rows[i] for i in group] for group in near_duplicate_groups(rows)]
    across = [group for group in groups if len({row["corpus"] for row in group}) > 1]
    examples = [[f"{row['corpus']}: {row['key']}" for row in group] for group in across[:named]]
    return {"groups": len(across), "clips": sum(map(len, across)), "examples": examples}
