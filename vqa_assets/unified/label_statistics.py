"""What the labels of a unified corpus look like, per corpus and native scale, over columns instead of single rows.

The formulas are those of ``statistics``, which judges one annotation file.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqa_assets.corpora.opinions import HISTOGRAM_BINS, SOS_ORDINARY, ci95_half_width
from vqa_assets.corpora.scales import SCALES, UNIFIED, MosScale
from vqa_assets.unified.table import CORPUS, settled, unified_columns

if TYPE_CHECKING:
    import polars as pl

_COLUMNS = (CORPUS, "mos_native_scale", "mos", "mos_native", "mos_std_dev", "n_ratings")


@dataclass(frozen=True)
class LabelSummary:
    """The labels of one corpus on one native scale.

    ``mean_ci95`` is the mean half width of the 95 % confidence interval, over ``clips_with_ci95`` clips whose SD and
    number of ratings are known; None where there is none.
    """

    corpus: str
    scale: MosScale
    clips: int
    mos_native_mean: float
    mos_unified_mean: float
    histogram_native: tuple[int, ...]
    histogram_unified: tuple[int, ...]
    share_unknown_sd: float
    clips_with_ci95: int
    mean_ci95_native: float | None
    mean_ci95_unified: float | None
    sos_parameter: float | None

    @property
    def sos_is_ordinary(self) -> bool:
        """False where the SOS parameter is known and suspicious."""
        low, high = SOS_ORDINARY
        return self.sos_parameter is None or low <= self.sos_parameter <= high

    def as_dict(self) -> dict[str, Any]:
        """The same for a manifest, the scale by name."""
        return {**asdict(self), "scale": self.scale.name, "sos_is_ordinary": self.sos_is_ordinary}

    def as_row(self) -> dict[str, Any]:
        """The same as one row of a table for people, without the histograms."""
        return {name: value for name, value in self.as_dict().items() if not name.startswith("histogram_")}


def summarize_labels(parquet: Path) -> tuple[LabelSummary, ...]:
    """One summary per corpus and native scale, by name."""
    return summarize_rows(unified_columns(parquet, _COLUMNS))


def summarize_rows(rows: "pl.LazyFrame") -> tuple[LabelSummary, ...]:
    """The same of rows with ``corpus_source``, ``mos_native`` on ``mos_native_scale``, ``mos`` on 0–100.

    ``mos_std_dev`` is in the unit of ``mos_native``; where it or ``n_ratings`` is 0, it is unknown.
    """
    found = [summary for scale in SCALES.values() for summary in _on_one_scale(rows, scale)]
    return tuple(sorted(found, key=lambda summary: (summary.corpus, summary.scale.name)))


def _on_one_scale(rows: "pl.LazyFrame", scale: MosScale) -> Iterator[LabelSummary]:
    import polars as pl

    part = rows.filter(pl.col("mos_native_scale") == scale.name)
    native, unified = _histograms(part, "mos_native", scale), _histograms(part, "mos", UNIFIED)
    for numbers in _numbers(part, scale).iter_rows(named=True):
        corpus, interval = numbers[CORPUS], numbers["mean_ci95"]
        yield LabelSummary(
            corpus=corpus,
            scale=scale,
            clips=numbers["clips"],
            mos_native_mean=round(numbers["mos_native_mean"], 9),
            mos_unified_mean=round(numbers["mos_unified_mean"], 9),
            histogram_native=native[corpus],
            histogram_unified=unified[corpus],
            share_unknown_sd=1 - numbers["known"] / numbers["clips"],
            clips_with_ci95=numbers["clips_with_ci95"],
            mean_ci95_native=settled(interval),
            mean_ci95_unified=None if interval is None else settled(scale.convert_spread(interval, UNIFIED)),
            sos_parameter=settled(numbers["above"] / numbers["below"]) if numbers["below"] > 0 else None,
        )


def _numbers(part: "pl.LazyFrame", scale: MosScale) -> "pl.DataFrame":
    """Per corpus: counts, means, and the sums of the SOS parameter (``statistics.sos_parameter``)."""
    import polars as pl

    sd, known = pl.col("mos_std_dev"), pl.col("mos_std_dev") > 0
    g = (pl.col("mos_native") - scale.low) * (scale.high - pl.col("mos_native"))
    interval = (sd * _ci95_factor(part)).filter(known)
    return (
        part.group_by(CORPUS)
        .agg(
            pl.len().alias("clips"),
            pl.col("mos_native").mean().alias("mos_native_mean"),
            pl.col("mos").mean().alias("mos_unified_mean"),
            known.sum().alias("known"),
            interval.mean().alias("mean_ci95"),
            interval.count().alias("clips_with_ci95"),
            (g * sd**2).filter(known).sum().alias("above"),
            (g**2).filter(known).sum().alias("below"),
        )
        .collect()
    )


def _ci95_factor(part: "pl.LazyFrame") -> "pl.Expr":
    """Half width of the interval for an SD of 1, by the number of ratings; null where that is unknown or 1."""
    import polars as pl

    counts = part.select(pl.col("n_ratings").filter(pl.col("n_ratings") > 1).unique()).collect()
    factors = {count: ci95_half_width(1.0, count) for count in counts["n_ratings"].to_list()}
    return pl.col("n_ratings").replace_strict(factors, default=None, return_dtype=pl.Float64)


def _histograms(part: "pl.LazyFrame", column: str, scale: MosScale) -> dict[str, tuple[int, ...]]:
    """Corpus → counts per bin, as ``statistics.histogram`` draws the bins."""
    import polars as pl

    position = ((pl.col(column) - scale.low) / (scale.high - scale.low) * HISTOGRAM_BINS).round(9).floor()
    bins = position.clip(0, HISTOGRAM_BINS - 1).cast(pl.Int64).alias("bin")
    counts: dict[str, list[int]] = {}
    for corpus, place, clips in part.group_by(CORPUS, bins).agg(pl.len()).collect().iter_rows():
        counts.setdefault(corpus, [0] * HISTOGRAM_BINS)[place] += clips
    return {corpus: tuple(found) for corpus, found in counts.items()}
