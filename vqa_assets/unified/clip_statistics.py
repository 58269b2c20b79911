"""What the clips of a unified corpus are: scales, resolutions, frame rates, codecs, pixel formats, durations.

Per corpus and in total. What their labels look like is in ``labels``.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqa_assets.unified.columns import CORPUS, TOTAL, settled, unified_columns

if TYPE_CHECKING:
    import polars as pl

VALUES_KEPT = 20
"""How many of a distribution's commonest values are told; the others are counted together."""
_COLUMNS = (
    *(CORPUS, "mos_native_scale", "width", "height", "framerate", "encoder_upstream", "pix_fmt", "duration_s"),
    "src_size_bytes",
)


@dataclass(frozen=True)
class Distribution:
    """How often each value occurs, the commonest first; ``others`` are clips of values beyond ``VALUES_KEPT``."""

    distinct: int
    commonest: tuple[tuple[str, int], ...]
    others: int

    def shown(self, values: int = 3) -> str:
        """The commonest values in a few words."""
        told = ", ".join(f"{value} ({clips})" for value, clips in self.commonest[:values])
        return told if self.distinct <= values else f"{told}, … {self.distinct} in all"


@dataclass(frozen=True)
class Durations:
    """Lengths in seconds of the clips that state one, and their sum in hours; None where none does."""

    shortest_s: float | None
    median_s: float | None
    longest_s: float | None
    hours: float
    unknown: int

    def shown(self) -> str:
        """The same in a few words."""
        if self.median_s is None:
            return "unknown"
        told = f"{self.shortest_s:.4g}–{self.longest_s:.4g} s, median {self.median_s:.4g} s, {self.hours:.4g} h in all"
        return f"{told}, {self.unknown} unknown" if self.unknown else told


@dataclass(frozen=True)
class ClipDescription:
    """The clips of one corpus, or of all (``TOTAL``)."""

    corpus: str
    clips: int
    size_bytes: int
    scales: Distribution
    resolutions: Distribution
    framerates: Distribution
    codecs: Distribution
    pixel_formats: Distribution
    durations: Durations

    def as_dict(self) -> dict[str, Any]:
        """The same for a manifest; distributions keep their order as lists of {value, clips}."""
        told = asdict(self)
        for distribution in told.values():
            if isinstance(distribution, dict) and "commonest" in distribution:
                distribution["commonest"] = [{"value": v, "clips": n} for v, n in distribution["commonest"]]
        return told

    def as_row(self) -> dict[str, Any]:
        """The same as one row of a table for people."""
        return {
            "corpus": self.corpus,
            "clips": self.clips,
            "GB": f"{self.size_bytes / 1e9:.3g}",
            "scales": self.scales.shown(),
            "resolutions": self.resolutions.shown(),
            "frame rates": self.framerates.shown(),
            "codecs": self.codecs.shown(),
            "pixel formats": self.pixel_formats.shown(),
            "durations": self.durations.shown(),
        }


def describe_clips(parquet: Path) -> tuple[ClipDescription, ...]:
    """One description per corpus, by name, then the total."""
    rows = unified_columns(parquet, _COLUMNS)
    distributions = {
        "scales": _distributions(rows, "mos_native_scale"),
        "resolutions": _distributions(rows, "width", "height"),
        "framerates": _distributions(rows, "framerate"),
        "codecs": _distributions(rows, "encoder_upstream"),
        "pixel_formats": _distributions(rows, "pix_fmt"),
    }
    return tuple(
        ClipDescription(
            corpus=corpus,
            clips=numbers["clips"],
            size_bytes=numbers["size_bytes"],
            durations=_durations(numbers),
            **{name: found[corpus] for name, found in distributions.items()},
        )
        for corpus, numbers in _numbers(rows).items()
    )


def distribution(counts: Mapping[str, int]) -> Distribution:
    """A distribution of counted values; equal counts go by value."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return Distribution(len(ordered), tuple(ordered[:VALUES_KEPT]), sum(n for _, n in ordered[VALUES_KEPT:]))


def _distributions(rows: "pl.LazyFrame", *columns: str) -> dict[str, Distribution]:
    """Corpus (and ``TOTAL``) → distribution of the columns' values."""
    import polars as pl

    counted = rows.group_by(CORPUS, *columns).agg(pl.len()).collect()
    counts: dict[str, Counter[str]] = {TOTAL: Counter()}
    for corpus, *values, clips in counted.iter_rows():
        told = _told(values)
        counts.setdefault(corpus, Counter())[told] += clips
        counts[TOTAL][told] += clips
    return {corpus: distribution(found) for corpus, found in counts.items()}


def _told(values: Iterable[Any]) -> str:
    return "×".join(f"{round(v, 3):g}" if isinstance(v, float) else str(v) for v in values)


def _numbers(rows: "pl.LazyFrame") -> dict[str, dict[str, Any]]:
    """Corpus, by name, then ``TOTAL`` → clip count, bytes and the numbers of the durations."""
    import polars as pl

    known = pl.col("duration_s").filter(pl.col("duration_s") > 0)
    numbers = (
        pl.len().alias("clips"),
        pl.col("src_size_bytes").sum().alias("size_bytes"),
        known.min().alias("shortest_s"),
        known.median().alias("median_s"),
        known.max().alias("longest_s"),
        known.sum().alias("seconds"),
        known.len().alias("known"),
    )
    each = rows.group_by(CORPUS).agg(*numbers).sort(CORPUS).collect()
    found = {row[CORPUS]: row for row in each.iter_rows(named=True)}
    return {**found, TOTAL: rows.select(*numbers).collect().row(0, named=True)}


def _durations(numbers: Mapping[str, Any]) -> Durations:
    return Durations(
        shortest_s=settled(numbers["shortest_s"]),
        median_s=settled(numbers["median_s"]),
        longest_s=settled(numbers["longest_s"]),
        hours=round(numbers["seconds"] / 3600, 6),
        unknown=numbers["clips"] - numbers["known"],
    )
