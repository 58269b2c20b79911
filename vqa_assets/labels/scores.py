"""The scores of one label file: their column, the scale they are on, single raters' votes, and what else a label says.

Labels of several files become one body of labels in ``joining``; which part of a key is compared is in ``keys``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import reduce
from pathlib import Path

import numpy as np
import polars as pl

from vqa_assets.corpora import Corpus
from vqa_assets.corpora.contents import KEY_COLUMNS, check_split_words
from vqa_assets.corpora.corpus import GENERAL_SPELLINGS, FurtherScore, says_dmos
from vqa_assets.corpora.scales import (
    ACR_1_5,
    CONTINUOUS_0_100,
    OPINION_SCALES,
    POLARITIES,
    RAW_MOS,
    SLACK,
    TRAINING,
    UNIFIED,
    MosScale,
    detect_scale,
)
from vqa_assets.errors import LabelError, Make, ScaleError, TrainingError
from vqa_assets.labels.keys import KeyRule, absent_column, key_column, normalized
from vqa_assets.labels.settings import LabelSettings, VoteModel
from vqa_assets.labels.votes import VoteCounts, Votes, scores_of
from vqa_assets.printing import logger
from vqa_assets.tables.foreign_tables import (
    ROW,
    ColumnSelection,
    ForeignTable,
    SelectedColumns,
    check_present,
)

MOS_CANDIDATES = ("mos", "mean_mos", RAW_MOS, "raw_mos", "score", "quality")
"""Columns that may hold a clip's score, the first ones first."""
VOTE_CANDIDATES = ("vote", "rating", "opinion", *MOS_CANDIDATES)
"""Columns that may hold one rater's vote."""
IDENTITY_COLUMNS = ("corpus", "corpus_version", "content_id", "split", "score_drop")
"""What a clip is: columns that features and labels may both have, and must then agree on."""
CARRIED_COLUMNS = ("src_sha256", *IDENTITY_COLUMNS)
KEY, SOURCE, CI95 = "_key", "mos_label_source", "mos_ci95"
SAME_MOS = 1e-6
"""Scores are equal within this share of their scale's range."""
_VOTE, _RATER = "_vote", "_rater"
_ALWAYS_0_100 = (RAW_MOS, "raw_mos")
# our own tables' names first, then those that score files have at ingest
_SD_UNIFIED = "mos_std_dev_unified"
_SDS = tuple(dict.fromkeys(("mos_std_dev", *GENERAL_SPELLINGS.sd)))
_COUNTS = tuple(dict.fromkeys(("n_ratings", "mos_n_ratings", *GENERAL_SPELLINGS.count)))
_LARGEST_COUNT = 2**53
"""Beyond it a number in a table is no count, and no whole number that one could hold."""
_LEAST_FOR_0_100 = 5.0 + SLACK
_EXAMPLES = 5
_NEXT = "set mos_scale if the column is right, else label_mos_column"
_RATERS_IN_LOG = 20
_log = logger("vqa_assets.labels")


@dataclass(frozen=True)
class ScaleRule:
    """What decides a scale beside the file itself: the setting, and the declared corpora."""

    setting: str | None
    corpora: Mapping[str, Corpus]

    def names(self, corpus: Corpus | None) -> tuple[str, ...]:
        """What a scale may be called: the known names, and the own ones of the corpus, or of all without one."""
        own = [scale.name for one in ([corpus] if corpus else self.corpora.values()) for scale in one.scales]
        return tuple(dict.fromkeys((*OPINION_SCALES, *own)))

    def scale_named(self, name: str, corpus: Corpus | None) -> MosScale | None:
        """The scale that a name means of a corpus, or without one; None where no or several declarations know it."""
        if corpus is not None:
            return corpus.scale_named(name)
        known = OPINION_SCALES.get(name)
        named = {known} if known else {one.scale_named(name) for one in self.corpora.values()} - {None}
        return named.pop() if len(named) == 1 else None


@dataclass(frozen=True)
class DecidedScale:
    """The scale of one corpus's rows (None: rows that name no corpus), and what decided it."""

    corpus: str | None
    scale: MosScale
    by: str

    def described(self) -> dict[str, str | None]:
        """The same for an audit; the polarity where less is better."""
        polarity = {} if self.scale.polarity == "mos" else {"polarity": self.scale.polarity}
        return {"corpus": self.corpus, "scale": self.scale.name, **polarity, "from": self.by}

    @property
    def rows(self) -> pl.Expr:
        """True for the rows it is decided for."""
        return pl.col("corpus").eq_missing(pl.lit(self.corpus, pl.String))


@dataclass(frozen=True)
class LabelFile:
    """One file's labels: ``frame`` has a row per usable row of the file, with ``_key``, the scores, and what it has of
    SD, count, interval, further scores and identity. ``further`` says of each further score, by its column, how many
    had to be left out: they are no numbers, or outside their scale. ``votes`` counts raters and votes, where the file
    has those.
    """

    table: ForeignTable
    key: KeyRule
    mos_column: str
    scales: tuple[DecidedScale, ...]
    frame: pl.DataFrame
    further: Mapping[str, int]
    votes: VoteCounts | None = None

    @property
    def path(self) -> Path:
        """The file's path."""
        return self.table.path


def read_label_file(
    table: ForeignTable, settings: LabelSettings, rule: ScaleRule, *, conventional: bool = False
) -> LabelFile:
    """The labels of one file; of a ``conventional`` one, a corpus JSONL, no column is inferred.

    LabelError names what of the file cannot be used, and where.
    """
    path = table.path
    check_present(path, "labels", Make("corpus_jsonl", " for this corpus, or set labels"))
    file = _restricted(table.columns(_selection(settings, rule)), settings)
    key = KeyRule("src", "raw", None, "label_key_regex")
    if not conventional:
        column = key_column(file.names, settings.label_key_column, str(path), "label_key_column")
        key = KeyRule(column, settings.key_normalize, settings.label_key_regex, "label_key_regex")
    if settings.vote_columns:
        file = _unpivoted(file, _vote_columns(file.names, settings.vote_columns, str(path)))
        mos, scales = _VOTE, decide_scales(file, _VOTE, rule)
    else:
        mos, scales = _score_column(file, settings, rule, conventional=conventional)
    _check_usable(file, key.column, mos)
    _check_inside(file, mos, scales)
    check_splits(file.frame, path)
    labels, votes = _on_both_scales(file, mos, scales, rule), None
    further = _further_scores(file, _scales_of_mos(file, mos, scales, rule), rule)
    labels = labels.with_columns(file.frame.select(**{name: one.score for name, one in further.items()}).get_columns())
    if settings.vote_columns or settings.rater_column:
        if settings.rater_column is not None:
            labels = _each_rater_once(labels, key.column, settings.rater_column, file)
        labels, votes = _scores_of_votes(labels, key.column, settings.rater_column or _RATER, settings.vote_model, file)
    labels = labels.with_columns(normalized(labels[key.column], key).alias(KEY))
    return LabelFile(table, key, mos, scales, labels, {name: one.refused for name, one in further.items()}, votes)


def check_splits(rows: pl.DataFrame, path: Path) -> None:
    """LabelError where rows of a table have a split that is none."""
    if "split" not in rows.columns:
        return
    try:
        check_split_words(rows["split"].drop_nulls().unique().to_list())
    except TrainingError as error:
        raise LabelError(
            f"{path}: {error.what}", found=error.found, expected=error.expected, next_step=error.step
        ) from error


def decide_scales(file: SelectedColumns, column: str, rule: ScaleRule) -> tuple[DecidedScale, ...]:
    """The scale of a column of scores, corpus by corpus, once per file and never per row.

    The first of these that says it: the column's name (0–100), the setting, the rows' ``mos_scale``, the corpus's
    declaration, detection over all its scores. LabelError where they contradict each other or nothing fits.
    """
    frame = file.frame
    if "corpus" not in frame.columns:
        return (_scale_of_group(file, frame, column, None, rule),)
    groups = frame["corpus"].unique(maintain_order=True).to_list()
    return tuple(
        _scale_of_group(file, frame.filter(pl.col("corpus").eq_missing(pl.lit(name, pl.String))), column, name, rule)
        for name in groups
    )


def _selection(settings: LabelSettings, rule: ScaleRule) -> ColumnSelection:
    """The columns that may matter: keys, scores, and what is carried."""
    scores = VOTE_CANDIDATES if settings.rater_column else MOS_CANDIDATES
    chosen = tuple(filter(None, (settings.label_key_column, settings.rater_column)))
    further = [one for corpus in rule.corpora.values() for one in corpus.scores]
    fields = (one.field for one in further)
    numbers = (_SD_UNIFIED, *_SDS, *_COUNTS, *filter(None, (settings.label_mos_column,)), *fields)
    sides = (name for one in further for name in (one.scale_field, one.polarity_field))
    texts = (*CARRIED_COLUMNS, "mos_scale", "mos_polarity", *sides)

    def kind(name: str) -> type | None:
        if name in chosen:
            return str
        is_vote = any(fnmatchcase(name, pattern) for pattern in settings.vote_columns)
        if name in numbers or name.lower() in (*scores, *_SDS, *_COUNTS) or is_vote:
            return float
        return str if name in texts or name.lower() in KEY_COLUMNS else None

    names = (*chosen, *numbers, *texts, *scores, *KEY_COLUMNS)
    return ColumnSelection(kind, names, in_any_row=bool(settings.vote_columns))


def _restricted(file: SelectedColumns, settings: LabelSettings) -> SelectedColumns:
    """Only the rows of the corpus that the settings name."""
    corpus, rows = settings.corpus, file.frame
    if corpus is not None:
        if "corpus" not in rows.columns:
            raise LabelError(
                f"{file.path}",
                found="no column corpus",
                expected=f"one that tells the rows of {corpus!r}",
                next_step="leave corpus empty where the file is of one corpus",
            )
        rows = rows.filter(pl.col("corpus") == corpus)
    if rows.height:
        return replace(file, frame=rows)
    there = ", ".join(sorted(map(str, file.frame["corpus"].unique()))) if corpus and file.frame.height else ""
    raise LabelError(
        f"labels {file.path}",
        found=f"no row of {corpus!r} (corpora: {there})" if there else "no rows",
        expected="at least one label",
        next_step="set corpus to one of those" if there else "re-ingest, or name another file",
    )


def _score_column(
    file: SelectedColumns, settings: LabelSettings, rule: ScaleRule, *, conventional: bool
) -> tuple[str, tuple[DecidedScale, ...]]:
    """The column of scores and its scales: the chosen one, else the first candidate that holds any.

    LabelError where there is none, or where candidates differ on one scale.
    """
    chosen = "mos" if conventional else settings.label_mos_column
    if chosen is not None:
        if chosen not in file.names:
            raise absent_column(file.names, f"the MOS column {chosen!r}", str(file.path), "label_mos_column")
        candidates = [chosen]
    else:
        expected = VOTE_CANDIDATES if settings.rater_column else MOS_CANDIDATES
        candidates = [name for candidate in expected for name in file.names if name.lower() == candidate]
        if not candidates:
            one_of = f"a MOS column, one of {', '.join(expected)}"
            raise absent_column(file.names, one_of, str(file.path), "label_mos_column")
    filled = [name for name in candidates if file.frame[name].count()]
    if not filled:
        _check_usable(file, None, candidates[0])  # raises: every row is unusable, and named
    first, *others = filled
    scales = decide_scales(file, first, rule)
    _check_polarity(file, first, scales, rule)
    for other in others:
        _check_same(file, first, scales, other, rule)
    return first, scales


def _check_polarity(file: SelectedColumns, column: str, scales: Sequence[DecidedScale], rule: ScaleRule) -> None:
    """LabelError where scores that are called DMOS would be taken as if more were better, and no one said so."""
    rows = file.frame
    if not says_dmos(column) or ("mos_polarity" in rows.columns and not rows["mos_polarity"].null_count()):
        return
    for one in scales:
        declared = rule.corpora.get(one.corpus or "")
        if one.scale.polarity == "mos" and not (declared and declared.dmos_is_mos):
            raise LabelError(
                f"{file.path}: column {column}",
                found="DMOS, where less is better" + (f", and {one.corpus}'s polarity is mos" if declared else ""),
                expected="mean opinion scores, or rows that say dmos (or mos) in a column mos_polarity",
                next_step='say it in the table, or declare the corpus with polarity = "dmos"',
            )


def _check_same(
    file: SelectedColumns, first: str, scales: tuple[DecidedScale, ...], other: str, rule: ScaleRule
) -> None:
    """LabelError where another candidate tells other scores than the first."""

    def ambiguous(found: str) -> LabelError:
        return LabelError(
            f"{file.path}: the MOS column is ambiguous: {first} or {other}",
            found=found,
            expected="columns that tell the same score, or one that is chosen",
            next_step=f"set label_mos_column to {first} or {other}",
        )

    try:
        scales_of_other = decide_scales(file, other, rule)
    except LabelError as error:
        raise ambiguous(f"{other} fits no scale: {error.found}") from error
    mine, theirs = (
        _on_scale(pl.col(column), decided, TRAINING) for column, decided in ((first, scales), (other, scales_of_other))
    )
    tolerance = SAME_MOS * (TRAINING.high - TRAINING.low)
    differing = file.frame.filter((mine - theirs).abs() > tolerance).select(ROW, first, pl.col(other).alias("_other"))
    if differing.height:
        row, of_first, of_other = differing.row(0)
        raise ambiguous(f"{differing.height} rows differ ({file.table.place(row)}: {of_first:g} and {of_other:g})")


def _check_usable(file: SelectedColumns, key: str | None, mos: str) -> None:
    """LabelError that names rows without a key, and rows whose score is no number."""
    rows = file.frame
    refused = {row: f"{mos} {value}" for row, value in file.refused(mos).items()}
    faults = {row: refused.get(row, f"no {mos}") for row in rows.filter(pl.col(mos).is_null())[ROW].to_list()}
    if key is not None:
        faults |= dict.fromkeys(rows.filter(pl.col(key).is_null())[ROW].to_list(), f"no {key}")
    if faults:
        raise LabelError(
            f"{file.path}: {len(faults)} of {rows.height} rows cannot be used",
            found="; ".join(f"{file.table.place(row)}: {faults[row]}" for row in sorted(faults)[:_EXAMPLES]),
            expected=f"a key and a number as {mos} in every row",
            next_step="correct or remove these rows, or set label_key_column and label_mos_column",
        )


def _on_both_scales(file: SelectedColumns, mos: str, scales: Sequence[DecidedScale], rule: ScaleRule) -> pl.DataFrame:
    """The rows with scores on both scales, the SD on 1–5, and what else is carried."""
    names = file.frame.columns
    added = {
        "mos": _on_scale(pl.col(mos), scales, TRAINING),
        RAW_MOS: _on_scale(pl.col(mos), scales, UNIFIED),
        SOURCE: pl.lit(file.path.name),
    }
    spread = None
    sd = _first_filled(file, _SDS)
    if _SD_UNIFIED in names:
        spread = pl.col(_SD_UNIFIED) * CONTINUOUS_0_100.map_to(TRAINING)[0]
    elif sd is not None:
        spread = _on_scale(pl.col(sd), _scales_of_mos(file, mos, scales, rule), TRAINING, spread=True)
    if spread is not None:
        # Neither a negative SD nor one without end is any: such a clip's is unknown, as the unified corpus has it too.
        added["mos_std_dev"] = pl.when((spread > 0) & spread.is_finite()).then(spread).otherwise(0.0)
    count = _first_filled(file, _COUNTS)
    if count is not None:
        _refuse_counts_beyond_any(file, count)
        added["mos_n_ratings"] = pl.when(pl.col(count).is_finite()).then(pl.col(count)).fill_null(0).cast(pl.Int64)
    carried = [name for name in CARRIED_COLUMNS if name in names]
    others = [name for name in names if name not in (*added, *CARRIED_COLUMNS, ROW)]
    return file.frame.select(ROW, *others, *(expr.alias(name) for name, expr in added.items()), *carried)


def _refuse_counts_beyond_any(file: SelectedColumns, count: str) -> None:
    """LabelError that names the rows whose number of opinions is larger than any number of people."""
    number = pl.col(count)
    wrong = file.frame.filter(number.is_finite() & (number.abs() > _LARGEST_COUNT)).select(ROW, count)
    if wrong.height:
        raise LabelError(
            f"{file.path}: {count}: {wrong.height} of {file.frame.height} are no counts",
            found="; ".join(f"{file.table.place(row)}: {value:g}" for row, value in wrong.head(_EXAMPLES).iter_rows()),
            expected="how many opinions a score is the mean of",
            next_step="correct the rows, or leave the column out: counts are then unknown",
        )


def _scales_of_mos(
    file: SelectedColumns, column: str, scales: Sequence[DecidedScale], rule: ScaleRule
) -> Sequence[DecidedScale]:
    """What stands beside scores (an SD, further scores) is on the scale of the column mos where the file has one."""
    has_mos = column != "mos" and "mos" in file.frame.columns and file.frame["mos"].count() > 0
    return decide_scales(file, "mos", rule) if has_mos else scales


@dataclass(frozen=True)
class _Further:
    """One further score of a file on 1–5, null where it is unknown, and how many of its values were refused."""

    score: pl.Expr
    refused: int


def _further_scores(file: SelectedColumns, scales: Sequence[DecidedScale], rule: ScaleRule) -> dict[str, _Further]:
    """The further scores that the corpora of a file declare, of those that it has a column of, by that.

    Each is on the scale that its row names for it, else on that of ``mos``. One that is no number, or outside its
    scale, becomes unknown and is counted and told: it costs no label.
    """
    found: dict[str, _Further] = {}
    rows = file.frame
    named = [rule.corpora[one.corpus] for one in scales if one.corpus and one.corpus in rule.corpora]
    # rows that name no corpus may be of any
    corpora = named if all(one.corpus for one in scales) else list(rule.corpora.values())
    for one in dict.fromkeys(score for corpus in corpora for score in corpus.scores):
        if one.field not in rows.columns or one.field in found:
            continue
        score = pl.lit(None, pl.Float64)
        for decided in scales:
            corpus = rule.corpora.get(decided.corpus or "")
            if corpus is not None and all(other.field != one.field for other in corpus.scores):
                continue  # a column of this name means something else there
            for name, polarity, said in _scales_said(rows, one):
                scale = decided.scale if name is None else rule.scale_named(name, corpus)
                if scale is None or polarity not in (None, *POLARITIES):
                    continue
                scale = scale.directed("dmos" if (polarity or decided.scale.polarity) == "dmos" else "mos")
                here = said & decided.rows if "corpus" in rows.columns else said
                slope, intercept = scale.map_to(TRAINING)
                inside = pl.col(one.field).is_between(scale.low - scale.slack, scale.high + scale.slack)
                score = pl.when(here & inside).then(pl.col(one.field) * slope + intercept).otherwise(score)
        wanted = pl.col(one.field).is_not_null() & pl.col(one.field).is_not_nan()
        counts = rows.select(wanted=wanted.sum(), known=score.is_not_null().sum()).row(0, named=True)
        refused = counts["wanted"] - counts["known"] + len(file.refused(one.field))
        if refused:
            _log.warning(
                "%s: %d of %d %s are no numbers or outside their scale; they are unknown, their labels stay",
                *(file.path, refused, rows.height, one.field),
            )
        found[one.field] = _Further(score, refused)
    return found


def _scales_said(rows: pl.DataFrame, one: FurtherScore) -> Iterator[tuple[str | None, str | None, pl.Expr]]:
    """What rows say of a further score's scale and polarity, and which rows say it."""
    fields = [name for name in (one.scale_field, one.polarity_field) if name in rows.columns]
    for said in rows.select(fields).unique().iter_rows(named=True) if fields else [{}]:
        where = [pl.col(name).eq_missing(pl.lit(word, pl.String)) for name, word in said.items()]
        yield said.get(one.scale_field), said.get(one.polarity_field), pl.all_horizontal(pl.lit(value=True), *where)


def _first_filled(file: SelectedColumns, spellings: Sequence[str]) -> str | None:
    """The first column of these names, in whatever case, that holds a number; else the first there is."""
    there = [name for spelling in spellings for name in file.frame.columns if name.lower() == spelling]
    return next((name for name in there if file.frame[name].drop_nans().count()), there[0] if there else None)


def _on_scale(value: pl.Expr, decided: Sequence[DecidedScale], other: MosScale, *, spread: bool = False) -> pl.Expr:
    """A score (or with ``spread`` its SD, which knows no intercept) on another scale."""

    def converted(scale: MosScale) -> pl.Expr:
        slope, intercept = scale.map_to(other)
        if scale == other:
            return value
        return value * scale.convert_spread(1.0, other) if spread else value * slope + intercept

    if len(decided) == 1:
        return converted(decided[0].scale)
    # a file of several corpora: each row by the scale of its own
    score = pl.lit(None, pl.Float64)
    for one in decided:
        score = pl.when(one.rows).then(converted(one.scale)).otherwise(score)
    return score


def _check_inside(file: SelectedColumns, column: str, decided: Sequence[DecidedScale]) -> None:
    """LabelError that names the rows whose score is not finite, or outside its scale by more than the slack."""
    outside = []
    for one in decided:
        rows = file.frame if len(decided) == 1 else file.frame.filter(one.rows)
        score = pl.col(column)
        inside = score.is_finite() & score.is_between(one.scale.low - one.scale.slack, one.scale.high + one.scale.slack)
        outside += [(row, value, one.scale.name) for row, value in rows.filter(~inside).select(ROW, column).iter_rows()]
    if outside:
        examples = "; ".join(
            f"{file.table.place(row)}: {value:g} on {scale}" for row, value, scale in sorted(outside)[:_EXAMPLES]
        )
        raise LabelError(
            f"{file.path}: {column}: scores outside their scale",
            found=f"{len(outside)} of {file.frame.height} ({examples})",
            expected=f"none more than {SLACK} outside",
            next_step="correct the rows, or set mos_scale if the scale is wrong",
        )


def _scale_of_group(
    file: SelectedColumns, rows: pl.DataFrame, column: str, corpus: str | None, rule: ScaleRule
) -> DecidedScale:
    what = f"{file.path}: {column}" + (f" of {corpus}" if corpus else "")
    if column.lower() in _ALWAYS_0_100:
        return DecidedScale(corpus, CONTINUOUS_0_100, "column name")
    declaration = rule.corpora.get(corpus or "")
    # what rows say of their scale and its direction, they say of the column mos
    of_rows = column.lower() == "mos"
    by, name = "setting", rule.setting
    if not name and of_rows:
        by, name = "rows", _word_of_rows(rows, "mos_scale", rule.names(declaration), what)
    if name:
        found = rule.scale_named(name, declaration)
        if found is None:
            raise LabelError(
                f"{what}: mos_scale {name!r}",
                found=f"no scale of {corpus or 'any corpus'}, or one that corpora declare differently",
                expected=f"one of {', '.join(rule.names(declaration))}",
                next_step="correct the name, or declare the scale",
            )
        scale = found
    elif declaration is None:
        by, scale = "detection", _detected_scale(rows, column, (ACR_1_5, CONTINUOUS_0_100), what)
    else:
        # of several scales (published and stored differently) the scores tell which
        candidates = tuple(dict.fromkeys(filter(None, (declaration.stored_scale, *declaration.scales))))
        by, scale = "corpus", _detected_scale(rows, column, candidates, what)
    if of_rows or says_dmos(column):
        said = _word_of_rows(rows, "mos_polarity", POLARITIES, what, otherwise=scale.polarity)
        scale = scale.directed("dmos" if said == "dmos" else "mos")
    return DecidedScale(corpus, scale, by)


def _word_of_rows(
    rows: pl.DataFrame, column: str, words: Sequence[str], what: str, otherwise: str | None = None
) -> str | None:
    """The one word that all rows say in a column, rows that say nothing ``otherwise``; LabelError where they differ."""
    if column not in rows.columns:
        return otherwise
    said = rows[column] if otherwise is None else rows[column].fill_null(otherwise)
    found = said.drop_nulls().unique(maintain_order=True).to_list()
    if len(found) > 1 or any(word not in words for word in found):
        first = {word: rows.filter(said == word)[ROW][0] for word in found}
        raise LabelError(
            f"{what}: {column}",
            found=", ".join(f"{word!r} (row {row})" for word, row in first.items()),
            expected=f"one {'scale of opinions' if column == 'mos_scale' else 'polarity'} in all rows: "
            f"{' or '.join(words)}",
            next_step="split the file, name the corpus in a column corpus, or correct the column",
        )
    return found[0] if found else None


def _detected_scale(rows: pl.DataFrame, column: str, candidates: Sequence[MosScale], what: str) -> MosScale:
    """``detect_scale``, and 0–100 only where a score lies above 5.05: a few low scores do not tell the scales apart."""
    scores = rows[column].drop_nulls().drop_nans().to_list()
    try:
        scale = detect_scale(scores, candidates, what)
    except ScaleError as error:
        raise LabelError(error.what, found=error.found, expected=error.expected, next_step=_NEXT) from error
    if len(candidates) > 1 and scale.is_wide and max(scores) <= _LEAST_FOR_0_100:
        raise LabelError(
            f"{what}: the scale is not clear",
            found=f"{len(scores)} scores from {min(scores):g} to {max(scores):g}",
            expected=f"scores on 1–5, or one above {_LEAST_FOR_0_100:g} for 0–100",
            next_step=_NEXT,
        )
    return scale


def _vote_columns(names: Sequence[str], patterns: Sequence[str], what: str) -> tuple[str, ...]:
    """The columns that the shell patterns name, in the table's order; LabelError where a pattern names none."""
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise absent_column(names, f"a column of votes {pattern!r}", what, "vote_columns")
    return tuple(name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns))


def _unpivoted(file: SelectedColumns, raters: Sequence[str]) -> SelectedColumns:
    """The wide form, one column per rater, as rows of one vote each; an empty cell is no vote.

    LabelError names cells that hold no number.
    """
    cells = [(file.table.place(row), name, value) for name in raters for row, value in file.refused(name).items()]
    if cells:
        raise LabelError(
            f"{file.path}: {len(cells)} votes are no numbers",
            found="; ".join(f"{place}: {name} {value}" for place, name, value in cells[:_EXAMPLES]),
            expected="numbers, or empty where a rater did not vote",
            next_step="correct these cells, or leave the column out of vote_columns",
        )
    others = [name for name in file.frame.columns if name not in raters]
    rows = file.frame.unpivot(on=list(raters), index=others, variable_name=_RATER, value_name=_VOTE)
    voted = rows.filter(pl.col(_VOTE).is_not_null() & pl.col(_VOTE).is_not_nan()).sort(ROW, maintain_order=True)
    if not voted.height:
        raise LabelError(
            f"{file.path}: no votes",
            found=f"{len(raters)} empty columns: {', '.join(raters[:_EXAMPLES])}",
            expected="votes in vote_columns",
            next_step="set vote_columns",
        )
    return replace(file, frame=voted)


def _scores_of_votes(
    votes: pl.DataFrame, key: str, rater: str, model: VoteModel, file: SelectedColumns
) -> tuple[pl.DataFrame, VoteCounts]:
    """One row per key: its score on both scales, SD and number of its votes, half the width of its interval; counts.

    ``votes`` have ``mos`` per vote. The first vote's row gives the place and what else is carried. A key of which no
    vote counts has no row. LabelError where that is all of them.
    """
    computed = ("mos", RAW_MOS, "mos_std_dev", "mos_n_ratings")
    carried = [name for name in votes.columns if name not in (key, *computed)]
    by_corpus = votes.partition_by("corpus", maintain_order=True) if "corpus" in votes.columns else [votes]
    # raters of several corpora are those of several experiments, whatever they are called
    scored = [_scores_of_one_experiment(part, key, rater, model) for part in by_corpus]
    counts = reduce(VoteCounts.plus, (of_part for _, of_part in scored))
    # A key that stands under two corpora is two rows here, and told where labels are made one per key.
    first = [pl.col(name).first() for name in carried]
    carried_on = [part.group_by(key, maintain_order=True).agg(*first) for part in by_corpus]
    scores = pl.concat(
        rows.join(scores, on=key, how="left", maintain_order="left")
        for rows, (scores, _) in zip(carried_on, scored, strict=True)
    ).filter(pl.col("mos").is_not_null())
    if not scores.height:
        raise LabelError(
            f"{file.path}: no vote is left by vote_model {model}",
            found=f"{counts.raters_left_out} of {counts.raters} raters left out, with {counts.votes_left_out} votes",
            expected="raters who agree in part, and three votes of each" if model == "bias" else "raters who agree",
            next_step="set vote_model to mos, or look at the votes",
        )
    return scores, counts


def _scores_of_one_experiment(
    votes: pl.DataFrame, key: str, rater: str, model: VoteModel
) -> tuple[pl.DataFrame, VoteCounts]:
    order = votes[key].unique().sort()
    clip, person = (votes[name].rank("dense").to_numpy().astype(np.int64) - 1 for name in (key, rater))
    raters = int(person.max()) + 1
    given = Votes(votes["mos"].to_numpy(), person, clip)
    found = scores_of(given, len(order), raters, model, (TRAINING.low, TRAINING.high))
    left_out = np.isin(person, found.raters_left_out)
    if len(found.raters_left_out):
        names = votes.filter(pl.Series(left_out))[rater].unique().sort().to_list()
        shown = ", ".join(names[:_RATERS_IN_LOG]) + (", …" if len(names) > _RATERS_IN_LOG else "")
        _log.warning("vote_model %s leaves out %d of %d raters: %s", model, len(names), raters, shown)
    counts = VoteCounts(
        model,
        raters=raters,
        raters_left_out=len(found.raters_left_out),
        votes=len(clip),
        votes_left_out=int(left_out.sum()),
        clips_without_score=int(np.isnan(found.score).sum()),
        scores_at_an_end=found.at_an_end,
    )
    slope, intercept = TRAINING.map_to(UNIFIED)
    scores = pl.DataFrame(
        {
            key: order,
            "mos_std_dev": found.sd,
            "mos": found.score,
            RAW_MOS: found.score * slope + intercept,
            "mos_n_ratings": found.count.astype(np.int64),
            CI95: found.ci95,
        }
    ).with_columns(pl.col("mos_std_dev", "mos", RAW_MOS, CI95).fill_nan(None))
    return scores, counts


def _each_rater_once(votes: pl.DataFrame, key: str, rater: str, file: SelectedColumns) -> pl.DataFrame:
    """A repeated vote counts once; LabelError where a rater gave a clip two different votes, or has no name."""
    if rater not in votes.columns:
        raise absent_column(file.names, f"the rater column {rater!r}", str(file.path), "rater_column")
    nameless = votes.filter(pl.col(rater).is_null())
    if nameless.height:
        raise LabelError(
            f"{file.path}: {nameless.height} votes of nobody",
            found=f"no {rater} in {file.table.place(nameless[ROW][0])}",
            expected="a rater in every row",
            next_step="correct these rows",
        )
    # Names that two corpora share are two clips, and two raters.
    vote = [key, rater, *(["corpus"] if "corpus" in votes.columns else [])]
    differing = votes.group_by(vote, maintain_order=True).agg(pl.col("mos").unique(), pl.col(ROW).min())
    twice = differing.filter(pl.col("mos").list.len() > 1)
    if twice.height:
        clip, name, row = twice.select(key, rater, ROW).row(0)
        raise LabelError(
            f"{file.path}: {twice.height} raters gave one clip two votes",
            found=f"{name!r} on {clip!r}, first in {file.table.place(row)}",
            expected="one vote a rater and clip",
            next_step="leave out sessions that were repeated",
        )
    return votes.unique(vote, keep="first", maintain_order=True)
