"""LIVE-YT-Gaming: 600 clips of streamed games, uploaded by users."""

from vqa_assets.corpora.corpus import Acquisition, Corpus
from vqa_assets.corpora.scales import ACR_1_5, CONTINUOUS_0_100

LIVE_YT_GAMING = Corpus(
    name="live-yt-gaming",
    title="LIVE-YT-Gaming",
    version="live-yt-gaming-2021",
    scales=(ACR_1_5, CONTINUOUS_0_100),
    spread=None,
    licence="unknown",
    redistribution="unknown",
    citation="Yu, Ying, Birkbeck et al. Subjective and Objective Analysis of Streamed Gaming Videos. IEEE ToG 2023.",
    homepage="https://live.ece.utexas.edu/research/LIVE-YT-Gaming/index.html",
    acquisition=Acquisition(
        file="manifest.mat",
        other_files=("manifest.csv", "*.mat"),
        where="https://live.ece.utexas.edu/research/LIVE-YT-Gaming/index.html",
        steps="Ask for the dataset there, unpack its clips into clips/ (or mp4/) and drop its .mat file of names and "
        "scores, or a CSV as manifest.csv.",
    ),
    expected_clips=600,
    size="not published",
    bytes_per_clip=20_000_000,
    min_rows=500,
    max_rows=700,
    clip_folders=("mp4",),
)
