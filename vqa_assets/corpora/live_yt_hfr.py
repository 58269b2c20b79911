"""LIVE-YT-HFR: 480 clips, 16 contents at six frame rates and five rates of compression."""

from vqa_assets.corpora.corpus import Acquisition, ContentInName, Corpus, Spellings
from vqa_assets.corpora.scales import ACR_1_5, CONTINUOUS_0_100

LIVE_YT_HFR = Corpus(
    name="live-yt-hfr",
    title="LIVE-YT-HFR",
    version="live-yt-hfr-2020",
    scales=(ACR_1_5, CONTINUOUS_0_100),
    spread="sd",
    licence="unknown",
    redistribution="unknown",
    citation="Madhusudana et al. Subjective and Objective Quality Assessment of High Frame Rate Videos. Access 2021.",
    homepage="https://live.ece.utexas.edu/research/LIVE_YT_HFR/LIVE_YT_HFR/index.html",
    acquisition=Acquisition(
        file="manifest.csv",
        other_files=("subject_MOS.csv",),
        where="https://live.ece.utexas.edu/research/LIVE_YT_HFR/LIVE_YT_HFR/index.html",
        steps="Ask for the dataset there, unpack its clips into clips/ and drop subject_MOS.csv.",
    ),
    expected_clips=480,
    size="250 GB",
    bytes_per_clip=500_000_000,
    min_rows=400,
    max_rows=600,
    own_spellings=Spellings(clip=("file names",), sd=("std",)),
    clip_suffix=".webm",
    contents_in_names=(ContentInName(name="{content}_crf_{crf}_{rate}", content="{content}"),),
)
