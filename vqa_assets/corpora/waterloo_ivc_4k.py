"""Waterloo IVC 4K: 1 200 encodes of 20 contents by five encoders, decoded to raw 3840×2160 video."""

from vqa_assets.corpora.corpus import Acquisition, ContentInName, Corpus, RenamedColumn, Spellings
from vqa_assets.corpora.raw_video import RawVideo
from vqa_assets.corpora.scales import CONTINUOUS_0_100

WATERLOO_IVC_4K = Corpus(
    name="waterloo-ivc-4k",
    title="Waterloo IVC 4K",
    version="waterloo-ivc-4k-201908",
    scales=(CONTINUOUS_0_100,),
    spread="sd",
    licence="permissive academic, attribution",
    redistribution="attribution",
    citation="Li, Duanmu, Liu, Wang. 4K-VQA: A 4K Video Quality Assessment Database. ICIAR 2019.",
    homepage="https://ivc.uwaterloo.ca/database/4KVQA.html",
    acquisition=Acquisition(
        file="manifest.csv",
        other_files=("scores.txt",),
        where="https://ivc.uwaterloo.ca/database/4KVQA.html",
        steps="Unpack the archives into clips/ and drop scores.txt as manifest.csv. Raw .yuv clips are taken for "
        "3840×2160, 30 fps, yuv420p unless [raw_video] in ingest.toml says otherwise.",
    ),
    expected_clips=1_200,
    size="multi-TB",
    bytes_per_clip=3_700_000_000,
    min_rows=100,
    default_cap=100,
    own_spellings=Spellings(codec=("encoder",)),
    headerless=(("encoder", "video", "resolution", "distortion", "mos"),),
    # the header of another release, which also says where a clip lies
    renamed_columns=(
        RenamedColumn(column="video number", name="video"),
        RenamedColumn(column="distortion level", name="distortion"),
    ),
    also_named=("{path}",),
    clip_name="{encoder}_{video}_{resolution}_{distortion}.yuv",
    # the number of the video alone would be any corpus's first, second … content
    contents_in_names=(
        ContentInName(name="{encoder}_{video}_{resolution}_{distortion}.{suffix}", content="waterloo-ivc-4k-{video}"),
    ),
    codecs=("h264", "hevc", "vp9", "avs2", "av1"),
    clip_suffix=".yuv",
    raw_video=RawVideo(),
)
