"""How a head's features are read off a table's columns, whoever reads: training or prediction.

A feature is the column of its name, else of ``<name>_mean``, else what ``feature_names`` makes it from. A display's
values are the row's own, else the profile's. What is then missing is the reader's to judge.
"""

import math
from collections.abc import Collection, Mapping

import numpy as np
import polars as pl

from vqa_assets.errors import SettingsError, TrainingError
from vqa_assets.feature_names import DISPLAY_COLUMNS, NORMALISED, FeatureSchema, crf_norm, preset_rank
from vqa_assets.heads.display import FIELDS, DisplayProfile, Field, contrast_log_norm
from vqa_assets.tables.parquet import NO_VALUE

_LARGEST = float(np.finfo(np.float32).max)
_BITRATE = r"^\s*([0-9]+(?:\.[0-9]+)?)\s*([KMG])(?:B|BPS|BIT/S)?\s*$"
_MBPS = {"K": 1e-3, "M": 1.0, "G": 1e3}
_MAY_HOLD_NUMBERS = (pl.String, pl.Boolean, pl.Null)
_NO_NUMBER = ("", "-", *NO_VALUE)
_COVERAGES = ("display_bt2020_coverage", "display_p3_coverage")


def slots(schema: FeatureSchema) -> list[str]:
    """What readers call the features' columns: a feature's name could be any other column's."""
    return [f"feature:{name}" for name in schema.columns]


def feature_columns(
    table: pl.LazyFrame, schema: FeatureSchema, display: DisplayProfile | None = None
) -> dict[str, pl.Expr]:
    """Per slot, the expression of a feature as float32, the heads' input type; null where it is not known or finite.

    With a ``display`` its values stand where a row has none of its own. TrainingError where a table's display columns
    hold what cannot be read.
    """
    have = frozenset(table.collect_schema().names())
    named = {name: [number_column(c) for c in (name, f"{name}_mean") if c in have] for name in schema.columns}
    made = _made(have)
    wanted = [name for name in DISPLAY_COLUMNS if name in schema.columns]
    shown = _display_columns(table, have, display) if wanted else {}
    expressions = {}
    for name in schema.columns:
        those = [shown[name]] if name in shown else [*named[name], *([made[name]] if name in made else [])]
        expressions[f"feature:{name}"] = pl.coalesce(*those, pl.lit(None, pl.Float64)).cast(pl.Float32)
    return expressions


def number_column(column: str) -> pl.Expr:
    """A column as numbers; null for what is none, or beyond float32."""
    number = pl.col(column).cast(pl.Float64, strict=False)
    return pl.when(number.abs() <= _LARGEST).then(number)


def no_numbers_among(table: pl.LazyFrame, columns: Collection[str]) -> dict[str, str]:
    """Of these columns, per one whose type holds no numbers, its type; text may hold some (``texts_among``)."""
    found = {name: kind for name, kind in table.collect_schema().items() if name in columns}
    return {n: str(kind) for n, kind in found.items() if not (kind.is_numeric() or kind in _MAY_HOLD_NUMBERS)}


def texts_among(table: pl.LazyFrame, columns: Collection[str]) -> dict[str, str]:
    """Of these columns, per one that holds text that is no number, an example of it."""
    texts = [name for name, kind in table.collect_schema().items() if kind == pl.String and name in columns]
    wrong = {
        n: pl.col(n)
        .filter(
            pl.col(n).cast(pl.Float64, strict=False).is_null()
            & ~pl.col(n).str.strip_chars().str.to_lowercase().is_in(_NO_NUMBER)
        )
        .first()
        for n in texts
    }
    found = table.select(**wrong).collect().row(0, named=True) if texts else {}
    return {name: example for name, example in found.items() if example is not None}


def nested_among(table: pl.LazyFrame, columns: Collection[str]) -> dict[str, str]:
    """Of these columns, per one whose values are lists or the like, its type."""
    found = {name: kind for name, kind in table.collect_schema().items() if name in columns}
    return {n: str(kind) for n, kind in found.items() if kind.is_nested() or kind in (pl.Binary, pl.Object)}


def number_sources(feature: str) -> tuple[str, ...]:
    """The columns of numbers that a feature is read from, whichever of them a table has."""
    made = {"crf_norm": ("crf",), "chug_bitrate_mbps": ("src_size_bytes", "duration_s")}
    scaled = (NORMALISED[feature].source,) if feature in NORMALISED else made.get(feature, ())
    return (feature, f"{feature}_mean", *scaled)


def word_sources(schema: FeatureSchema) -> tuple[str, ...]:
    """The columns of words that features are made from."""
    words = {
        "chug_orientation_portrait": ("chug_orientation",),
        "chug_bitrate_mbps": ("chug_bitrate_label",),
        "preset_rank": ("preset",),
    }
    of_display = [f"display_{spelling}" for field in FIELDS for spelling in field.spellings]
    own = [name for feature in schema.columns for name in words.get(feature, ())]
    return (*own, *(of_display if set(schema.columns) & set(DISPLAY_COLUMNS) else ()))


def _made(have: Collection[str]) -> dict[str, pl.Expr]:
    """Features that are made from other columns, where those are there."""
    made = {
        name: (number_column(scaled.source) - scaled.zero) / scaled.unit
        for name, scaled in NORMALISED.items()
        if scaled.source in have
    }
    if "chug_orientation" in have:
        word = pl.col("chug_orientation").cast(pl.String).str.strip_chars().str.to_lowercase()
        made["chug_orientation_portrait"] = pl.when(word != "").then((word == "portrait").cast(pl.Float64))
    if "crf" in have:
        made["crf_norm"] = number_column("crf") * crf_norm(1)
    if "preset" in have:
        made["preset_rank"] = pl.col("preset").cast(pl.String).map_elements(preset_rank, return_dtype=pl.Float64)
    rates = [*_label_rate(have), *_own_rate(have)]
    if rates:
        made["chug_bitrate_mbps"] = pl.coalesce(rates)
    return made


def _label_rate(have: Collection[str]) -> list[pl.Expr]:
    """Mbit/s of ``0.2M``, ``500K``; null where the label names no rate."""
    if "chug_bitrate_label" not in have:
        return []
    parts = pl.col("chug_bitrate_label").cast(pl.String).str.to_uppercase().str.extract_groups(_BITRATE)
    unit = parts.struct.field("2").replace_strict(_MBPS, default=None, return_dtype=pl.Float64)
    return [parts.struct.field("1").cast(pl.Float64, strict=False) * unit]


def _own_rate(have: Collection[str]) -> list[pl.Expr]:
    """Mbit/s by size and duration, for ladder clips whose label names no rate (the references)."""
    if not {"chug_bitrate_label", "src_size_bytes", "duration_s"} <= set(have):
        return []
    seconds = number_column("duration_s")
    return [pl.when(seconds > 0).then(number_column("src_size_bytes") * 8e-6 / seconds)]


def _display_columns(table: pl.LazyFrame, have: Collection[str], display: DisplayProfile | None) -> dict[str, pl.Expr]:
    """Every display column: a row's own value, else the profile's."""
    profile = display.values if display else {}
    own = _own_display(table, have, profile)
    wanted = {name: [*own.get(name, []), *([pl.lit(profile[name])] if display else [])] for name in DISPLAY_COLUMNS}
    return {name: pl.coalesce(*those, pl.lit(None, pl.Float64)) for name, those in wanted.items()}


def _own_display(table: pl.LazyFrame, have: Collection[str], profile: Mapping[str, float]) -> dict[str, list[pl.Expr]]:
    """What a table says itself: columns of the heads' names, and a profile's fields with ``display_`` before them."""
    fields = {f"display_{spelling}": field for field in FIELDS for spelling in field.spellings}
    present = [name for name in (*fields, *DISPLAY_COLUMNS) if name in have]
    values = {n: table.select(pl.col(n).drop_nulls().unique()).collect()[n].to_list() for n in dict.fromkeys(present)}
    own: dict[str, list[pl.Expr]] = {name: [] for name in DISPLAY_COLUMNS}
    for name in DISPLAY_COLUMNS:
        if name in have and name not in fields:
            own[name].append(number_column(name))
    for name, field in fields.items():
        if name in have:
            for column, words in _read_values(name, field, values[name]).items():
                own[column].append(pl.col(name).replace_strict(words, default=None, return_dtype=pl.Float64))
    own["display_contrast_ratio_log_norm"] += _own_contrast(values, _luminances(profile))
    return own


def _read_values(name: str, field: Field, values: list[object]) -> dict[str, dict[object, float]]:
    """Per column a field gives, what each of its values means; a coverage column is all fractions or all percent."""
    known = [v for v in values if v != "" and not (isinstance(v, float) and np.isnan(v))]
    words: dict[str, dict[object, float]] = {column: {} for column in field.columns}
    for value in known:
        try:
            found = field.values(value, f"column {name}")
        except SettingsError as error:
            raise TrainingError(error.what, found=error.found, expected=error.expected) from error
        for column, number in found.items():
            words[column][value] = number
    if name in _COVERAGES and len({float(str(v).strip().rstrip("%")) > 1 for v in known if v}) > 1:
        raise TrainingError(
            f"column {name}",
            found="fractions and percentages",
            expected="one of them in all rows",
            next_step="correct the table",
        )
    return words


def _luminances(profile: Mapping[str, float]) -> dict[str, float]:
    """A profile's peak and black in cd/m², where its contrast is that of the two; empty where it is another."""
    if not profile:
        return {}
    peak, black = profile["display_peak_luminance_nits_norm"] * 10_000, profile["display_black_luminance_nits_norm"]
    of_the_two = peak > 0 and math.isclose(contrast_log_norm(peak, black), profile["display_contrast_ratio_log_norm"])
    return {"peak": peak, "black": black} if of_the_two else {}


def _own_contrast(values: Mapping[str, list[object]], profile: Mapping[str, float]) -> list[pl.Expr]:
    """A row's contrast by its own two luminances, or by one and the profile's other; with a black of 0 the largest."""
    own = {part: [n for n in values if part in n and not n.endswith("_norm")] for part in ("peak", "black")}
    if not any(own.values()) or not all(own[part] or part in profile for part in own):
        return []
    peak, black = (
        pl.coalesce(*map(number_column, names[:1]), pl.lit(profile.get(part), pl.Float64))
        for part, names in own.items()
    )
    return [((peak / black).log(10) / 7).clip(0, 1).fill_nan(None)]
