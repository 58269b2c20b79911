"""LIVE-VQC: 585 clips from 101 devices, with 205 crowd ratings each on average."""

from vqa_assets.corpora.corpus import NAME_AND_SCORE, NAME_FILLERS_SCORE, Acquisition, Corpus, Spellings
from vqa_assets.corpora.scales import CONTINUOUS_0_100

LIVE_VQC = Corpus(
    name="live-vqc",
    title="LIVE-VQC",
    version="live-vqc-2019",
    scales=(CONTINUOUS_0_100,),
    spread="sd",
    licence="research use, attribution",
    redistribution="research-only",
    citation="Sinno, Bovik. Large-Scale Study of Perceptual Video Quality. IEEE TIP 2019.",
    homepage="https://live.ece.utexas.edu/research/LIVEVQC/",
    acquisition=Acquisition(
        file="manifest.csv",
        where="https://live.ece.utexas.edu/research/LIVEVQC/",
        steps="Ask for the dataset there, unpack its clips into clips/ (or Video/) and drop the scores as "
        "manifest.csv, with a header or as bare lines of file name and score.",
    ),
    expected_clips=585,
    size="a few GB",
    bytes_per_clip=6_000_000,
    min_rows=50,
    default_cap=200,
    own_spellings=Spellings(clip=("file",)),
    headerless=(NAME_AND_SCORE, NAME_FILLERS_SCORE),
    clip_folders=("Video",),
)
