"""Shards and sources that are no corpus of opinions: read where present, never ingested, never a partition."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from vqa_assets.corpora.scales import VMAF_0_100, MosScale


@dataclass(frozen=True)
class ExternalShard:
    """A corpus JSONL made elsewhere, which ``unified_corpus`` reads where it lies at ``jsonl`` below the data root.

    Its scores are computed, not opinions: no MOS head is trained on them.
    """

    name: str
    title: str
    scales: tuple[MosScale, ...]
    licence: str
    redistribution: str
    citation: str
    homepage: str
    jsonl: str

    @property
    def row_scales(self) -> tuple[MosScale, ...]:
        """What the scores of its rows may be on."""
        return self.scales

    def scale_named(self, name: object) -> MosScale | None:
        """The scale that its rows mean by a name."""
        return next((scale for scale in self.scales if scale.name == name), None)


@dataclass(frozen=True)
class EncodeGridSource:
    """Clips that are encoded over a grid of settings and scored by VMAF; they carry no opinions."""

    name: str
    title: str
    clips: str
    size: str
    licence: str
    redistribution: str
    citation: str
    homepage: str


NETFLIX_PUBLIC = ExternalShard(
    name="netflix-public",
    title="Netflix Public",
    scales=(VMAF_0_100,),
    licence="as published by Netflix; check it before passing anything on",
    redistribution="unknown",
    citation="Li, Aaron, Katsavounidis, Moorthy, Manohara. Toward a Practical Perceptual Video Quality Metric. Netflix "
    "Technology Blog 2016.",
    homepage="https://github.com/Netflix/vmaf",
    jsonl="netflix/netflix_public.jsonl",
)

BVI_DVC = EncodeGridSource(
    name="bvi-dvc",
    title="BVI-DVC",
    clips="about 120",
    size="84 GiB",
    licence="research use, not redistributable",
    redistribution="research-only",
    citation="Ma, Zhang, Bull. BVI-DVC: A Training Database for Deep Video Compression. IEEE TMM 2021.",
    homepage="https://fan-aaron-zhang.github.io/BVI-DVC/",
)

NETFLIX = EncodeGridSource(
    name="netflix",
    title="Netflix Public, encode grid",
    clips="9",
    size="",
    licence=NETFLIX_PUBLIC.licence,
    redistribution=NETFLIX_PUBLIC.redistribution,
    citation=NETFLIX_PUBLIC.citation,
    homepage=NETFLIX_PUBLIC.homepage,
)

EXTERNAL_SHARDS: Mapping[str, ExternalShard] = MappingProxyType({shard.name: shard for shard in (NETFLIX_PUBLIC,)})
ENCODE_GRID_SOURCES: Mapping[str, EncodeGridSource] = MappingProxyType({s.name: s for s in (BVI_DVC, NETFLIX)})
