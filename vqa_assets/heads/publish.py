"""A trained head, and the cross-corpus evaluation, become files. Trains and judges nothing.

A head's are the ONNX, its predictions out of fold, its manifest sidecar, its card and the card's picture; the
evaluation's its matrices with a replay manifest. What a manifest says is in ``manifest``, what a card says in ``card``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from vqa_assets.heads.across import METRICS, Across
from vqa_assets.heads.build import BuiltHead
from vqa_assets.heads.card import render_card
from vqa_assets.heads.experiments import chosen_by, folder_of, standing_head
from vqa_assets.heads.judging.evaluation import Predictions
from vqa_assets.heads.judging.pictures import draw_dots, png_of
from vqa_assets.heads.judging.regression import against_published
from vqa_assets.heads.manifest import SCHEMA, as_plain, target_of
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.heads.table_checks import check_published, write_predictions
from vqa_assets.provenance import Manifest, ReadInput, RunContext, content_version, write_manifest
from vqa_assets.settings import with_origins
from vqa_assets.tables.content_errors import reading
from vqa_assets.tables.files import json_bytes
from vqa_assets.tables.paths import manifest_path
from vqa_assets.tables.publication import publishing, settle

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NO_HEAD = "no-head"
_LABEL_POINTS = 8
CORPORA_DRAWN = 12
"""The most corpora whose residuals are drawn: those with most rows."""

ACROSS_SCHEMA, ACROSS_MANIFEST_SCHEMA = "cross-corpus-evaluation-v1", "cross-corpus-evaluation-manifest-v1"
_SHAPE = ("nr_width", "nr_height", "nr_duration_s", "width", "height", "duration_s")


@dataclass(frozen=True)
class PublishedHead:
    """A head's files, what its card and the card's picture hold, its manifest as written, and a data version.

    The version is the published head's: a smoke run, an experiment, or a run that exports nothing leaves it as it is.
    """

    onnx: Path | None
    predictions: Path
    manifest_path: Path
    card: Path
    picture: Path
    card_text: str
    picture_png: bytes
    manifest: Mapping[str, Any]
    data_version: str


@dataclass(frozen=True)
class HeadInputs:
    """What a head was trained from: its recipe's name, the settings, the files as manifests name them.

    ``rows`` are the tables with the rows, by corpus, which the published head is judged on too.
    """

    recipe: str
    settings: TrainingSettings
    files: Mapping[str, ReadInput]
    rows: Mapping[str, Sequence[Path]]


def publish_head(built: BuiltHead, inputs: HeadInputs, context: RunContext) -> PublishedHead:
    """Write ``<stem>.onnx``, ``.predictions.parquet``, ``.json``, ``_card.md`` and its ``_card.png``, all together.

    They lie under ``<root>/models``, those of an experiment in ``experiments`` below it. Where the settings say that
    nothing is exported, the stem is ``<stem>.unexported``: the head that is there keeps its files. An ONNX whose bytes
    would stay the same is left alone. SchemaError where predictions or manifest break their column specs: then nothing
    is replaced.
    """
    settle(context.root.models(), folder_of(context.root, inputs.settings))
    regression = against_published(
        context.root.models() / f"{inputs.recipe}.onnx",
        built.manifest["sha256"],
        built.held_out,
        inputs.rows,
        target=built.manifest["target"],
        synthetic=built.manifest["synthetic"],
    )
    folder = folder_of(context.root, inputs.settings)
    stem = built.file_stem if built.onnx is not None else f"{built.file_stem}.unexported"
    names = (".onnx", ".predictions.parquet", ".json", "_card.md", "_card.png")
    onnx, predictions, sidecar, card, picture = [folder / f"{stem}{name}" for name in names]
    with publishing(inputs.recipe, onnx, SCHEMA) as publication:
        if built.onnx is not None:
            if onnx.is_file() and onnx.read_bytes() == built.onnx:
                publication.keep(onnx)
            else:
                publication.write(onnx, built.onnx)
        write_predictions(publication.draft(predictions), built.predictions)
        manifest = write_manifest(
            publication,
            sidecar,
            Manifest(
                schema=SCHEMA,
                body={
                    **built.manifest,
                    "onnx": None if built.onnx is None else onnx.name,
                    "predictions": predictions.name,
                    "regression": as_plain(regression),
                    "choices": chosen_by(inputs.settings, context.root),
                },
                args=with_origins(inputs.settings.public_values(), TrainingSettings().public_values()),
                inputs=_files_read(inputs, built.manifest),
                outputs={"predictions": predictions, **({} if built.onnx is None else {"onnx": onnx})},
            ),
            context,
        )
        check_published(publication.lies_at(predictions), manifest, sidecar)
        picture_png, card_text = card_png(built.predictions, manifest), render_card(manifest, picture.name)
        publication.write(picture, picture_png)
        publication.write(card, card_text.encode())
        # All that a run tells of it is read before it stands: a run that fails has published nothing.
        takes_its_place = sidecar == context.root.models() / f"{inputs.recipe}.json"
        standing = manifest if takes_its_place else standing_head(context.root, inputs.recipe)
    version = str(standing["sha256"])[:32] if standing and standing.get("sha256") else NO_HEAD
    exported = None if built.onnx is None else onnx
    return PublishedHead(
        exported, predictions, sidecar, card, picture, card_text, picture_png, manifest, data_version=version
    )


def _files_read(inputs: HeadInputs, manifest: Mapping[str, Any]) -> dict[str, Path | ReadInput]:
    profile = inputs.settings.display_profile_json if "display_profile" in manifest else None
    return {**inputs.files, **({"display_profile": profile} if profile else {})}


def card_png(predictions: Predictions, manifest: Mapping[str, Any]) -> bytes:
    """A small PNG of two panels: predicted over MOS, one dot a row, and the spread of predicted − MOS per corpus.

    Of more than 1 000 rows an even 1 000 are dots. A head for another target than MOS is drawn on its own range.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.6), dpi=80, layout="tight")
    left, right = figure.subplots(1, 2)
    name, ends = target_of(manifest)
    name = manifest.get("target") or name
    _scatter(left, predictions, name, ends)
    _residuals(right, predictions, name)
    figure.suptitle(manifest["title"], fontsize=10)
    return png_of(figure)


def _scatter(axes: "Axes", predictions: Predictions, name: str, ends: tuple[float, float]) -> None:
    axes.plot(ends, ends, color="0.5", linewidth=1)
    draw_dots(axes, predictions.mos, predictions.predicted)
    axes.set(xlim=ends, ylim=ends)
    axes.set_xlabel(f"{name.upper()} ({ends[0]:g}–{ends[1]:g})", fontsize=_LABEL_POINTS)
    axes.set_ylabel("predicted, not trained on", fontsize=_LABEL_POINTS)


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
    # In two lines: beside long names of corpora the axes are narrower than the words, which would be cut off.
    axes.set_xlabel(f"predicted − {name.upper()}\n(median, quarters, 5–95 %)", fontsize=_LABEL_POINTS)


@dataclass(frozen=True)
class PublishedAcross:
    """The file, what is in it, its replay manifest, its data version."""

    path: Path
    report: Mapping[str, Any]
    manifest_path: Path
    manifest: Mapping[str, Any]
    data_version: str


def publish_across(
    across: Across, settings: TrainingSettings, table: Path, files: Mapping[str, ReadInput], context: RunContext
) -> PublishedAcross:
    """Write ``<root>/models/cross_corpus_evaluation.json`` and its replay manifest.

    ``table`` holds the rows of all corpora, ``files`` are those that were read, as the manifest names them.
    """
    path = context.root.models() / "cross_corpus_evaluation.json"
    evaluation = report(across, settings, table)
    content = json_bytes(evaluation)
    body = {name: evaluation[name] for name in ("feature_schema", "absent", "excluded", "device", *METRICS)}
    with publishing("cross_corpus_evaluation", path, ACROSS_SCHEMA) as publication:
        publication.write(path, content)
        manifest = write_manifest(
            publication,
            manifest_path(path),
            Manifest(
                schema=ACROSS_MANIFEST_SCHEMA,
                body={**body, "corpora": list(across.corpora)},
                args=with_origins(settings.public_values(), TrainingSettings().public_values()),
                inputs=files,
                outputs={"cross_corpus_evaluation": path},
            ),
            context,
        )
    return PublishedAcross(path, evaluation, manifest_path(path), manifest, content_version([content]))


def report(across: Across, settings: TrainingSettings, table: Path) -> dict[str, Any]:
    """The evaluation as JSON without NaN. ``table`` is that of all corpora, for clips of theirs that look alike."""
    counts, facts = across.table.counts, across.chosen.facts
    groups, corpora = np.asarray(across.table.groups), np.asarray(across.table.corpora)
    document = {
        "schema": ACROSS_SCHEMA,
        "feature_schema": across.table.schema.name,
        "feature_order": across.table.schema.feature_order,
        "corpora": {
            name: {
                "title": facts[name].title,
                "licence": facts[name].licence,
                "rows": counts[name].used,
                "contents": len(np.unique(groups[corpora == name])),
                "folds": across.folds[name],
                "counts": asdict(counts[name]),
            }
            for name in across.corpora
        },
        "absent": across.chosen.absent,
        "excluded": across.chosen.excluded,
        "unused": across.chosen.unused,
        "diagonal": f"within a corpus: {settings.k_folds} folds by content, or as many as its contents fill, all their "
        "predictions together",
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
        "near_duplicates": near_duplicates(table, across.corpora),
        "constant": across.table.constant,
        "device": across.device,
        "settings": settings.public_values(),
    }
    plain: dict[str, Any] = as_plain(document)
    return plain


def near_duplicates(table: Path, corpora: Sequence[str], named: int = 50) -> dict[str, Any] | None:
    """Groups of clips of several ``corpora`` that look alike, by the perceptual hashes in the table of all.

    None where fewer than two have them. Such clips make a number between their corpora optimistic; none is left out.
    """
    from vqa_assets.features.near_duplicates import COLUMN, near_duplicate_groups

    with reading(table):
        frame = _hashed_clips(table, corpora, COLUMN)
    # Hashes within one corpus say nothing of what two corpora share.
    if frame is None or frame["corpus"].n_unique() < 2:
        return None
    rows = frame.to_dicts()
    groups = [[rows[i] for i in group] for group in near_duplicate_groups(rows)]
    across = [group for group in groups if len({row["corpus"] for row in group}) > 1]
    examples = [[f"{row['corpus']}: {row['key']}" for row in group] for group in across[:named]]
    return {"groups": len(across), "clips": sum(map(len, across)), "examples": examples}


def _hashed_clips(table: Path, corpora: Sequence[str], hashes: str) -> pl.DataFrame | None:
    """The clips of these corpora that have a perceptual hash; None where the table has no column of them."""
    scan = pl.scan_parquet(table, glob=False)
    have = scan.collect_schema().names()
    if hashes not in have:
        return None
    columns = [name for name in (*_SHAPE, hashes, "key", "corpus") if name in have]
    return scan.select(columns).filter(pl.col("corpus").is_in(list(corpora)) & pl.col(hashes).is_not_null()).collect()
