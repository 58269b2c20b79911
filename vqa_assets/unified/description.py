"""What a unified corpus holds, for people: its clips, labels, licences and related clips. Decides about no row.

``python -m vqa_assets.describe`` prints it; the replay manifest and the asset's metadata show it. What labels look
like is computed in ``corpora.opinions``.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from vqa_assets.clips.work import clock
from vqa_assets.corpora import CORPORA, EXTERNAL_SHARDS, Corpus, ExternalShard
from vqa_assets.corpora.corpus import REDISTRIBUTION, strictest
from vqa_assets.corpora.opinions import CORPUS, LabelSummary, settled, summarize_rows
from vqa_assets.corpora.scales import SCALES, MosScale
from vqa_assets.errors import SchemaError
from vqa_assets.printing import size_in_words
from vqa_assets.unified.related import GROUPS_SHOWN, RelatedClips, find_related
from vqa_assets.unified.table import TOTAL, unified_columns

if TYPE_CHECKING:
    import polars as pl

VALUES_KEPT = 20
"""How many of a distribution's commonest values are named; the others are counted together."""
_COLUMNS = (
    *(CORPUS, "mos_native_scale", "width", "height", "framerate", "encoder_upstream", "pix_fmt", "duration_s"),
    "src_size_bytes",
)
_LABEL_COLUMNS = (CORPUS, "mos_native_scale", "mos", "mos_native", "mos_std_dev", "n_ratings")


@dataclass(frozen=True)
class Distribution:
    """How often each value occurs, the commonest first; ``others`` are clips of values beyond ``VALUES_KEPT``."""

    distinct: int
    commonest: tuple[tuple[str, int], ...]
    others: int

    @classmethod
    def of(cls, counts: Mapping[str, int]) -> "Distribution":
        """The distribution of counted values; equal counts go by value."""
        ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return cls(len(ordered), tuple(ordered[:VALUES_KEPT]), sum(n for _, n in ordered[VALUES_KEPT:]))

    def in_words(self, values: int = 3) -> str:
        """The commonest values in a few words."""
        text = ", ".join(f"{value} ({clips})" for value, clips in self.commonest[:values])
        return text if self.distinct <= values else f"{text}, … {self.distinct} in all"


@dataclass(frozen=True)
class Durations:
    """Lengths in seconds of the clips that state one, and their sum in hours; None where none does."""

    shortest_s: float | None
    median_s: float | None
    longest_s: float | None
    hours: float
    unknown: int

    def in_words(self) -> str:
        """The same in a few words."""
        if self.median_s is None:
            return "unknown"
        text = f"{self.shortest_s:.4g}–{self.longest_s:.4g} s, median {self.median_s:.4g} s, "
        text += f"{clock(self.hours * 3600)} in all"
        return f"{text}, {self.unknown} unknown" if self.unknown else text


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
        document = asdict(self)
        for distribution in document.values():
            if isinstance(distribution, dict) and "commonest" in distribution:
                distribution["commonest"] = [{"value": v, "clips": n} for v, n in distribution["commonest"]]
        return document

    def as_row(self) -> dict[str, Any]:
        """The same as one row of a table for people."""
        return {
            "corpus": self.corpus,
            "clips": self.clips,
            "size": size_in_words(self.size_bytes),
            "scales": self.scales.in_words(),
            "resolutions": self.resolutions.in_words(),
            "frame rates": self.framerates.in_words(),
            "codecs": self.codecs.in_words(),
            "pixel formats": self.pixel_formats.in_words(),
            "durations": self.durations.in_words(),
        }


@dataclass(frozen=True)
class CorpusLicence:
    """One corpus inside. ``redistribution`` is a key of ``REDISTRIBUTION``."""

    corpus: str
    title: str
    clips: int
    licence: str
    redistribution: str
    citation: str
    homepage: str


@dataclass(frozen=True)
class Licences:
    """Every corpus inside, and the strictest of their ``REDISTRIBUTION`` words, which rules for the whole."""

    corpora: tuple[CorpusLicence, ...]
    strictest: str

    @property
    def consequence(self) -> str:
        """What the strictest word means, as a sentence."""
        named = ", ".join(one.corpus for one in self.corpora if one.redistribution == self.strictest)
        return f"The unified corpus {REDISTRIBUTION[self.strictest]} (the strictest licence: {named})."

    @property
    def citations(self) -> list[str]:
        """Whom to cite: each citation once, in the order of the corpora."""
        return list(dict.fromkeys(one.citation for one in self.corpora))

    def as_rows(self) -> list[dict[str, Any]]:
        """The corpora as a table."""
        return [asdict(one) for one in self.corpora]


@dataclass(frozen=True)
class UnifiedView:
    """What a unified corpus holds: its clips (the last entry is the total), labels, licences, related clips."""

    clips: tuple[ClipDescription, ...]
    labels: tuple[LabelSummary, ...]
    licences: Licences
    related: RelatedClips

    def as_dict(self) -> dict[str, Any]:
        """The same for the replay manifest; of the related clips the counts and the first groups."""
        groups = self.related.groups[:GROUPS_SHOWN]
        return {
            "describe": [one.as_dict() for one in self.clips],
            "labels": [one.as_dict() for one in self.labels],
            "licences": self.licences.as_rows(),
            "redistribution": {"strictest": self.licences.strictest, "consequence": self.licences.consequence},
            "related_clips": {"counts": self.related.counts(), "first_groups": [group.as_row() for group in groups]},
        }


def view_of(parquet: Path, corpora: Mapping[str, Corpus | ExternalShard]) -> UnifiedView:
    """The view of the unified corpus in a Parquet file."""
    clips = describe_clips(parquet)
    # a licence binds only where clips of its corpus are inside
    inside = {one.corpus: one.clips for one in clips if one.corpus != TOTAL}
    labels = summarize_labels(parquet, corpora)
    return UnifiedView(clips, labels, licences_of(inside, corpora), find_related(parquet, corpora))


def licences_of(clips: Mapping[str, int], corpora: Mapping[str, Corpus | ExternalShard]) -> Licences:
    """The licences of the corpora that have clips inside (corpus → clips), by name."""
    licences = tuple(
        CorpusLicence(
            corpus=corpora[name].name,
            title=corpora[name].title,
            clips=clips[name],
            licence=corpora[name].licence,
            redistribution=corpora[name].redistribution,
            citation=corpora[name].citation,
            homepage=corpora[name].homepage,
        )
        for name in sorted(clips)
    )
    return Licences(licences, strictest(one.redistribution for one in licences))


def summarize_labels(
    parquet: Path, corpora: Mapping[str, Corpus | ExternalShard] = MappingProxyType({**CORPORA, **EXTERNAL_SHARDS})
) -> tuple[LabelSummary, ...]:
    """The labels of a unified corpus: one summary per corpus and native scale, by name.

    SchemaError where rows are on a scale that no declaration here knows.
    """

    def scale_of(corpus: str, name: str) -> MosScale:
        scale = (corpora[corpus].scale_named(name) if corpus in corpora else None) or SCALES.get(name)
        if scale is None:
            raise SchemaError(
                f"{parquet}: mos_native_scale of {corpus}",
                found=repr(name),
                expected=f"one of {', '.join(SCALES)}, or a scale that {corpus} declares",
                next_step="set VQA_CORPORA_DIR to the declarations that the unified corpus was made with, or put them "
                "into <data root>/corpora",
            )
        return scale

    return summarize_rows(unified_columns(parquet, _LABEL_COLUMNS), scale_of)


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
            durations=Durations(
                shortest_s=settled(numbers["shortest_s"]),
                median_s=settled(numbers["median_s"]),
                longest_s=settled(numbers["longest_s"]),
                hours=round(numbers["seconds"] / 3600, 6),
                unknown=numbers["clips"] - numbers["timed"],
            ),
            **{name: of_corpora[corpus] for name, of_corpora in distributions.items()},
        )
        for corpus, numbers in _numbers(rows).items()
    )


def _distributions(rows: "pl.LazyFrame", *columns: str) -> dict[str, Distribution]:
    """Corpus (and ``TOTAL``) → distribution of the columns' values, joined by × where they are several."""
    import polars as pl

    counted = rows.group_by(CORPUS, *columns).agg(pl.len()).collect()
    counts: dict[str, Counter[str]] = {TOTAL: Counter()}
    for corpus, *values, clips in counted.iter_rows():
        # 29.97002997 and 29.97 are one frame rate to a reader
        text = "×".join(f"{round(v, 3):g}" if isinstance(v, float) else str(v) for v in values)
        counts.setdefault(corpus, Counter())[text] += clips
        counts[TOTAL][text] += clips
    return {corpus: Distribution.of(of_corpus) for corpus, of_corpus in counts.items()}


def _numbers(rows: "pl.LazyFrame") -> dict[str, dict[str, Any]]:
    """Corpus, by name, then ``TOTAL`` → clip count, bytes and the numbers of the durations."""
    import polars as pl

    durations = pl.col("duration_s").filter(pl.col("duration_s") > 0)  # 0 is a container that states none
    numbers = (
        pl.len().alias("clips"),
        pl.col("src_size_bytes").sum().alias("size_bytes"),
        durations.min().alias("shortest_s"),
        durations.median().alias("median_s"),
        durations.max().alias("longest_s"),
        durations.sum().alias("seconds"),
        durations.len().alias("timed"),
    )
    each = rows.group_by(CORPUS).agg(*numbers).sort(CORPUS).collect()
    of_corpora = {row[CORPUS]: row for row in each.iter_rows(named=True)}
    return {**of_corpora, TOTAL: rows.select(*numbers).collect().row(0, named=True)}
