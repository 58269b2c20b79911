"""What a corpus's labels look like: confidence intervals, the SOS parameter, histograms. Reads no file."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from vqa_assets.corpora.corpus import Spread
from vqa_assets.corpora.scales import SCALES, UNIFIED, MosScale

if TYPE_CHECKING:
    import polars as pl

CORPUS = "corpus_source"
"""The unified corpus's column that names a row's corpus."""
_DECIMALS = 9

HISTOGRAM_BINS = 20
SOS_ORDINARY = (0.01, 0.4)
"""Outside these the spreads are suspicious; 0.1–0.25 is ordinary."""


@dataclass(frozen=True)
class Opinion:
    """One clip's label: score, SD of the opinions (None: unknown), number of opinions (0: unknown)."""

    mos: float
    sd: float | None
    count: int


@dataclass(frozen=True)
class LabelStatistics:
    """What one corpus's labels look like, scores in the unit of its scale."""

    clips: int
    mos_min: float
    mos_median: float
    mos_mean: float
    mos_max: float
    histogram: tuple[int, ...]
    share_unknown_sd: float
    mean_ci95: float | None
    sos_parameter: float | None
    ratings: dict[int, int]

    def as_dict(self) -> dict[str, Any]:
        """The same for a manifest, rating counts as texts."""
        return {**asdict(self), "ratings": {str(k): v for k, v in self.ratings.items()}}


def describe_labels(opinions: Sequence[Opinion], scale: MosScale) -> LabelStatistics:
    """The statistics of at least one label on one scale."""
    scores = [o.mos for o in opinions]
    with_sd = [o for o in opinions if o.sd is not None]
    intervals = [ci95_half_width(o.sd, o.count) for o in with_sd if o.sd is not None and o.count > 1]
    return LabelStatistics(
        clips=len(scores),
        mos_min=min(scores),
        mos_median=median(scores),
        mos_mean=fmean(scores),
        mos_max=max(scores),
        histogram=histogram(scores, scale),
        share_unknown_sd=1 - len(with_sd) / len(scores),
        mean_ci95=_mean(intervals),
        sos_parameter=sos_parameter(with_sd, scale),
        ratings=dict(sorted(Counter(o.count for o in opinions).items())),
    )


def histogram(scores: Iterable[float], scale: MosScale, bins: int = HISTOGRAM_BINS) -> tuple[int, ...]:
    """Counts in equal bins over the scale's range, each with its lower edge; the slack falls into the outermost bins.

    Means of few ratings lie on the edges (1.2, 1.4, …), so a rounding error must not decide their bin.
    """
    counts = [0] * bins
    for score in scores:
        position = math.floor(round((score - scale.low) / (scale.high - scale.low) * bins, 9))
        counts[min(max(position, 0), bins - 1)] += 1
    return tuple(counts)


def sos_parameter(opinions: Iterable[Opinion], scale: MosScale) -> float | None:
    """a = Σ g·s² / Σ g² with g = (x − lo)(hi − x), x the score and s its SD.

    None where nothing is known, and where no number holds it.
    Source: Hoßfeld, Schatz, Egger, *SOS: The MOS is not enough!*, QoMEX 2011.
    """
    above = below = 0.0
    for opinion in opinions:
        if opinion.sd is not None:
            g = (opinion.mos - scale.low) * (scale.high - opinion.mos)
            above += g * opinion.sd * opinion.sd
            below += g * g
    return above / below if below > 0 and math.isfinite(above) else None


def _mean(values: Sequence[float]) -> float | None:
    """The mean; None without values, and where no number holds it."""
    try:
        mean = fmean(values) if values else math.nan
    except OverflowError:
        return None
    return mean if math.isfinite(mean) else None


def ci95_half_width(sd: float, count: int) -> float:
    """t · s / √n: half the width of the 95 % confidence interval of a mean of n > 1 opinions."""
    return _t_quantile(count) * sd / math.sqrt(count)


def sd_from_spread(value: float | None, kind: Spread | None, count: int) -> float | None:
    """The SD in a published spread; None where it is unknown: not published, zero, or an SE or CI without a count.

    ``kind`` ``ci95`` is half the width of the interval, as ``ci95_half_width`` gives it.
    """
    if value is None or kind is None or not math.isfinite(value) or value <= 0:
        return None
    if kind == "sd":
        return value
    if count < 2:
        return None
    standard_error = value if kind == "se" else value / _t_quantile(count)
    return standard_error * math.sqrt(count)


@cache
def _t_quantile(count: int) -> float:
    from scipy.special import stdtrit  # scipy.stats takes half a second longer to import

    return float(stdtrit(count - 1, 0.975))


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


ScaleOf = Callable[[str, str], MosScale]
"""The scale that rows of a corpus mean by a name: (corpus, name) → scale."""


def known_scale(_: str, name: str) -> MosScale:
    """``ScaleOf`` for rows that are on a known scale."""
    return SCALES[name]


def summarize_rows(rows: "pl.LazyFrame", scale_of: ScaleOf = known_scale) -> tuple[LabelSummary, ...]:
    """One summary per corpus and native scale, by name.

    Rows have ``corpus_source``, ``mos_native`` on ``mos_native_scale``, ``mos`` on 0–100.

    ``mos_std_dev`` is in the unit of ``mos_native``; where it or ``n_ratings`` is 0, it is unknown.
    """
    corpora_on: dict[MosScale, list[str]] = {}
    for corpus, name in rows.select(CORPUS, "mos_native_scale").unique().collect().iter_rows():
        corpora_on.setdefault(scale_of(corpus, name), []).append(corpus)
    summaries = [summary for scale, names in corpora_on.items() for summary in _on_one_scale(rows, scale, names)]
    return tuple(sorted(summaries, key=lambda summary: (summary.corpus, summary.scale.name)))


def _on_one_scale(rows: "pl.LazyFrame", scale: MosScale, corpora: Sequence[str]) -> Iterator[LabelSummary]:
    import polars as pl

    part = rows.filter(pl.col("mos_native_scale") == scale.name, pl.col(CORPUS).is_in(corpora))
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
    """Per corpus: counts, means, and the sums of the SOS parameter (``sos_parameter``)."""
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
    """Corpus → counts per bin, as ``histogram`` draws the bins."""
    import polars as pl

    position = ((pl.col(column) - scale.low) / (scale.high - scale.low) * HISTOGRAM_BINS).round(9).floor()
    bins = position.clip(0, HISTOGRAM_BINS - 1).cast(pl.Int64).alias("bin")
    counts: dict[str, list[int]] = {}
    for corpus, place, clips in part.group_by(CORPUS, bins).agg(pl.len()).collect().iter_rows():
        counts.setdefault(corpus, [0] * HISTOGRAM_BINS)[place] += clips
    return {corpus: tuple(heights) for corpus, heights in counts.items()}


def settled(value: float | None) -> float | None:
    """A number without the digits that the order of adding up decides."""
    return None if value is None else round(float(value), _DECIMALS)
