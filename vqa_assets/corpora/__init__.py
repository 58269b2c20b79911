"""``CORPORA``: every declared corpus by name, in the order that breaks ties. One declarative file per corpus.

``EXTERNAL_SHARDS`` and ``ENCODE_GRID_SOURCES`` are no corpora of opinions and have no partition.
"""

from collections.abc import Mapping

from vqa_assets.corpora.beyond8bits import BEYOND8BITS
from vqa_assets.corpora.bvi_hfr import BVI_HFR
from vqa_assets.corpora.chug import CHUG
from vqa_assets.corpora.corpus import Acquisition, Corpus, Spellings, by_name
from vqa_assets.corpora.cvd2014 import CVD2014
from vqa_assets.corpora.etri_live import ETRI_LIVE
from vqa_assets.corpora.external import ENCODE_GRID_SOURCES, EXTERNAL_SHARDS, EncodeGridSource, ExternalShard
from vqa_assets.corpora.konvid_1k import KONVID_1K
from vqa_assets.corpora.konvid_150k import KONVID_150K
from vqa_assets.corpora.kvq import KVQ
from vqa_assets.corpora.lbvd import LBVD
from vqa_assets.corpora.live_meta_gaming import LIVE_META_GAMING
from vqa_assets.corpora.live_qualcomm import LIVE_QUALCOMM
from vqa_assets.corpora.live_vqc import LIVE_VQC
from vqa_assets.corpora.live_yt_gaming import LIVE_YT_GAMING
from vqa_assets.corpora.live_yt_hfr import LIVE_YT_HFR
from vqa_assets.corpora.lsvq import LSVQ
from vqa_assets.corpora.waterloo_ivc_4k import WATERLOO_IVC_4K
from vqa_assets.corpora.youtube_ugc import YOUTUBE_UGC

CORPORA: Mapping[str, Corpus] = by_name(
    (
        *(KONVID_1K, KONVID_150K, LSVQ, YOUTUBE_UGC, WATERLOO_IVC_4K, LIVE_VQC, CHUG, BEYOND8BITS, KVQ),
        *(LIVE_YT_GAMING, LIVE_META_GAMING, LIVE_YT_HFR, ETRI_LIVE, BVI_HFR, CVD2014, LIVE_QUALCOMM, LBVD),
    ),
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
