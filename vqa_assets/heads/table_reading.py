"""Labelled tables become one training table: rows that have a label and all features, each clip from one corpus only.

Every row left out is counted; what a head must not be trained on is in ``refusals``. How rows are split is in
``splitting``; rows made up for a smoke run are in ``synthetic``.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from vqa_assets.corpora.contents import KEY_COLUMNS, content_groups, joined_groups
from vqa_assets.errors import NoLabelledRowsError, TrainingError
from vqa_assets.feature_names import FeatureSchema
from vqa_assets.heads.columns import feature_columns, number_column, number_sources, slots, texts_among, word_sources
from vqa_assets.heads.display import DisplayProfile
from vqa_assets.heads.recipe import MOS_TARGET, Target
from vqa_assets.heads.refusals import (
    check_allowed,
    check_contents,
    check_labels_vary,
    check_measured,
    check_mos,
    check_no_label_among_features,
    check_still,
    check_types,
)
from vqa_assets.heads.training_table import Filled, RowCounts, TrainingTable, constant_columns
from vqa_assets.heads.weights import encoder_onehot

_STATUS, _LABELLED = "mos_label_status", "ok"
_LADDER = frozenset(("chug_ref", "chug_bitladder", "chug_bitrate_label"))
_SD_FIGURES = 9
"""SDs that came from two scales are equal to so many figures where they are equal."""
_VMAF_COLUMNS = ("vmaf", "vmaf_mean")
_OWN_NUMBERS = ("mos", "mos_std_dev", *_VMAF_COLUMNS)
_OWN_WORDS = ("content_id", "chug_content_name", "src_sha256", "split", "encoder", "corpus_version", _STATUS)


@dataclass(frozen=True)
class Reading:
    """How rows are read beside their schema: for which display and target, and whether an ``encoder`` column counts."""

    display: DisplayProfile | None = None
    target: Target = MOS_TARGET
    encoders: bool = False


def read_training_table(
    tables: Mapping[str, Path],
    schema: FeatureSchema,
    allow_missing: Collection[str] = (),
    display: DisplayProfile | None = None,
) -> TrainingTable:
    """Reads labelled parquet tables {corpus: path} whose ``mos`` is on 1–5.

    Features are read as ``columns`` says, rows without display values of their own with those of ``display``. Left out
    and counted, in this order: rows without a label, rows of which a feature is unknown, and rows whose clip
    (``src_sha256``) is taken from another corpus: as in the unified corpus the smallest known SD wins, an unknown one
    loses to any, ties go to the first corpus of ``tables``. (``mos_std_dev`` is in the unit of ``mos``, so all SDs are
    on one scale here.)

    TrainingError where a column is absent or all missing in a corpus, or measured and constant, unless it is in
    ``allow_missing``: then missing values are filled (``filled``) and constants kept. NoLabelledRowsError without rows.
    """
    scans = {corpus: _scanned(corpus, path) for corpus, path in tables.items()}
    return assembled(scans, schema, allow_missing, Reading(display))


def assembled(
    scans: Mapping[str, pl.LazyFrame], schema: FeatureSchema, allow_missing: Collection[str], reading: Reading
) -> TrainingTable:
    """As ``read_training_table``, from tables that are open; ``mos`` holds the target."""
    check_allowed(allow_missing, schema)
    texts: dict[str, str] = {}
    read = {corpus: _read(corpus, scan, (schema, reading), texts) for corpus, scan in scans.items()}
    labelled = {corpus: one.filter(pl.col("labelled")) for corpus, one in read.items()}
    if not sum(map(len, labelled.values())):
        found = ", ".join(f"{corpus}: {len(one)} rows" for corpus, one in read.items()) or "no table"
        raise NoLabelledRowsError(
            "no labelled row", found=found, expected="rows with a MOS", next_step="label the features first"
        )
    check_measured(labelled, schema, allow_missing, texts)
    labelled, filled = _fill(labelled, schema, allow_missing)
    whole = {corpus: one.drop_nulls(slots(schema)) for corpus, one in labelled.items()}
    if not sum(map(len, whole.values())):
        raise TrainingError("no labelled row has all features", expected=", ".join(schema.columns))
    once = _each_clip_once(whole)
    counts = {
        corpus: RowCounts(
            rows_in=len(read[corpus]),
            used=len(once[corpus]),
            rows_unlabelled=len(read[corpus]) - len(labelled[corpus]),
            rows_missing_features=len(labelled[corpus]) - len(whole[corpus]),
            duplicates=len(whole[corpus]) - len(once[corpus]),
        )
        for corpus in read
    }
    unknown = {name: pl.concat([f[f"unknown:{name}"] for f in once.values()]).to_numpy() for name in filled}
    table = replace(_joined(once, schema), counts=counts, filled=filled, unknown=unknown, target=reading.target)
    check_labels_vary(table)
    check_still(table, allow_missing)
    check_no_label_among_features(table)
    return _with_encoders(table, once) if reading.encoders else table


def _scanned(corpus: str, path: Path) -> pl.LazyFrame:
    if not path.is_file():
        raise TrainingError(f"labelled table of {corpus}", found=f"no file {path}", expected="a .parquet table")
    try:
        scan = pl.scan_parquet(path)
        scan.collect_schema()
    except pl.exceptions.PolarsError as error:
        raise TrainingError(f"{corpus}: {path.name}", found=str(error), expected="a .parquet table") from error
    return scan


def _read(
    corpus: str, scan: pl.LazyFrame, wanted: tuple[FeatureSchema, Reading], texts: dict[str, str]
) -> pl.DataFrame:
    """One table's rows under our own names; a table without ``mos`` or a clip's key is refused.

    ``texts`` takes an example of each column of numbers that holds text.
    """
    have = frozenset(scan.collect_schema().names())
    key = next((name for name in KEY_COLUMNS if name in have), None)
    if key is None or "mos" not in have:
        raise TrainingError(
            f"labelled table of {corpus}",
            found=f"columns {', '.join(sorted(have)[:20])}",
            expected=f"mos and one of {', '.join(KEY_COLUMNS)}",
            next_step="label the feature table first",
        )
    schema, reading = wanted
    of_features = [source for name in schema.columns for source in number_sources(name)]
    try:
        check_types(corpus, scan, (*_OWN_NUMBERS, *of_features), (key, *_OWN_WORDS, *word_sources(schema)))
        texts |= {f"{corpus}: {name}": example for name, example in texts_among(scan, of_features).items()}
        features = feature_columns(scan, schema, reading.display)
        rows = scan.select(**_own_columns(key, have), **features).collect()
    except pl.exceptions.PolarsError as error:
        found = str(error).partition("\n")[0][:300]
        raise TrainingError(f"labelled table of {corpus}", found=found, expected="a table that can be read") from error
    check_mos(corpus, rows.filter(pl.col("labelled")), reading.target)
    if _LADDER & have:
        check_contents(corpus, rows.filter(pl.col("labelled") & pl.col("split").is_null()))
    return rows.with_columns(corpus=pl.lit(corpus))


def _own_columns(key: str, have: Collection[str]) -> dict[str, pl.Expr]:
    status = pl.col(_STATUS).cast(pl.String) == _LABELLED if _STATUS in have else pl.lit(value=True)
    vmaf = [number_column(name) for name in _VMAF_COLUMNS if name in have]
    sd = number_column("mos_std_dev") if "mos_std_dev" in have else pl.lit(None, pl.Float64)
    return {
        "key": pl.col(key).cast(pl.String),
        "mos": number_column("mos"),
        "labelled": (number_column("mos").is_not_null() & pl.col(key).is_not_null() & status).fill_null(value=False),
        "sd": pl.when(sd > 0).then(sd),
        "vmaf": pl.coalesce(*vmaf, pl.lit(None, pl.Float64)),
        "content_id": pl.coalesce(_text("content_id", have), _text("chug_content_name", have)),
        "src_sha256": _text("src_sha256", have).str.to_lowercase(),
        **{name: _text(name, have) for name in ("split", "encoder", "corpus_version")},
    }


def _text(column: str, have: Collection[str]) -> pl.Expr:
    text = pl.col(column).cast(pl.String) if column in have else pl.lit(None, pl.String)
    return pl.when(text != "").then(text)


def _fill(
    frames: Mapping[str, pl.DataFrame], schema: FeatureSchema, allowed: Collection[str]
) -> tuple[dict[str, pl.DataFrame], dict[str, Filled]]:
    """Fills the allowed columns' missing values."""
    filled, result = {}, dict(frames)
    for name in (n for n in schema.columns if n in allowed):
        slot = f"feature:{name}"
        column = pl.concat([frame[slot] for frame in frames.values()])
        known = column.drop_nulls().to_numpy()
        if len(known) < len(column):
            filled[name] = Filled(len(column) - len(known), float(known.mean()) if len(known) else 0.0)
            marked = pl.col(slot).is_null().alias(f"unknown:{name}")
            result = {c: f.with_columns(marked, pl.col(slot).fill_null(filled[name].value)) for c, f in result.items()}
    return result, filled


def _each_clip_once(frames: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """Of a clip in several corpora only the winner's rows; several rows of one clip in one corpus all stay."""
    clips = [
        frame.filter(pl.col("src_sha256").is_not_null())
        .group_by("src_sha256")
        .agg(pl.col("sd").min())
        .with_columns(corpus=pl.lit(corpus), rank=pl.lit(rank))
        for rank, (corpus, frame) in enumerate(frames.items())
    ]
    order = pl.concat(clips).sort(pl.col("sd").round_sig_figs(_SD_FIGURES), "rank", nulls_last=True)
    winners = order.unique("src_sha256", keep="first", maintain_order=True).select("src_sha256", winner="corpus")
    return {corpus: _without_losers(frame, winners) for corpus, frame in frames.items()}


def _without_losers(frame: pl.DataFrame, winners: pl.DataFrame) -> pl.DataFrame:
    joined = frame.join(winners, on="src_sha256", how="left", maintain_order="left")
    return joined.filter(pl.col("winner").is_null() | (pl.col("winner") == pl.col("corpus")))


def _joined(frames: Mapping[str, pl.DataFrame], schema: FeatureSchema) -> TrainingTable:
    rows = pl.concat(list(frames.values()))
    text = {name: tuple(rows[name].to_list()) for name in ("key", "corpus", "src_sha256", "split", "content_id")}
    clips = [f"{corpus}/{key}" for corpus, key in zip(text["corpus"], text["key"], strict=True)]
    features = rows.select(slots(schema)).to_numpy().astype(np.float32)
    return TrainingTable(
        schema=schema,
        features=np.ascontiguousarray(features),
        mos=rows["mos"].to_numpy().astype(np.float32),
        vmaf=rows["vmaf"].fill_null(np.nan).to_numpy().astype(np.float32),
        keys=text["key"],
        groups=joined_groups(content_groups(text["content_id"], clips), text["src_sha256"]),
        corpora=text["corpus"],
        src_sha256=text["src_sha256"],
        split=text["split"],
        counts={},
        filled={},
        constant=constant_columns(features, schema.columns),
        onehot=encoder_onehot(len(rows)),
        versions={c: tuple(f["corpus_version"].drop_nulls().unique().sort()) for c, f in frames.items()},
    )


def _with_encoders(table: TrainingTable, frames: Mapping[str, pl.DataFrame]) -> TrainingTable:
    """The same with a one-hot over the encoders of its rows, by name."""
    words = np.asarray(pl.concat([frame["encoder"] for frame in frames.values()]).to_list(), dtype=object)
    vocab = tuple(sorted(set(words)))
    onehot = (words[:, None] == np.asarray(vocab, dtype=object)[None, :]).astype(np.float32)
    return replace(table, onehot=onehot, encoder_vocab=vocab)
