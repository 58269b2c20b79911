"""``CORPORA``: every declared corpus by name, in the order that breaks ties. One declarative file per corpus.

``EXTERNAL_SHARDS`` and ``ENCODE_GRID_SOURCES`` are no corpora of opinions and have no partition.
"""

from collections.abc import Mapping

from vqa_assets.corpora.chug import CHUG
from vqa_assets.corpora.corpus import Acquisition, Corpus, Spellings, by_name
from vqa_assets.corpora.external import ENCODE_GRID_SOURCES, EXTERNAL_SHARDS, EncodeGridSource, ExternalShard
from vqa_assets.corpora.konvid_1k import KONVID_1K
from vqa_assets.corpora.konvid_150k import KONVID_150K
from vqa_assets.corpora.live_vqc import LIVE_VQC
from vqa_assets.corpora.lsvq import LSVQ
from vqa_assets.corpora.waterloo_ivc_4k import WATERLOO_IVC_4K
from vqa_assets.corpora.youtube_ugc import YOUTUBE_UGC

CORPORA: Mapping[str, Corpus] = by_name(
    (KONVID_1K, KONVID_150K, LSVQ, YOUTUBE_UGC, WATERLOO_IVC_4K, LIVE_VQC, CHUG),
)

__all__ = [
    "CORPORA",
    "ENCODE_GRID_SOURCES",
    "EXTERNAL_SHARDS",
    "Acquisition",
    "Corpus",
    "EncodeGridSource",
    "ExternalShard",
    "Spellings",
]
