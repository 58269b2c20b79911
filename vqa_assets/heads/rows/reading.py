"""The rows that a head is trained on: labelled tables, or the encode grid, read into one table in memory.

Rows that have a label and all features, each clip from one corpus only. Every row left out is counted; what a head
must not be trained on is refused by name. Which tables a run reads is in ``choosing``; how a feature is read off a
table in ``columns``; how rows are split in ``splitting``; rows made up for a smoke run are in ``synthetic``.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vqa_assets.corpora import ENCODE_GRID_SOURCES
from vqa_assets.corpora.contents import KEY_COLUMNS, content_groups, is_clip, joined_groups
from vqa_assets.corpora.corpus import is_further_score
from vqa_assets.corpora.external import NETFLIX
from vqa_assets.corpora.scales import CONTINUOUS_0_100, RAW_MOS, SLACK, TRAINING, MosScale
from vqa_assets.encode_grid.grid_rows import content_of, read_grid
from vqa_assets.errors import Make, NoLabelledRowsError, TrainingError
from vqa_assets.feature_names import CANONICAL_6, FeatureSchema, crf_norm, preset_rank
from vqa_assets.heads.members.large_tables import (
    NUMBERS_AT_ONCE,
    columns_of,
    empty_features,
    let_go,
    row_blocks,
    stacked,
)
from vqa_assets.heads.members.weights import F32, I64, encoder_onehot
from vqa_assets.heads.recipe import ENCODER_VOCAB, MOS_TARGET, VMAF_TARGET, Target
from vqa_assets.heads.rows.columns import (
    columns_in_role,
    columns_of_lists,
    columns_of_text,
    columns_without_numbers,
    feature_columns,
    number_column,
    number_sources,
    word_sources,
)
from vqa_assets.heads.rows.display import DisplayProfile
from vqa_assets.heads.rows.vectors import with_sizes
from vqa_assets.tables.foreign_tables import check_present, key_text, table_at
from vqa_assets.tables.specs import LABELLED, STATUS_COLUMN

TableFiles = Path | Sequence[Path]
"""The labelled table of one corpus: a file of any format, or several that hold its rows together."""
_CONTENT = ("content_id", *columns_in_role("content"))
_LADDER = frozenset(columns_in_role("rung", "bitrate"))
_VMAF_COLUMNS = ("vmaf", "vmaf_mean")
_VMAF_MODE, _NOT_STATED = "feature_reference", "not stated"
COUNT_COLUMNS = ("mos_n_ratings", "n_ratings")
"""The number of opinions that a score is the mean of, as labelled tables and corpus JSONLs call it."""
_OWN_NUMBERS = ("mos", RAW_MOS, "mos_std_dev", *COUNT_COLUMNS, *_VMAF_COLUMNS)
_OWN_WORDS = (*_CONTENT, "src_sha256", "split", "encoder", "corpus_version", _VMAF_MODE, STATUS_COLUMN)
MOST_COLUMNS = 16_384
"""Of more columns a head of some 16 MB keeps so few projections that they tell no clips apart."""
_COLUMNS_TOLD = 3
_SD_FIGURES = 9
_NUMBERS_OF_COLUMNS = 8_000_000
"""Of a table that is read, or looked at, some columns at a time: the numbers that are copied at once."""
_ENOUGH_TO_TELL, _THE_SAME, _THE_SAME_SCORE = 20, 0.999, 1 - 1e-7
"""Correlations with the target that no measurement has: of opinions, also rounded ones, and of a computed score."""
_GRID_COLUMNS: Mapping[str, Any] = {
    **dict.fromkeys(("key", "content_id", "encoder", "grid_encode"), pl.String),
    **dict.fromkeys((*CANONICAL_6, "crf_norm", "preset_rank", "mos"), pl.Float64),
}


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

    def told(self, missing: Mapping[str, int]) -> str:
        """How many rows are used and why the others are not, in a line; ``missing`` {feature: rows that lack it}."""
        most = ", ".join(f"{name} in {rows}" for name, rows in list(missing.items())[:_COLUMNS_TOLD])
        more = f" and {len(missing) - _COLUMNS_TOLD} more columns" if len(missing) > _COLUMNS_TOLD else ""
        reasons = {
            "without a label": self.rows_unlabelled,
            f"without a feature ({most}{more})": self.rows_missing_features,
            "whose clip is taken from another corpus": self.duplicates,
            "of encodes that failed": self.rows_failed,
        }
        left_out = ", ".join(f"{rows} {why}" for why, rows in reasons.items() if rows)
        return f"{self.used} of {self.rows_in} rows" + (f"; left out: {left_out}" if left_out else "")


@dataclass(frozen=True)
class Filled:
    """An allowed column's missing values: how many rows got which value (the mean of the known, 0 without any)."""

    rows: int
    value: float


@dataclass(frozen=True)
class Copies:
    """Rows of clips that stand under several names, none of which a content id joins: the same bytes or features.

    They are one content all the same, so that no split parts them. ``examples`` are two such names.
    """

    rows: int
    examples: tuple[str, str]

    @property
    def reason(self) -> str:
        """Why a head of them is no Production: who has copies has near copies, and nothing joins those."""
        return f"{self.rows} rows are copies ({' and '.join(self.examples)}), and no content_id says what is the same"


@dataclass(frozen=True)
class TrainingTable:
    """N rows for training, in the order of the corpora and of their files.

    ``features`` (N, F) are raw values in the order of ``schema.columns``, all finite; ``mos`` (N,) is the target, on
    1–5 (of a full-reference head it is VMAF on 0–100); ``vmaf`` (N,) on 0–100 is NaN where unknown. ``split`` is a
    row's word, None where its corpus has no split. ``constant`` are the scalars of one value. ``onehot`` (N, V) says
    which of ``encoder_vocab`` made a row. ``unknown`` (N,) are, per filled column, the rows where it was;
    ``versions`` are the releases that each corpus's rows say they are of. ``encodes`` say of an encode grid's rows how
    they were made (encoder, preset, CRF, size), whatever of. ``vmaf_modes`` say of each row what its VMAF was measured
    against (``feature_reference``), None where its table does not. ``copies`` are clips that nothing but their bytes or
    features shows to be the same. ``opinion_sd`` (N,) is the SD of the opinions that a score is the mean of, in its
    unit, ``opinion_count`` (N,) their number; NaN where unknown, None where all are.
    ``missing`` {corpus: {feature: labelled rows that lack it}}.
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
    encodes: tuple[str | None, ...] = ()
    vmaf_modes: tuple[str | None, ...] = ()
    copies: Copies | None = None
    opinion_sd: F32 | None = None
    opinion_count: F32 | None = None
    missing: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def vmaf_mode(self, row: int) -> str:
        """What a row's VMAF was measured against, in a word."""
        return (self.vmaf_modes[row] if self.vmaf_modes else None) or _NOT_STATED


def refilled(table: TrainingTable, rows: I64) -> TrainingTable:
    """The same with the means over ``rows`` of it in place of what was filled: what judges a head fills nothing."""
    if not table.filled:
        return table
    features, filled = empty_features(*table.features.shape), {}
    for block in row_blocks(features):
        features[block] = table.features[block]
        let_go(table.features)
        let_go(features)
    for name, before in table.filled.items():
        column, unknown = table.schema.columns.index(name), table.unknown[name]
        values = columns_of(features, slice(column, column + 1), rows)[:, 0][~unknown[rows]]
        filled[name] = replace(before, value=float(values.mean(dtype=np.float64)) if len(values) else 0.0)
        _fill_in(features, column, unknown, filled[name].value)
    return replace(table, features=features, filled=filled, constant=constant_columns(features, table.schema))


def constant_columns(features: F32, schema: FeatureSchema) -> tuple[str, ...]:
    """The scalars of features (N, F) that hold one value only; of a vector's many numbers some always may."""
    if not len(features):
        return ()
    still = np.ones(len(schema.scalars), dtype=bool)
    for rows in row_blocks(features):
        still &= (features[rows, : len(still)] == features[0, : len(still)]).all(axis=0)
        let_go(features)
    return tuple(name for name, same in zip(schema.scalars, still, strict=True) if same)


def files_of(files: TableFiles) -> tuple[Path, ...]:
    """One file or several, as several."""
    return (files,) if isinstance(files, Path) else tuple(files)


def read_training_table(
    tables: Mapping[str, TableFiles],
    schema: FeatureSchema,
    allow_missing: Collection[str] = (),
    display: DisplayProfile | None = None,
    *,
    target: str = "mos",
    unified: bool = False,
) -> TrainingTable:
    """Reads labelled tables of any format {corpus: files}: ``mos`` is on 1–5, ``mos_raw_0_100`` stands in for it.

    ``target`` is the column to read as ``mos``.

    Features are read as ``columns`` says, rows without display values of their own with those of ``display``. Left out
    and counted, in this order: rows without a label, rows of which a feature is unknown, and rows whose clip
    (``src_sha256``) is taken from another corpus: as in the unified corpus the smallest known SD wins, an unknown one
    loses to any, ties go to the first corpus of ``tables``. (``mos_std_dev`` is in the unit of the score, so all SDs
    are on one scale here.) With ``unified`` each corpus's rows of the one table of unified_features are read, where it
    is decided already which row of equal clips stands.

    TableError where a file cannot be read. TrainingError where a column is absent or all missing in a corpus, or
    measured and constant, unless it is in ``allow_missing``: then missing values are filled (``filled``) and constants
    kept. NoLabelledRowsError without rows.
    """
    scans = {}
    for corpus, files in tables.items():
        parts = [_opened(corpus, path, schema) for path in files_of(files)]
        if unified:
            parts = [part.filter(pl.col("corpus") == corpus) for part in parts]
        rows = parts[0] if len(parts) == 1 else _together(corpus, files_of(files), parts)
        scans[corpus] = _with_target(corpus, rows, target)
    table = _training_table(scans, schema, allow_missing, MOS_TARGET, display, distinct=unified)
    # SD and count are those of the first score's opinions; of a further score's nothing is known.
    return table if target == "mos" else replace(table, opinion_sd=None, opinion_count=None)


def _opened(corpus: str, path: Path, schema: FeatureSchema) -> pl.LazyFrame:
    check_present(path, f"labelled table of {corpus}", Make("mos_features", " of it, or correct the path"))
    table = table_at(path)
    # In a CSV only what they mean tells words from numbers: a key of digits stays as it stands.
    key = next((name for name in KEY_COLUMNS if name in table.names), "")
    try:
        rows = table.rows((key, *_OWN_WORDS, *word_sources(schema)))
        rows.collect_schema()
    except pl.exceptions.PolarsError as error:
        raise table.unreadable(error) from error
    return rows


def _together(corpus: str, paths: Sequence[Path], parts: Sequence[pl.LazyFrame]) -> pl.LazyFrame:
    """The rows of several tables of one corpus, one table after the other; a clip may be in one of them only."""
    first: dict[str, Path] = {}
    renamed = []
    for path, rows in zip(paths, parts, strict=True):
        have = rows.collect_schema()
        key = next((name for name in KEY_COLUMNS if name in have), None)
        if key is None:
            renamed.append(rows)
            continue
        renamed.append(rows.rename({key: "key"}))
        try:
            names = rows.select(key_text(key, have[key])).collect().to_series().drop_nulls().unique()
        except pl.exceptions.PolarsError as error:
            raise _unreadable(corpus, error) from error
        twice = next((name for name in names if first.setdefault(name, path) != path), None)
        if twice is not None:
            raise TrainingError(
                f"labelled tables of {corpus}",
                found=f"{twice} in {first[twice]} and in {path}",
                expected="each clip in one of them",
                next_step="take its rows out of one, or name one table",
            )
    # Of one column's types the one that holds all values is taken; texts beside numbers are refused where read.
    return pl.concat(renamed, how="diagonal_relaxed")


def _with_target(corpus: str, scan: pl.LazyFrame, target: str) -> pl.LazyFrame:
    """A labelled table whose ``mos`` is the further score that a head is to learn; rows without it have no label."""
    if target == "mos":
        return scan
    have = scan.collect_schema().names()
    if target not in have:
        scores = [name for name in have if name == "mos" or is_further_score(name)]
        raise TrainingError(
            f"labelled table of {corpus}",
            found=f"no column {target} (scores: {', '.join(scores) or 'none'})",
            expected="the target of this run in every table",
            next_step=f"declare it (scores) and label the corpus again, or name {corpus} in exclude_corpora",
        )
    # nothing of the other score may stay: it would stand in for this one, or be compared with it
    return scan.drop(name for name in ("mos", RAW_MOS) if name in have).rename({target: "mos"})


def read_grid_table(
    paths: Iterable[Path], schema: FeatureSchema, allow_missing: Collection[str] = (), exclude: Collection[str] = ()
) -> TrainingTable:
    """The encodes of the grid files: ``mos`` is VMAF on 0–100, ``groups`` are sources, ``onehot`` is over the encoders.

    Encodes with an ``exit_status`` other than 0 are left out and counted (``rows_failed``); so are those without a
    VMAF, and those of which a feature is unknown (a preset of no known encoder among them). ``exclude`` names sources
    of the grid. TrainingError as in ``read_training_table``; NoLabelledRowsError without rows; EncodeGridError names
    file and line of what is no row of the grid.
    """
    # A run may train on columns of its own: any number that a grid's rows carry.
    own = tuple(name for name in schema.columns if name not in _GRID_COLUMNS)
    encodes: dict[str, list[dict[str, Any]]] = {}
    failed: dict[str, int] = {}
    for path in paths:
        for _, row in read_grid(path):
            # BVI-DVC's rows say whose they are; all others came through the Netflix adapter.
            prefix = str(row["src"]).partition(":")[0]
            source = prefix if prefix in ENCODE_GRID_SOURCES else NETFLIX.name
            if source in exclude:
                continue
            failed[source] = failed.get(source, 0) + (row["exit_status"] != 0)
            if row["exit_status"] == 0:
                encodes.setdefault(source, []).append(_encode(row, own))
    if not encodes:
        raise NoLabelledRowsError(
            "no encode to train on",
            found=f"{sum(failed.values())} encodes that failed",
            expected="encodes with exit_status 0 and a VMAF",
            next_step=Make("fr_training_corpus"),
        )
    columns = {**_GRID_COLUMNS, **dict.fromkeys(own, pl.Float64)}
    order = dict.fromkeys((*ENCODE_GRID_SOURCES, *sorted(encodes)))
    scans = {source: pl.DataFrame(encodes[source], schema=columns).lazy() for source in order if source in encodes}
    table = _training_table(scans, schema, allow_missing, VMAF_TARGET, encoders=True)
    none = RowCounts(0, 0, 0, 0, 0)
    read = {source: table.counts.get(source, none) for source in failed}
    counts = {s: replace(c, rows_in=c.rows_in + failed[s], rows_failed=failed[s]) for s, c in read.items()}
    return replace(table, counts=counts)


def _encode(row: Mapping[str, Any], own: Collection[str]) -> dict[str, Any]:
    """An encode as a row of a labelled table, with ``own`` columns of numbers beside those every grid row has."""
    numbers = {name: row.get(name) for name in own}
    return {
        **{name: float(n) if isinstance(n, int | float) else None for name, n in numbers.items()},
        # An encode has no name of its own; its content is what its source shows, so that folds never part that.
        "key": f"{row['src']} {row['encoder']} {row['preset']} crf {row['crf']:g}",
        "content_id": content_of(row),
        "grid_encode": f"{row['encoder']} {row['preset']} {row['crf']:g} {row['width']}x{row['height']}",
        "encoder": row["encoder"],
        **{name: float(row[f"{name}_mean"]) for name in CANONICAL_6},
        "crf_norm": crf_norm(float(row["crf"])),
        "preset_rank": preset_rank(row["preset"]),
        "mos": float(row["vmaf_score"]),
    }


def _training_table(
    scans: Mapping[str, pl.LazyFrame],
    schema: FeatureSchema,
    allow_missing: Collection[str],
    target: Target,
    display: DisplayProfile | None = None,
    *,
    encoders: bool = False,
    distinct: bool = False,
) -> TrainingTable:
    """As ``read_training_table``, from tables that are open; ``mos`` holds the target.

    With ``encoders`` the one-hot is over the tables' own encoders, by name. Where clips are ``distinct``, none is in
    two corpora.
    """
    schema = with_sizes(schema, scans)
    if len(schema.columns) > MOST_COLUMNS:
        raise TrainingError(
            f"columns of {schema.name}",
            found=f"{len(schema.columns)} columns",
            expected=f"at most {MOST_COLUMNS}",
            next_step="bring them down first (a projection, pooled values), or name the columns that matter",
        )
    unknown = sorted(set(allow_missing) - set(schema.scalars))
    if unknown:
        # A mean of vectors is no clip's: where one is missing nothing is made up.
        of_vectors = "; clips without a vector are left out and counted" if schema.vectors else ""
        raise TrainingError(
            "allow_missing_features names no feature of the head" + (" that could be filled" if schema.vectors else ""),
            found=", ".join(unknown),
            expected=f"columns of {schema.name}: {', '.join(schema.scalars) or 'none, all are vectors'}",
            next_step=f"correct the setting{of_vectors}",
        )
    texts: dict[str, dict[str, str]] = {}
    rows_in: dict[str, int] = {}
    labelled: dict[str, pl.DataFrame] = {}
    features_of: dict[str, F32] = {}
    told: list[str] = []
    for corpus, scan in scans.items():
        rows, texts[corpus] = _read(corpus, scan, schema, target)
        rows_in[corpus], labelled[corpus] = len(rows), rows.filter(pl.col("labelled"))
        told.append(f"{corpus}: {len(rows)} rows{_why_unlabelled(rows)}")
        features_of[corpus] = _read_features(corpus, scan, schema, display, rows["labelled"])
    if not sum(map(len, labelled.values())):
        found = ", ".join(told)
        raise NoLabelledRowsError(
            "no labelled row",
            found=found or "no table",
            expected="rows with a MOS",
            next_step="label the features first",
        )
    _refuse_ladders_without_contents(labelled)
    _refuse_unmeasured(features_of, schema, allow_missing, texts)
    labelled, filled = _fill(labelled, features_of, schema, allow_missing)
    whole = {corpus: rows.filter(_are_whole(features_of[corpus])) for corpus, rows in labelled.items()}
    if not sum(map(len, whole.values())):
        lacking = {corpus: _missing(of, schema) for corpus, of in features_of.items()}
        found = "; ".join(f"{c}: {', '.join(list(of)[:_COLUMNS_TOLD])}" for c, of in lacking.items() if of)
        raise TrainingError(
            "no labelled row has all features",
            found=f"missing most often: {found}",
            expected=", ".join(schema.feature_order),
            next_step="extract them, or name them in allow_missing_features",
        )
    once = whole if distinct else _each_clip_once(whole)
    counts = {
        corpus: RowCounts(
            rows_in=rows_in[corpus],
            used=len(once[corpus]),
            rows_unlabelled=rows_in[corpus] - len(labelled[corpus]),
            rows_missing_features=len(labelled[corpus]) - len(whole[corpus]),
            duplicates=len(whole[corpus]) - len(once[corpus]),
        )
        for corpus in rows_in
    }
    features = stacked([(features_of[corpus], of["row"].to_numpy()) for corpus, of in once.items()])
    missing = {corpus: _missing(of, schema) for corpus, of in features_of.items()}
    features_of.clear()
    constant = constant_columns(features, schema)
    rows = pl.concat(list(once.values()))
    text = {name: tuple(rows[name].to_list()) for name in ("key", "src_sha256", "split", "content_id")}
    corpora = tuple(corpus for corpus, of in once.items() for _ in range(len(of)))
    # Names alike in two corpora are two clips.
    clips = [f"{corpus}/{key}" for corpus, key in zip(corpora, text["key"], strict=True)]
    named = content_groups(text["content_id"], clips)
    del clips
    groups = joined_groups(named, text["src_sha256"])
    if None in text["content_id"]:
        groups = joined_groups(groups, looks(features, schema, filled))
    vocabulary, onehot = _own_encoders(rows["encoder"]) if encoders else (ENCODER_VOCAB, encoder_onehot(len(rows)))
    table = TrainingTable(
        schema=schema,
        features=features,
        mos=rows["mos"].to_numpy().astype(np.float32),
        vmaf=rows["vmaf"].fill_null(np.nan).to_numpy().astype(np.float32),
        keys=text["key"],
        groups=groups,
        corpora=corpora,
        src_sha256=text["src_sha256"],
        split=text["split"],
        counts=counts,
        filled=filled,
        constant=constant,
        onehot=onehot,
        encoder_vocab=vocabulary,
        target=target,
        unknown={name: rows[f"unknown:{name}"].to_numpy() for name in filled},
        encodes=tuple(rows["grid_encode"].to_list()) if encoders else (),
        vmaf_modes=tuple(rows[_VMAF_MODE].to_list()),
        opinion_sd=_known_numbers(rows["sd"]),
        opinion_count=_known_numbers(rows["opinions"]),
        versions={c: tuple(f["corpus_version"].drop_nulls().unique().sort()) for c, f in once.items()},
        copies=_copies(named, groups, text["key"]),
        missing=missing,
    )
    _refuse_unteachable(table, allow_missing)
    let_go(features)
    return table


def _why_unlabelled(rows: pl.DataFrame) -> str:
    """That rows with a score lack their clip's name, in brackets; empty where none does."""
    nameless = len(rows.filter(pl.col("mos").is_not_null() & pl.col("key").is_null()))
    return f" ({nameless} with a MOS, and without the name of their clip)" if nameless else ""


def _missing(features: F32, schema: FeatureSchema) -> dict[str, int]:
    """Per feature, or vector, that is unknown in some rows, in how many; the most first."""
    each = {name: len(features) - len(known) for name, known in _known_values(features, schema.scalars)}
    firsts = {of.name: schema.block_of(of).start for of in schema.vectors}
    each |= {name: int(np.isnan(columns_of(features, slice(at, at + 1))).sum()) for name, at in firsts.items()}
    return dict(sorted(((name, rows) for name, rows in each.items() if rows), key=lambda one: -one[1]))


def _known_numbers(values: pl.Series) -> F32 | None:
    """Numbers (N,), NaN for null; None where all are null."""
    if values.null_count() == len(values):
        return None
    numbers: F32 = values.fill_null(np.nan).to_numpy().astype(np.float32)
    return numbers


def _read(
    corpus: str, scan: pl.LazyFrame, schema: FeatureSchema, target: Target
) -> tuple[pl.DataFrame, dict[str, str]]:
    """One table's rows under our own names, without features, and an example of each column of numbers that holds text.

    A table without a score or a clip's key is refused, and so are a score off the scale, and two that differ.
    """
    have = frozenset(scan.collect_schema().names())
    key = next((name for name in KEY_COLUMNS if name in have), None)
    if key is None or have.isdisjoint(("mos", RAW_MOS)):
        raise TrainingError(
            f"labelled table of {corpus}",
            found=f"columns {', '.join(sorted(have)[:20])}",
            expected=f"mos or {RAW_MOS}, and one of {', '.join(KEY_COLUMNS)}",
            next_step="label the feature table first",
        )
    of_features = [source for name in schema.scalars for source in number_sources(name)]
    try:
        _refuse_types(
            corpus, scan, numbers=(*_OWN_NUMBERS, *of_features), words=(key, *_OWN_WORDS, *word_sources(schema))
        )
        texts = columns_of_text(scan, of_features)
        rows = scan.select(**_own_columns(key, have)).collect()
    except pl.exceptions.PolarsError as error:
        raise _unreadable(corpus, error) from error
    labelled = rows.filter(pl.col("labelled"))
    _refuse_two_scores(corpus, labelled)
    _refuse_off_scale(corpus, labelled, target)
    return rows.with_columns(corpus=pl.lit(corpus)), texts


def _read_features(
    corpus: str, scan: pl.LazyFrame, schema: FeatureSchema, display: DisplayProfile | None, labelled: pl.Series
) -> F32:
    """The features (n, F) of the rows that are ``labelled`` (N,), NaN where one is not known; some columns at a time.

    A column stands in its file by itself, so that none is read twice, and a table is never in memory twice.
    """
    # Of columns that a table does not have alone no number of rows would be known.
    key = next(name for name in KEY_COLUMNS if name in scan.collect_schema())
    features = empty_features(int(labelled.sum()), len(schema.columns))
    try:
        expressions = feature_columns(scan, schema, display)
        scalars = list(expressions)[: len(schema.scalars)]
        for columns in _column_blocks(len(scalars), len(labelled)):
            own = {name: expressions[name] for name in scalars[columns]}
            read = scan.select(pl.col(key), **own).collect().drop(key)
            _set(features, columns, read.filter(labelled).to_numpy())
        for vector in schema.vectors:
            selected = scan.select(pl.col(key), vector=expressions[f"feature:{vector.name}"])
            # Some rows at a time: a column of vectors is as large as a table.
            row = at = 0
            for batch in selected.collect_batches(chunk_size=max(NUMBERS_AT_ONCE // vector.size, 1)):
                vectors = batch["vector"].filter(labelled[row : row + len(batch)]).to_numpy()
                features[at : at + len(vectors), schema.block_of(vector)] = vectors
                row, at = row + len(batch), at + len(vectors)
                let_go(features)
    except pl.exceptions.PolarsError as error:
        raise _unreadable(corpus, error) from error
    return features


def _set(features: F32, columns: slice, values: NDArray[Any]) -> None:
    """Sets some columns to values (N, c), a few rows at a time."""
    for rows in row_blocks(features):
        features[rows, columns] = values[rows]
        let_go(features)


def _fill_in(features: F32, column: int, missing: NDArray[np.bool_], value: float) -> None:
    """Sets a column to one value where it is ``missing`` (N,), a few rows at a time."""
    for rows in row_blocks(features):
        features[rows, column][missing[rows]] = value
        let_go(features)


def _are_whole(features: F32) -> pl.Series:
    """Of which rows all features are known, (N,)."""
    whole = np.empty(len(features), dtype=bool)
    for rows in row_blocks(features):
        whole[rows] = ~np.isnan(features[rows]).any(axis=1)
        let_go(features)
    return pl.Series(whole)


def _refuse_ladders_without_contents(labelled: Mapping[str, pl.DataFrame]) -> None:
    """TrainingError where rows on a bitrate ladder would be folded by clip.

    The rungs of one content would stand on both sides of a fold. A given split is used only where every corpus has
    one: else all rows but the test rows are folded, those that a split calls train or val among them.
    """
    folds = any(len(rows) and rows["split"].null_count() == len(rows) for rows in labelled.values())
    is_folded = pl.col("split").is_null() | (pl.lit(folds) & (pl.col("split") != "test"))
    for corpus, rows in labelled.items():
        # A table of several corpora has rows that are on no ladder.
        folded = rows.filter(pl.col("on_ladder") & is_folded)
        if unknown := folded["content_id"].null_count():
            own_name, *others = _CONTENT
            raise TrainingError(
                f"{corpus}: a bitrate ladder whose contents are not known",
                found=f"{unknown} of {len(folded)} rows without {own_name}",
                expected=f"a {own_name} (or {' or '.join(others)}) in every row, or a split column in every table",
                next_step=f"label the features with the corpus JSONL, which has it, or name {corpus} in "
                "exclude_corpora",
            )


def _unreadable(corpus: str, error: pl.exceptions.PolarsError) -> TrainingError:
    found = str(error).partition("\n")[0][:300]
    return TrainingError(f"labelled table of {corpus}", found=found, expected="a table that can be read")


def _own_columns(key: str, have: frozenset[str]) -> dict[str, pl.Expr]:
    def text(column: str) -> pl.Expr:
        words = pl.col(column).cast(pl.String) if column in have else pl.lit(None, pl.String)
        return pl.when(words != "").then(words)

    status = pl.col(STATUS_COLUMN).cast(pl.String) == LABELLED if STATUS_COLUMN in have else pl.lit(value=True)
    vmaf = [number_column(name) for name in _VMAF_COLUMNS if name in have]
    slope, intercept = CONTINUOUS_0_100.map_to(TRAINING)
    nothing = pl.lit(None, pl.Float64)
    raw = number_column(RAW_MOS) * slope + intercept if RAW_MOS in have else nothing
    mos = pl.coalesce(number_column("mos"), raw) if "mos" in have else raw
    sd = number_column("mos_std_dev") if "mos_std_dev" in have else nothing
    # A spread is in the unit of the score beside it.
    sd = sd if "mos" in have else sd * slope
    counts = [number_column(name) for name in COUNT_COLUMNS if name in have]
    counts = [pl.when(count > 0).then(count) for count in counts]
    return {
        "key": pl.col(key).cast(pl.String),
        "mos": mos,
        "mos_of_raw": raw,
        "labelled": (mos.is_not_null() & pl.col(key).is_not_null() & status).fill_null(value=False),
        "on_ladder": pl.any_horizontal(pl.lit(value=False), *(pl.col(n).is_not_null() for n in _LADDER & have)),
        "sd": pl.when(sd > 0).then(sd),
        "opinions": pl.coalesce(*counts, nothing),
        "vmaf": pl.coalesce(*vmaf, pl.lit(None, pl.Float64)),
        "content_id": pl.coalesce(*map(text, _CONTENT)),
        "src_sha256": text("src_sha256").str.to_lowercase(),
        **{name: text(name) for name in ("split", "encoder", "corpus_version", "grid_encode", _VMAF_MODE)},
    }


def _fill(
    frames: Mapping[str, pl.DataFrame], features_of: Mapping[str, F32], schema: FeatureSchema, allowed: Collection[str]
) -> tuple[dict[str, pl.DataFrame], dict[str, Filled]]:
    """Fills the allowed columns' missing values in the features; the same rows, where marked as ``unknown:<name>``.

    A row has its place among the features as ``row``.
    """
    filled, result = {}, {corpus: frame.with_row_index("row") for corpus, frame in frames.items()}
    # The mean of all rows stands in for now: once it is known which rows train, ``refilled`` takes theirs alone.
    for name in (n for n in schema.scalars if n in allowed):
        number = schema.columns.index(name)
        own = slice(number, number + 1)
        column = np.concatenate([columns_of(features, own)[:, 0] for features in features_of.values()])
        values = column[~np.isnan(column)]
        if len(values) == len(column):
            continue
        filled[name] = Filled(len(column) - len(values), float(values.mean()) if len(values) else 0.0)
        for corpus, features in features_of.items():
            missing = np.isnan(columns_of(features, own)[:, 0])
            _fill_in(features, number, missing, filled[name].value)
            result[corpus] = result[corpus].with_columns(pl.Series(f"unknown:{name}", missing))
    return result, filled


def _likeness(features: F32, mos: F32) -> NDArray[np.float64]:
    """How straight a line each column (F,) of the rows makes with their scores: |PLCC|, NaN where it is constant."""
    y = mos.astype(np.float64) - mos.mean(dtype=np.float64)
    each = []
    with np.errstate(invalid="ignore", divide="ignore"):
        for columns in _column_blocks(features.shape[1], len(mos)):
            x = columns_of(features, columns).astype(np.float64)
            x -= x.mean(0)
            each.append(np.abs(y @ x) / np.sqrt((x * x).sum(0) * (y @ y)))
    return np.concatenate(each)


def _column_blocks(columns: int, rows: int) -> Iterator[slice]:
    """Columns, some at a time: as many as together hold ``_NUMBERS_OF_COLUMNS`` numbers."""
    at_once = max(1, _NUMBERS_OF_COLUMNS // max(1, rows))
    return (slice(first, min(first + at_once, columns)) for first in range(0, columns, at_once))


def _each_clip_once(frames: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """Of a clip in several corpora only the winner's rows; several rows of one clip in one corpus all stay."""
    if len(frames) == 1:
        return dict(frames)
    clips = [
        frame.filter(pl.col("src_sha256").is_not_null())
        .group_by("src_sha256")
        .agg(pl.col("sd").min())
        .with_columns(corpus=pl.lit(corpus), rank=pl.lit(rank))
        for rank, (corpus, frame) in enumerate(frames.items())
    ]
    # SDs that were converted from two scales may differ in their last digits only: then the first corpus wins.
    order = pl.concat(clips).sort(pl.col("sd").round_sig_figs(_SD_FIGURES), "rank", nulls_last=True)
    winners = order.unique("src_sha256", keep="first", maintain_order=True).select("src_sha256", winner="corpus")
    own = pl.col("winner").is_null() | (pl.col("winner") == pl.col("corpus"))
    return {
        corpus: frame.join(winners, on="src_sha256", how="left", maintain_order="left").filter(own)
        for corpus, frame in frames.items()
    }


def looks(features: F32, schema: FeatureSchema, filled: Collection[str]) -> tuple[str | None, ...]:
    """Per row of features (N, F) a mark that is equal where all features are; None where no other row has its features.

    None too where every column that is measured, and known in every row, holds a whole number: counts agree by chance,
    measurements never do.
    """
    names = enumerate(schema.columns)
    telling = np.array([i for i, name in names if name in schema.measured and name not in filled], dtype=np.int64)
    seeds = np.random.default_rng(0).integers(0, 2**64, features.shape[1], dtype=np.uint64)
    codes = np.empty(len(features), dtype=np.uint64)
    for part in row_blocks(features):
        codes[part] = features[part].view(np.uint32).astype(np.uint64) @ seeds
        let_go(features)
    _, of_row, counts = np.unique(codes, return_inverse=True, return_counts=True)
    marks: list[str | None] = [None] * len(features)
    for row in np.flatnonzero(counts[of_row] > 1):
        own = features[row]
        if np.any(own[telling] % 1):
            marks[row] = hashlib.sha256(own.tobytes()).hexdigest()
    return tuple(marks)


def _copies(named: Sequence[str], groups: Sequence[str], keys: Sequence[str]) -> Copies | None:
    """The rows of clips whose ``groups`` hold several ``named`` ones, a clip without a content id among them."""
    if groups == named:  # of a million rows, too, this is nearly always so
        return None
    names: dict[str, dict[str, str]] = {}
    for own, group, key in zip(named, groups, keys, strict=True):
        names.setdefault(group, {}).setdefault(own, key)
    copied = {g: of for g, of in names.items() if len(of) > 1 and any(map(is_clip, of))}
    if not copied:
        return None
    first, second, *_ = next(iter(copied.values())).values()
    return Copies(sum(group in copied for group in groups), (first, second))


def _own_encoders(encoders: pl.Series) -> tuple[tuple[str, ...], F32]:
    """The encoders by name, V of them, and the one-hot (N, V) of each row's."""
    words = np.asarray(encoders.to_list(), dtype=object)
    vocabulary = tuple(sorted(set(words)))
    return vocabulary, (words[:, None] == np.asarray(vocabulary, dtype=object)[None, :]).astype(np.float32)


def _refuse_types(corpus: str, scan: pl.LazyFrame, *, numbers: Collection[str], words: Collection[str]) -> None:
    """Refuses columns of a type without numbers or words, and text for a score or what stands beside it."""
    texts = {name: repr(text) for name, text in columns_of_text(scan, _OWN_NUMBERS).items()}
    no_numbers = {**columns_without_numbers(scan, numbers), **texts}
    for kind, columns in (("numbers", no_numbers), ("words", columns_of_lists(scan, words))):
        if columns:
            raise TrainingError(
                f"labelled table of {corpus}: columns that hold no {kind}",
                found=", ".join(f"{name}: {what}" for name, what in columns.items()),
                expected=f"one {kind.removesuffix('s')} a row, and null where there is none",
                next_step="correct the table; mos_features makes one",
            )


def _refuse_two_scores(corpus: str, labelled: pl.DataFrame) -> None:
    """Refuses ``mos`` and ``mos_raw_0_100`` that tell different scores, further apart than rounding makes them."""
    apart = labelled.filter((pl.col("mos") - pl.col("mos_of_raw")).abs() > SLACK)
    if len(apart):
        key, mos, of_raw = apart.select("key", "mos", "mos_of_raw").row(0)
        raise TrainingError(
            f"labelled table of {corpus}: mos and {RAW_MOS} tell different scores",
            found=f"{len(apart)} of {len(labelled)} rows, such as {key}: {mos:g} and {of_raw:g} on 1–5",
            expected=f"one score: mos = 1 + {RAW_MOS} / 25",
            next_step="leave out the column that is wrong",
        )


def _refuse_off_scale(corpus: str, labelled: pl.DataFrame, target: Target) -> None:
    scale = MosScale(target.name, target.low, target.low + target.span)
    wrong = [(key, mos) for key, mos in labelled.select("key", "mos").iter_rows() if not scale.holds(mos)]
    if wrong:
        raise TrainingError(
            f"{corpus}: {len(wrong)} of {len(labelled)} {scale.name.upper()} off the training scale",
            found=", ".join(f"{key} ({mos:g})" for key, mos in wrong[:5]),
            expected=f"{scale.low:g} to {scale.high:g}",
            next_step="make the table with mos_features, which converts scores"
            if target == MOS_TARGET
            else "make the encode grid again",
        )


def _refuse_unmeasured(
    features_of: Mapping[str, F32],
    schema: FeatureSchema,
    allowed: Collection[str],
    texts: Mapping[str, Mapping[str, str]],
) -> None:
    """Refuses text, what is known in no row of a corpus, and measured features of one value in all rows of a corpus.

    A vector is one feature: refused where it is the same in all rows, whatever some of its numbers are.
    """
    wrong = []
    for corpus, features in features_of.items():
        for vector in schema.vectors if len(features) else ():
            known, differ = _known_vectors(features, schema.block_of(vector))
            if not known:
                wrong.append(f"{corpus}: {vector.block} (all missing)")
            elif known > 1 and not differ:
                wrong.append(f"{corpus}: {vector.block} (the same vector in all {known} rows)")
        for name, values in _known_values(features, schema.scalars):
            # Words among numbers are no missing values: filled, they would hide a column that went wrong.
            if source := next((column for column in number_sources(name) if column in texts[corpus]), None):
                where = "" if source == name else f" in {source}"
                wrong.append(f"{corpus}: {name} (text{where}: {texts[corpus][source]!r})")
            elif name in allowed:
                continue
            elif not len(values):
                wrong.append(f"{corpus}: {name} (absent or all missing)")
            elif name in schema.must_vary and len(values) > 1 and values.min() == values.max():
                wrong.append(f"{corpus}: {name} (constant {values[0]:g})")
    if wrong:
        raise TrainingError(
            "features that cannot be trained on",
            found="; ".join(wrong),
            expected=f"varying values of all {len(schema.feature_order)} columns of {schema.name}",
            next_step="extract them, or name them in allow_missing_features"
            if schema.scalars
            else "measure them again, or leave the backbone out",
        )


def _known_values(features: F32, columns: Sequence[str]) -> Iterator[tuple[str, F32]]:
    """Per column, its values that are known; no column without rows."""
    for block in _column_blocks(len(columns) if len(features) else 0, len(features)):
        of_columns = np.ascontiguousarray(columns_of(features, block).T)
        yield from ((name, own[~np.isnan(own)]) for name, own in zip(columns[block], of_columns, strict=True))


def _known_vectors(features: F32, block: slice) -> tuple[int, bool]:
    """In how many rows a vector is known, and whether two of these differ; a few rows at a time."""
    first, known, differ = None, 0, False
    for rows in row_blocks(features):
        vectors = features[rows, block]
        vectors = vectors[~np.isnan(vectors[:, 0])]
        if len(vectors):
            first = vectors[0] if first is None else first
            known, differ = known + len(vectors), differ or bool(np.any(vectors != first))
        let_go(features)
    return known, differ


def _refuse_unteachable(table: TrainingTable, allowed: Collection[str]) -> None:
    """Refuses equal labels, measured features of one value in the rows that are left, and the label as a feature."""
    if len(table.mos) > 1 and np.ptp(table.mos) == 0:
        raise TrainingError(
            f"all {len(table.mos)} labels are equal",
            found=f"{table.mos[0]:g}",
            expected="scores that differ",
            next_step="check the score column that labelled the table",
        )
    # A column that varies in its corpus may vary in the rows that fell out only.
    still = [name for name in table.constant if name in table.schema.must_vary and name not in allowed]
    for vector in table.schema.vectors:
        _, differ = _known_vectors(table.features, table.schema.block_of(vector))
        still += [] if differ else [vector.block]
    if still and len(table.mos) > 1:
        raise TrainingError(
            "features that cannot be trained on",
            found=f"{', '.join(still)}: constant in the {len(table.mos)} rows that have all features",
            expected=f"varying values of all measured columns of {table.schema.name}",
            next_step="extract the features of the other rows, or name them in allow_missing_features",
        )
    if len(table.mos) < _ENOUGH_TO_TELL:
        return
    # The label on another scale, rounded maybe, follows a straight line of it: no measurement agrees so well.
    likeness = _likeness(table.features, table.mos)
    limit = _THE_SAME if table.target == MOS_TARGET else _THE_SAME_SCORE
    labels = [name for name, like in zip(table.schema.columns, likeness, strict=True) if like > limit]
    if labels:
        raise TrainingError(
            "features that are the label",
            found=f"{', '.join(labels)}: a straight line of {table.target.name}",
            expected="features measured without the scores",
            next_step="leave those columns out",
        )
