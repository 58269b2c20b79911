"""Related clips: the same upload in several corpora, by the site's id in the clips' names. Reported, never deleted.

Re-encodes and crops never share a SHA-256, so no duplicate is found among them; the id says that they show the same
content. Equal bytes are the aggregation's affair. Which corpora's names hold ids is a declaration (``name_ids``).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqa_assets.corpora import Corpus, ExternalShard
from vqa_assets.corpora.corpus import IdFamily
from vqa_assets.corpora.opinions import CORPUS
from vqa_assets.unified.table import unified_columns

if TYPE_CHECKING:
    import polars as pl

SCHEMA = "related-clips-v1"
GROUPS_SHOWN = 20
"""How many groups the replay manifest and the metadata name; the sidecar has all."""
_FLICKR = r"([0-9]{6,})"
_YOUTUBE_MARKED = r"(?i:youtube|youtu\.be|yt)[-_=/]([0-9A-Za-z_-]{11})"
_YOUTUBE_BRACKETED = r"\[([0-9A-Za-z_-]{11})\]"
_YOUTUBE_FIRST = r"^([0-9A-Za-z_-]{11})(?:\.|_[0-9]|$)"
_MIXED = ("[0-9]", "[A-Z]", "[a-z]")
"""An id that nothing marks as one must look random: a digit, a capital and a small letter."""


@dataclass(frozen=True)
class RelatedClip:
    """One clip of a group."""

    corpus: str
    src: str
    src_sha256: str


@dataclass(frozen=True)
class RelatedGroup:
    """Clips of at least two corpora whose names hold the same id, such as ``flickr:2999049224``."""

    id: str
    clips: tuple[RelatedClip, ...]

    def as_row(self) -> dict[str, Any]:
        """The group as one row of a table."""
        corpora = Counter(clip.corpus for clip in self.clips)
        return {
            "id": self.id,
            "clips": len(self.clips),
            "corpora": ", ".join(f"{name} ({count})" for name, count in sorted(corpora.items())),
            "src": ", ".join(clip.src for clip in self.clips[:4]) + (", …" if len(self.clips) > 4 else ""),
        }


@dataclass(frozen=True)
class RelatedClips:
    """Every group, by id, and how many there are per pair (or more) of corpora."""

    groups: tuple[RelatedGroup, ...]

    def counts(self) -> list[dict[str, Any]]:
        """Per family of ids and corpora that share one: groups and clips."""
        groups: Counter[tuple[str, str]] = Counter()
        clips: Counter[tuple[str, str]] = Counter()
        for group in self.groups:
            key = group.id.partition(":")[0], ", ".join(sorted({clip.corpus for clip in group.clips}))
            groups[key] += 1
            clips[key] += len(group.clips)
        return [{"ids": k[0], "corpora": k[1], "groups": groups[k], "clips": clips[k]} for k in sorted(groups)]

    def as_document(self) -> dict[str, Any]:
        """The sidecar ``related_clips.json``: a version, the counts, every group."""
        return {"schema": SCHEMA, "counts": self.counts(), "groups": [asdict(group) for group in self.groups]}


def find_related(parquet: Path, corpora: Mapping[str, Corpus | ExternalShard]) -> RelatedClips:
    """The groups of a unified corpus, clips sorted by corpus and ``src``."""
    import polars as pl

    rows = unified_columns(parquet, (CORPUS, "src", "src_sha256"))
    ids = _site_ids(pl.col("src"))
    families: dict[IdFamily, list[str]] = {}
    for corpus in corpora.values():
        for family in corpus.name_ids if isinstance(corpus, Corpus) else ():
            families.setdefault(family, []).append(corpus.name)
    parts = [
        rows.filter(pl.col(CORPUS).is_in(names)).with_columns(ids[family].alias("id")).drop_nulls("id")
        for family, names in families.items()
        if len(names) > 1  # ids of one corpus alone link nothing
    ]
    if not parts:
        return RelatedClips(())
    shared = pl.concat(parts).filter(pl.col(CORPUS).n_unique().over("id") > 1).sort("id", CORPUS, "src").collect()
    clips: dict[str, list[RelatedClip]] = {}
    for corpus_name, src, sha256, clip_id in shared.iter_rows():
        clips.setdefault(clip_id, []).append(RelatedClip(corpus_name, src, sha256))
    return RelatedClips(tuple(RelatedGroup(clip_id, tuple(group)) for clip_id, group in clips.items()))


def upload_ids(names: Sequence[str], families: Sequence[IdFamily]) -> list[str | None]:
    """Per name of a clip, the id that it holds of one of these sites (``flickr:2999049224``); None without one."""
    import polars as pl

    if not families:
        return [None] * len(names)
    ids = _site_ids(pl.col("src"))
    frame = pl.DataFrame({"src": names}, schema={"src": pl.String})
    marks: list[str | None] = frame.select(pl.coalesce(*(ids[family] for family in families))).to_series().to_list()
    return marks


def _site_ids(src: "pl.Expr") -> "dict[IdFamily, pl.Expr]":
    """Per site the id in a clip's name, with the site before it; null where there is none."""
    import polars as pl

    # only the file's own name: a folder called after a year, say, is no Flickr id
    name = src.str.extract(r"([^/]+)$")
    ids: dict[IdFamily, pl.Expr] = {"flickr": name.str.extract(_FLICKR), "youtube": _youtube_id(src, name)}
    return {family: pl.format(f"{family}:{{}}", found) for family, found in ids.items()}


def _youtube_id(src: "pl.Expr", name: "pl.Expr") -> "pl.Expr":
    """Eleven characters that are marked as an id, bracketed, or begin the name and look random."""
    import polars as pl

    bare = name.str.extract(_YOUTUBE_FIRST)
    looks_random = pl.all_horizontal(bare.str.contains(kind) for kind in _MIXED)
    # folders may be marked too (youtube/<id>/clip.mp4), so marks are looked for in the whole path
    return pl.coalesce(
        src.str.extract(_YOUTUBE_MARKED), name.str.extract(_YOUTUBE_BRACKETED), pl.when(looks_random).then(bare)
    )
