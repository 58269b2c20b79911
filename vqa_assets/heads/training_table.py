"""Labelled tables become one training table: rows that have a label and all features, each clip from one corpus only.

Every row left out is counted, and columns a head must not be trained on are refused by name. How rows are split is in
``splitting``; rows made up for a smoke run are in ``synthetic``.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vqa_assets.content import KEY_COLUMNS, content_groups, joined_groups
from vqa_assets.errors import TrainingError
from vqa_assets.feature_names import FeatureSchema
from vqa_assets.heads.columns import (
    feature_columns,
    nested_among,
    no_numbers_among,
    number_column,
    number_sources,
    slots,
    texts_among,
    word_sources,
)
from vqa_assets.heads.display import DisplayProfile
from vqa_assets.heads.recipe import ENCODER_VOCAB, MOS_TARGET, Target
from vqa_assets.heads.weights import F32, I64, encoder_onehot
from vqa_assets.mos import MosScale

_STATUS, _LABELLED = "mos_label_status", "ok"
_LADDER = frozenset(("chug_ref", "chug_bitladder", "chug_bitrate_label"))
_ENOUGH_TO_TELL, _THE_SAME, _THE_SAME_SCORE = 20, 0.999, 1 - 1e-7
"""Correlations with the target that no measurement has: of opinions, also rounded ones, and of a computed score."""
_SD_FIGURES = 9
"""SDs that came from two scales are equal to so many figures where they are equal."""
_VMAF_COLUMNS = ("vmaf", "vmaf_mean")
_OWN_NUMBERS = ("mos", "mos_std_dev", *_VMAF_COLUMNS)
_OWN_WORDS = ("content_id", "chug_content_name", "src_sha256", "split", "encoder", "corpus_version", _STATUS)


class NoLabelledRowsError(TrainingError):
    """Real input without one labelled row; a run that allows it may go on with synthetic rows."""


@dataclass(frozen=True)
class RowCounts:
    """One corpus's rows: ``rows_in`` is the sum of the others. ``duplicates`` are clips taken from another corpus.

    ``rows_failed`` are encodes that ended in an error.
    """

    rows_in: int
    used: int
    rows_unlabelled: int
    rows_missing_features: int
    duplicates: int
    rows_failed: int = 0


@dataclass(frozen=True)
class Filled:
    """An allowed column's missing values: how many rows got which value (the mean of the known, 0 without any)."""

    rows: int
    value: float


@dataclass(frozen=True)
class TrainingTable:
    """N rows for training, in the order of the corpora and of their files.

    ``features`` (N, F) are raw values in the order of ``schema.columns``, all finite; ``mos`` (N,) is the target, on
    1–5 (of a full-reference head it is VMAF on 0–100); ``vmaf`` (N,) on 0–100 is NaN where unknown. ``split`` is a
    row's word, None where its corpus has no split. ``constant`` are the columns of one value. ``onehot`` (N, V) says
    which of ``encoder_vocab`` made a row. ``unknown`` (N,) are, per filled column, the rows where it was;
    ``versions`` are the releases that each corpus's rows say they are of.
    """

    schema: FeatureSchema
    features: F32
    mos: F32
    vmaf: F32
    keys: tuple[str, ...]
    groups: tuple[str, ...]
    corpora: tuple[str, ...]
    src_sha256: tuple[str | None, ...]
    split: tuple[str | None, ...]
    counts: Mapping[str, RowCounts]
    filled: Mapping[str, Filled]
    constant: tuple[str, ...]
    onehot: F32
    encoder_vocab: tuple[str, ...] = ENCODER_VOCAB
    target: Target = MOS_TARGET
    synthetic: bool = False
    unknown: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    versions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def refilled(table: TrainingTable, rows: I64) -> TrainingTable:
    """The same with the means over ``rows`` of it in place of what was filled: what judges a head fills nothing."""
    if not table.filled:
        return table
    features, filled = table.features.copy(), {}
    for name, before in table.filled.items():
        column, unknown = table.schema.columns.index(name), table.unknown[name]
        known = features[rows, column][~unknown[rows]]
        filled[name] = replace(before, value=float(known.mean(dtype=np.float64)) if len(known) else 0.0)
        features[unknown, column] = filled[name].value
    return replace(table, features=features, filled=filled, constant=constant_columns(features, table.schema.columns))


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


@dataclass(frozen=True)
class Reading:
    """How rows are read beside their schema: for which display and target, and whether an ``encoder`` column counts."""

    display: DisplayProfile | None = None
    target: Target = MOS_TARGET
    encoders: bool = False


def assembled(
    scans: Mapping[str, pl.LazyFrame], schema: FeatureSchema, allow_missing: Collection[str], reading: Reading
) -> TrainingTable:
    """As ``read_training_table``, from tables that are open; ``mos`` holds the target."""
    _check_allowed(allow_missing, schema)
    texts: dict[str, str] = {}
    read = {corpus: _read(corpus, scan, (schema, reading), texts) for corpus, scan in scans.items()}
    labelled = {corpus: one.filter(pl.col("labelled")) for corpus, one in read.items()}
    if not sum(map(len, labelled.values())):
        found = ", ".join(f"{corpus}: {len(one)} rows" for corpus, one in read.items()) or "no table"
        raise NoLabelledRowsError(
            "no labelled row", found=found, expected="rows with a MOS", next_step="label the features first"
        )
    _check_measured(labelled, schema, allow_missing, texts)
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
    _check_labels_vary(table)
    _check_still(table, allow_missing)
    _check_no_label_among_features(table)
    return _with_encoders(table, once) if reading.encoders else table


def _check_allowed(allow_missing: Collection[str], schema: FeatureSchema) -> None:
    unknown = sorted(set(allow_missing) - set(schema.columns))
    if unknown:
        raise TrainingError(
            "allow_missing_features names no feature of the head",
            found=", ".join(unknown),
            expected=f"columns of {schema.name}: {', '.join(schema.columns)}",
            next_step="correct the setting",
        )


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
        _check_types(corpus, scan, (*_OWN_NUMBERS, *of_features), (key, *_OWN_WORDS, *word_sources(schema)))
        texts |= {f"{corpus}: {name}": example for name, example in texts_among(scan, of_features).items()}
        features = feature_columns(scan, schema, reading.display)
        rows = scan.select(**_own_columns(key, have), **features).collect()
    except pl.exceptions.PolarsError as error:
        found = str(error).partition("\n")[0][:300]
        raise TrainingError(f"labelled table of {corpus}", found=found, expected="a table that can be read") from error
    _check_mos(corpus, rows.filter(pl.col("labelled")), reading.target)
    if _LADDER & have:
        _check_contents(corpus, rows.filter(pl.col("labelled") & pl.col("split").is_null()))
    return rows.with_columns(corpus=pl.lit(corpus))


def _check_types(corpus: str, scan: pl.LazyFrame, numbers: Collection[str], words: Collection[str]) -> None:
    """Refuses columns of a type without numbers or words, and text for a MOS."""
    texts = {n: repr(text) for n, text in texts_among(scan, ("mos",)).items()}
    wrong = {**no_numbers_among(scan, numbers), **texts}
    for wanted, columns in (("numbers", wrong), ("words", nested_among(scan, words))):
        if columns:
            raise TrainingError(
                f"labelled table of {corpus}: columns that hold no {wanted}",
                found=", ".join(f"{name}: {what}" for name, what in columns.items()),
                expected=f"one {wanted.removesuffix('s')} a row, and null where there is none",
                next_step="correct the table; mos_features makes one",
            )


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


def _check_mos(corpus: str, labelled: pl.DataFrame, target: Target) -> None:
    scale = MosScale(target.name, target.low, target.low + target.span)
    wrong = [(key, mos) for key, mos in labelled.select("key", "mos").iter_rows() if not scale.holds(mos)]
    if wrong:
        told = ", ".join(f"{key} ({mos:g})" for key, mos in wrong[:5])
        raise TrainingError(
            f"{corpus}: {len(wrong)} of {len(labelled)} {scale.name.upper()} off the training scale",
            found=told,
            expected=f"{scale.low:g} to {scale.high:g}",
            next_step="make the table with mos_features, which converts scores"
            if target == MOS_TARGET
            else "make the encode grid again",
        )


def _check_contents(corpus: str, rows: pl.DataFrame) -> None:
    """A ladder's rungs must be known as one content: folded by clip they would stand on both sides of a split."""
    unknown = rows["content_id"].null_count()
    if unknown:
        raise TrainingError(
            f"{corpus}: a bitrate ladder whose contents are not known",
            found=f"{unknown} of {len(rows)} rows without content_id",
            expected="a content_id (or chug_content_name) in every row, or a split column",
            next_step="label the features with the corpus JSONL, which has it",
        )


def _check_still(table: TrainingTable, allowed: Collection[str]) -> None:
    """Refuses measured features that are constant in what is left to train on."""
    still = [name for name in table.constant if name in table.schema.measured and name not in allowed]
    if still and len(table.mos) > 1:
        raise TrainingError(
            "features that cannot be trained on",
            found=f"{', '.join(still)}: constant in the {len(table.mos)} rows that have all features",
            expected=f"varying values of all measured columns of {table.schema.name}",
            next_step="extract the features of the other rows, or name them in allow_missing_features",
        )


def _check_labels_vary(table: TrainingTable) -> None:
    if len(table.mos) > 1 and np.ptp(table.mos) == 0:
        raise TrainingError(
            f"all {len(table.mos)} labels are equal",
            found=f"{table.mos[0]:g}",
            expected="scores that differ",
            next_step="check the score column that labelled the table",
        )


def _check_no_label_among_features(table: TrainingTable) -> None:
    """Refuses a feature that is the label on another scale, rounded maybe: no measurement agrees so well."""
    if len(table.mos) < _ENOUGH_TO_TELL:
        return
    with np.errstate(invalid="ignore", divide="ignore"):
        x, y = (a - a.mean(0) for a in (table.features.astype(np.float64), table.mos.astype(np.float64)))
        likeness = np.abs(y @ x) / np.sqrt((x * x).sum(0) * (y * y).sum())
    limit = _THE_SAME if table.target == MOS_TARGET else _THE_SAME_SCORE
    found = [name for name, like in zip(table.schema.columns, likeness, strict=True) if like > limit]
    if found:
        raise TrainingError(
            "features that are the label",
            found=f"{', '.join(found)}: a straight line of {table.target.name}",
            expected="features measured without the scores",
            next_step="leave those columns out",
        )


def _with_encoders(table: TrainingTable, frames: Mapping[str, pl.DataFrame]) -> TrainingTable:
    """The same with a one-hot over the encoders of its rows, by name."""
    words = np.asarray(pl.concat([frame["encoder"] for frame in frames.values()]).to_list(), dtype=object)
    vocab = tuple(sorted(set(words)))
    onehot = (words[:, None] == np.asarray(vocab, dtype=object)[None, :]).astype(np.float32)
    return replace(table, onehot=onehot, encoder_vocab=vocab)


def _check_measured(
    frames: Mapping[str, pl.DataFrame], schema: FeatureSchema, allowed: Collection[str], texts: Mapping[str, str]
) -> None:
    """Refuses text, what is known in no row of a corpus, and measured features of one value in all rows of a corpus."""
    wrong = []
    for corpus, frame in frames.items():
        for name in schema.columns if len(frame) else ():
            values = frame[f"feature:{name}"].drop_nulls()
            if text := [(s, texts[at]) for s in number_sources(name) if (at := f"{corpus}: {s}") in texts]:
                source, example = text[0]
                wrong.append(f"{corpus}: {name} (text{'' if source == name else f' in {source}'}: {example!r})")
            elif name in allowed:
                continue
            elif not len(values):
                wrong.append(f"{corpus}: {name} (absent or all missing)")
            elif name in schema.measured and len(values) > 1 and values.min() == values.max():
                wrong.append(f"{corpus}: {name} (constant {values[0]:g})")
    if wrong:
        raise TrainingError(
            "features that cannot be trained on",
            found="; ".join(wrong),
            expected=f"varying values of all {len(schema.columns)} columns of {schema.name}",
            next_step="extract them, or name them in allow_missing_features",
        )


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


def constant_columns(features: F32, columns: Sequence[str]) -> tuple[str, ...]:
    """The columns (F,) of features (N, F) that hold one value only."""
    still = np.ptp(features, axis=0) == 0 if len(features) else np.zeros(len(columns), dtype=bool)
    return tuple(name for name, same in zip(columns, still, strict=True) if same)
