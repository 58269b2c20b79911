"""LIVE-Meta-Gaming: 600 clips of mobile cloud games, 30 contents at several sizes and rates."""

from vqa_assets.corpora.corpus import Acquisition, Corpus, Spellings
from vqa_assets.corpora.scales import ACR_1_5, CONTINUOUS_0_100

LIVE_META_GAMING = Corpus(
    name="live-meta-gaming",
    title="LIVE-Meta Mobile Cloud Gaming",
    version="live-meta-gaming-2023",
    scales=(ACR_1_5, CONTINUOUS_0_100),
    spread="sd",
    licence="unknown",
    redistribution="unknown",
    citation="Saha, Chen, Davis, Qiu, Wang, Gowda, Katsavounidis, Bovik. Study of Subjective and Objective Quality "
    "Assessment of Mobile Cloud Gaming Videos. IEEE TIP 2023.",
    homepage="https://live.ece.utexas.edu/research/LIVE-Meta-Mobile-Cloud-Gaming/index.html",
    acquisition=Acquisition(
        file="manifest.csv",
        where="https://live.ece.utexas.edu/research/LIVE-Meta-Mobile-Cloud-Gaming/index.html",
        steps="Ask for the dataset there, unpack its clips into clips/ and drop its metadata as manifest.csv.",
    ),
    expected_clips=600,
    size="not published",
    bytes_per_clip=20_000_000,
    min_rows=500,
    max_rows=700,
    own_spellings=Spellings(sd=("mos-std",), content=("content",)),
)
