"""LIVE-Qualcomm: 208 clips of 54 contents, distorted while they were captured by phones."""

from vqa_assets.corpora.corpus import Acquisition, ContentInName, Corpus
from vqa_assets.corpora.raw_video import RawVideo
from vqa_assets.corpora.scales import CONTINUOUS_0_100

LIVE_QUALCOMM = Corpus(
    name="live-qualcomm",
    title="LIVE-Qualcomm",
    version="live-qualcomm-2016",
    scales=(CONTINUOUS_0_100,),
    spread=None,
    licence="unknown",
    redistribution="unknown",
    citation="Ghadiyaram, Pan, Bovik, Moorthy, Panda, Yang. In-Capture Mobile Video Distortions. IEEE TCSVT 2018.",
    homepage="https://live.ece.utexas.edu/research/incaptureDatabase/index.html",
    acquisition=Acquisition(
        file="manifest.csv",
        other_files=("manifest.mat", "*.mat"),
        where="https://live.ece.utexas.edu/research/incaptureDatabase/index.html",
        steps="Ask for the dataset there, unpack its folders into clips/ and save the names and scores of its MATLAB "
        "file as CSV. Raw clips are 1920×1080, 30 fps, yuv420p unless [raw_video] in ingest.toml says otherwise.",
    ),
    expected_clips=208,
    size="not published",
    bytes_per_clip=1_400_000_000,
    min_rows=150,
    max_rows=300,
    clip_suffix=".yuv",
    contents_in_names=(ContentInName(name="{number}_{content}_{rest}", content="{content}"),),
    raw_video=RawVideo(width=1920, height=1080),
)
