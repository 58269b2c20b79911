"""What a corpus's labels look like: confidence intervals, the SOS parameter, histograms. Reads no file."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from statistics import fmean, median
from typing import Any

from vqa_assets.corpora.corpus import Spread
from vqa_assets.corpora.scales import MosScale

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
    known = [o for o in opinions if o.sd is not None]
    intervals = [ci95_half_width(o.sd, o.count) for o in known if o.sd is not None and o.count > 1]
    return LabelStatistics(
        clips=len(scores),
        mos_min=min(scores),
        mos_median=median(scores),
        mos_mean=fmean(scores),
        mos_max=max(scores),
        histogram=histogram(scores, scale),
        share_unknown_sd=1 - len(known) / len(scores),
        mean_ci95=_mean(intervals),
        sos_parameter=sos_parameter(known, scale),
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
