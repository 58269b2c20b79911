"""ETRI-LIVE STSVQ: 437 clips, 15 contents subsampled in space and time and compressed."""

from vqa_assets.corpora.corpus import Acquisition, ContentInName, Corpus, Spellings
from vqa_assets.corpora.scales import ACR_1_5, CONTINUOUS_0_100

ETRI_LIVE = Corpus(
    name="etri-live",
    title="ETRI-LIVE STSVQ",
    version="etri-live-2021",
    scales=(ACR_1_5, CONTINUOUS_0_100),
    spread="sd",
    licence="unknown",
    redistribution="unknown",
    citation="Lee, Paul, Bampis et al. A Subjective and Objective Study of Space-Time Subsampled Video Quality. 2022.",
    homepage="https://live.ece.utexas.edu/research/ETRI-LIVE_STSVQ/index.html",
    acquisition=Acquisition(
        file="manifest.csv",
        other_files=("ETRI-LIVE_MOS.csv",),
        where="https://live.ece.utexas.edu/research/ETRI-LIVE_STSVQ/index.html",
        steps="Ask for the dataset there, unpack its clips into clips/ and drop ETRI-LIVE_MOS.csv (not its DMOS).",
    ),
    expected_clips=437,
    size="250 GB",
    bytes_per_clip=500_000_000,
    min_rows=400,
    max_rows=500,
    own_spellings=Spellings(clip=("videoname",), sd=("std",)),
    contents_in_names=(ContentInName(name="{content}_{size}_{rate}_q_{q}", content="{content}"),),
)
