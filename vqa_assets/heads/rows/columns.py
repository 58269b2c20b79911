"""How a head's features are read off a table's columns, whoever reads: training or prediction.

A feature is the column of its name, else of ``<name>_mean``, else what is derived from other columns here. A display's
values are the row's own, else the profile's. What is then missing is the reader's to judge.
"""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from vqa_assets.corpora import CORPORA
from vqa_assets.corpora.corpus import ColumnRole
from vqa_assets.errors import SettingsError, TrainingError
from vqa_assets.feature_names import (
    DISPLAY_COLUMNS,
    NORMALISED,
    FeatureSchema,
    Scaled,
    VectorColumn,
    crf_norm,
    preset_rank,
)
from vqa_assets.heads.members.weights import F32
from vqa_assets.heads.rows.display import FIELDS, DisplayField, DisplayProfile, contrast_log_norm
from vqa_assets.tables.parquet import NO_VALUE

_LARGEST = float(np.finfo(np.float32).max)
_BITRATE = r"^\s*([0-9]+(?:\.[0-9]+)?)\s*([KMG])(?:B|BPS|BIT/S)?\s*$"
_MBPS = {"K": 1e-3, "M": 1.0, "G": 1e3}
# A CSV's numbers come as text, and a column without any value has no type.
_MAY_HOLD_NUMBERS = (pl.String, pl.Boolean, pl.Null)
_NO_NUMBER = ("", "-", *NO_VALUE)
_COVERAGES = ("display_bt2020_coverage", "display_p3_coverage")


def slots(schema: FeatureSchema) -> list[str]:
    """What readers call the features' columns: a feature's name could be any other column's."""
    return [f"feature:{name}" for name in (*schema.scalars, *(vector.name for vector in schema.vectors))]


def feature_columns(
    table: pl.LazyFrame, schema: FeatureSchema, display: DisplayProfile | None = None
) -> dict[str, pl.Expr]:
    """Per slot, the expression of a feature as float32, the heads' input type; null where it is not known or finite.

    A vector stays one fixed-size list, and is null as a whole where one of its numbers is not finite.
    With a ``display`` its values stand where a row has none of its own. TrainingError where a table's display columns
    hold what cannot be read.
    """
    types = table.collect_schema()
    have = frozenset(types.names())
    reads_display = not set(DISPLAY_COLUMNS).isdisjoint(schema.columns)
    of_display = _display_columns(table, have, display) if reads_display else {}
    expressions = {}
    for name in schema.scalars:
        if name in of_display:
            ways = [of_display[name]]
        else:
            ways = [number_column(column) for column in (name, f"{name}_mean") if column in have]
            ways += _DERIVED[name].ways(have) if name in _DERIVED else []
        # Row by row: what is missing in one column is taken from the next.
        expressions[f"feature:{name}"] = pl.coalesce(*ways, pl.lit(None, pl.Float64)).cast(pl.Float32)
    for vector in schema.vectors:
        expressions[f"feature:{vector.name}"] = _whole_vectors(vector, have_type=types.get(vector.name))
    return expressions


def feature_matrix(frame: pl.DataFrame, schema: FeatureSchema) -> F32:
    """The features (N, F) of rows whose columns are ``slots``; NaN for null."""
    scalars = slots(schema)[: len(schema.scalars)]
    if not schema.vectors:
        return np.ascontiguousarray(frame.select(scalars).to_numpy().astype(np.float32))
    features = np.empty((len(frame), len(schema.columns)), dtype=np.float32)
    for number, slot in enumerate(scalars):
        features[:, number] = frame[slot].to_numpy()
    for vector in schema.vectors:
        # The numbers of a column of vectors lie in a row already: they are copied once, and never column by column.
        features[:, schema.block_of(vector)] = frame[f"feature:{vector.name}"].to_numpy()
    return features


def _whole_vectors(vector: VectorColumn, have_type: pl.DataType | None) -> pl.Expr:
    kind = pl.Array(pl.Float32, vector.size)
    if have_type is None:
        return pl.lit(None, kind)
    values = pl.col(vector.name)
    # A row that was measured just now, and JSON, bring lists, whose length their type does not say.
    as_array = values.list.to_array(vector.size) if isinstance(have_type, pl.List) else values
    numbers = as_array.cast(kind)
    return pl.when(numbers.map_batches(_are_finite, return_dtype=pl.Boolean)).then(numbers)


def _are_finite(vectors: pl.Series) -> pl.Series:
    return pl.Series(vectors.name, np.isfinite(vectors.to_numpy()).all(axis=1), dtype=pl.Boolean)


def number_column(column: str) -> pl.Expr:
    """A column as numbers; null for what is none, or beyond float32."""
    number = pl.col(column).cast(pl.Float64, strict=False)
    # Beyond float32 a value would reach the head as infinity, and NaN compares to nothing: both are missing here.
    return pl.when(number.abs() <= _LARGEST).then(number)


def columns_without_numbers(table: pl.LazyFrame, columns: Collection[str]) -> dict[str, str]:
    """Of these columns, per one whose type holds no numbers, its type; text may hold some (``columns_of_text``)."""
    types = {name: kind for name, kind in table.collect_schema().items() if name in columns}
    return {n: str(kind) for n, kind in types.items() if not (kind.is_numeric() or kind in _MAY_HOLD_NUMBERS)}


def columns_of_text(table: pl.LazyFrame, columns: Collection[str]) -> dict[str, str]:
    """Of these columns, per one that holds text that is no number, an example of it."""
    texts = [name for name, kind in table.collect_schema().items() if kind == pl.String and name in columns]
    if not texts:
        return {}
    no_numbers = {
        name: pl.col(name)
        .filter(
            pl.col(name).cast(pl.Float64, strict=False).is_null()
            & ~pl.col(name).str.strip_chars().str.to_lowercase().is_in(_NO_NUMBER)
        )
        .first()
        for name in texts
    }
    examples = table.select(**no_numbers).collect().row(0, named=True)
    return {name: example for name, example in examples.items() if example is not None}


def columns_of_lists(table: pl.LazyFrame, columns: Collection[str]) -> dict[str, str]:
    """Of these columns, per one whose values are lists or the like, its type."""
    types = {name: kind for name, kind in table.collect_schema().items() if name in columns}
    return {n: str(kind) for n, kind in types.items() if kind.is_nested() or kind in (pl.Binary, pl.Object)}


def number_sources(feature: str) -> tuple[str, ...]:
    """The columns of numbers that a feature is read from, whichever of them a table has."""
    return (feature, f"{feature}_mean", *(_DERIVED[feature].numbers if feature in _DERIVED else ()))


def sources_of(feature: str) -> tuple[str, ...]:
    """The columns of numbers or words any of which may give a feature; a display's are the profile's, too."""
    words = _DERIVED[feature].words if feature in _DERIVED else ()
    return (*number_sources(feature), *words)


def word_sources(schema: FeatureSchema) -> tuple[str, ...]:
    """The columns of words that features are made from."""
    own = [word for name in schema.columns if name in _DERIVED for word in _DERIVED[name].words]
    reads_display = not set(DISPLAY_COLUMNS).isdisjoint(schema.columns)
    of_display = [f"display_{spelling}" for field in FIELDS for spelling in field.spellings] if reads_display else []
    return (*own, *of_display)


def columns_in_role(*roles: ColumnRole) -> tuple[str, ...]:
    """The extra columns that corpora declare in one of these roles, under the names that tables have them by."""
    return tuple(c.field for corpus in CORPORA.values() for c in corpus.extra_columns if c.role in roles)


@dataclass(frozen=True)
class _Derived:
    """A feature that is made where a table has no column of its name: of columns of ``numbers`` and of ``words``.

    ``ways`` gives the expressions to try, in order, for the columns that a table has.
    """

    numbers: tuple[str, ...]
    words: tuple[str, ...]
    ways: Callable[[Collection[str]], list[pl.Expr]]


def _scaled(scaled: Scaled) -> _Derived:
    def ways(have: Collection[str]) -> list[pl.Expr]:
        return [(number_column(scaled.source) - scaled.zero) / scaled.unit] if scaled.source in have else []

    return _Derived((scaled.source,), (), ways)


def _portrait(orientation: str) -> _Derived:
    """1 for ``portrait``, 0 for any other word."""

    def ways(have: Collection[str]) -> list[pl.Expr]:
        word = pl.col(orientation).cast(pl.String).str.strip_chars().str.to_lowercase()
        return [pl.when(word != "").then((word == "portrait").cast(pl.Float64))] if orientation in have else []

    return _Derived((), (orientation,), ways)


def _mbps(label: str) -> _Derived:
    """Mbit/s of a rung's label (``0.2M``, ``500K``), else of its bytes over its duration."""

    def ways(have: Collection[str]) -> list[pl.Expr]:
        if label not in have:
            return []
        parts = pl.col(label).cast(pl.String).str.to_uppercase().str.extract_groups(_BITRATE)
        unit = parts.struct.field("2").replace_strict(_MBPS, default=None, return_dtype=pl.Float64)
        rates = [parts.struct.field("1").cast(pl.Float64, strict=False) * unit]
        if {"src_size_bytes", "duration_s"} <= set(have):
            # A ladder's references are on no rung: their label names no rate.
            seconds = number_column("duration_s")
            rates.append(pl.when(seconds > 0).then(number_column("src_size_bytes") * 8e-6 / seconds))
        return rates

    return _Derived(("src_size_bytes", "duration_s"), (label,), ways)


def _crf(have: Collection[str]) -> list[pl.Expr]:
    return [number_column("crf") * crf_norm(1)] if "crf" in have else []


def _preset(have: Collection[str]) -> list[pl.Expr]:
    words = pl.col("preset").cast(pl.String)
    return [words.map_elements(preset_rank, return_dtype=pl.Float64)] if "preset" in have else []


_DERIVED: Mapping[str, _Derived] = {
    **{name: _scaled(scaled) for name, scaled in NORMALISED.items()},
    **{f"{orientation}_portrait": _portrait(orientation) for orientation in columns_in_role("orientation")},
    **{
        f"{corpus.stem}_bitrate_mbps": _mbps(column.field)
        for corpus in CORPORA.values()
        for column in corpus.extra_columns
        if column.role == "bitrate"
    },
    "crf_norm": _Derived(("crf",), (), _crf),
    "preset_rank": _Derived((), ("preset",), _preset),
}


def _display_columns(table: pl.LazyFrame, have: Collection[str], display: DisplayProfile | None) -> dict[str, pl.Expr]:
    """Every display column: a row's own value, else the profile's.

    A table's own are columns of the heads' names, and a profile's fields with ``display_`` before them.
    """
    profile = display.values if display else {}
    fields = {f"display_{spelling}": field for field in FIELDS for spelling in field.spellings}
    present = [name for name in (*fields, *DISPLAY_COLUMNS) if name in have]
    values = {n: table.select(pl.col(n).drop_nulls().unique()).collect()[n].to_list() for n in dict.fromkeys(present)}
    ways: dict[str, list[pl.Expr]] = {name: [] for name in DISPLAY_COLUMNS}
    for name in DISPLAY_COLUMNS:
        if name in have and name not in fields:
            ways[name].append(number_column(name))
    for name, field in fields.items():
        if name in have:
            for column, numbers in _read_values(name, field, values[name]).items():
                ways[column].append(pl.col(name).replace_strict(numbers, default=None, return_dtype=pl.Float64))
    ways["display_contrast_ratio_log_norm"] += _own_contrast(values, profile)
    of_profile = {name: [pl.lit(profile[name])] if display else [] for name in DISPLAY_COLUMNS}
    return {name: pl.coalesce(*own, *of_profile[name], pl.lit(None, pl.Float64)) for name, own in ways.items()}


def _read_values(name: str, field: DisplayField, values: list[object]) -> dict[str, dict[object, float]]:
    """Per column a field gives, what each of its values means; a coverage column is all fractions or all percent."""
    present = [v for v in values if v != "" and not (isinstance(v, float) and np.isnan(v))]
    numbers: dict[str, dict[object, float]] = {column: {} for column in field.columns}
    for value in present:
        try:
            of_value = field.values(value, f"column {name}")
        except SettingsError as error:
            raise TrainingError(error.what, found=error.found, expected=error.expected) from error
        for column, number in of_value.items():
            numbers[column][value] = number
    # 0.9 beside 95 may be either unit: which rows mean what, nobody can say.
    if name in _COVERAGES and len({float(str(v).strip().rstrip("%")) > 1 for v in present if v}) > 1:
        raise TrainingError(
            f"column {name}",
            found="fractions and percentages",
            expected="one of them in all rows",
            next_step="correct the table",
        )
    return numbers


def _own_contrast(values: Mapping[str, list[object]], profile: Mapping[str, float]) -> list[pl.Expr]:
    """A row's contrast by its own two luminances, or by one and the profile's other; with a black of 0 the largest."""
    luminances: dict[str, float] = {}
    if profile:
        peak, black = profile["display_peak_luminance_nits_norm"] * 10_000, profile["display_black_luminance_nits_norm"]
        contrast = profile["display_contrast_ratio_log_norm"]
        # A profile with a contrast of its own keeps it, whatever a row's one luminance says.
        if peak > 0 and math.isclose(contrast_log_norm(peak, black), contrast):
            luminances = {"peak": peak, "black": black}
    own = {part: [n for n in values if part in n and not n.endswith("_norm")] for part in ("peak", "black")}
    if not any(own.values()) or not all(own[part] or part in luminances for part in own):
        return []
    peaks, blacks = (
        pl.coalesce(*map(number_column, names[:1]), pl.lit(luminances.get(part), pl.Float64))
        for part, names in own.items()
    )
    return [((peaks / blacks).log(10) / 7).clip(0, 1).fill_nan(None)]
