"""YouTube-UGC: about 1 500 user uploads of 20 s, of which videos are withdrawn over the years.

Its bucket holds the originals by category and resolution, and all of them once more as H.264.
"""

from vqa_assets.corpora.corpus import NAME_FILLERS_SCORE, Acquisition, Corpus, Spellings
from vqa_assets.corpora.scales import ACR_1_5

YOUTUBE_UGC = Corpus(
    name="youtube-ugc",
    title="YouTube-UGC",
    version="ugc-2019-orig",
    scales=(ACR_1_5,),
    dmos_is_mos=True,
    spread="sd",
    licence="CC BY",
    redistribution="attribution",
    citation="Wang, Inguva, Adsumilli. YouTube UGC Dataset for Video Compression Research. MMSP 2019.",
    homepage="https://media.withyoutube.com/",
    acquisition=Acquisition(
        file="manifest.csv",
        other_files=("manifest.xlsx", "original_videos_MOS_for_YouTube_UGC_dataset.xlsx"),
        where="https://media.withyoutube.com/",
        steps="Drop original_videos.csv as manifest.csv, or the official workbook as manifest.xlsx; clips without a "
        "URL are fetched from the public bucket, or found as gsutil copies it (original_videos/Gaming/720P/*.mkv, "
        "original_videos_h264/). For transcoded means set corpus_version to ugc-2020-transcoded-mean.",
    ),
    expected_clips=1_500,
    size="2 TB (10 GB at the cap)",
    bytes_per_clip=33_000_000,
    min_rows=200,
    default_cap=300,
    own_spellings=Spellings(clip=("vid",), mos=("mosfull", "mos full"), sd=("stdfull",), count=("x_subjects",)),
    last_spellings=Spellings(mos=("dmos",)),
    headerless=(NAME_FILLERS_SCORE,),
    also_starting=("{clip}_",),
    download_timeout_s=300.0,
    bucket_prefix="https://storage.googleapis.com/ugc-dataset/",
    addresses=(
        "original_videos_h264/{stem}_crf_10_ss_00_t_20.0.mp4",
        "original_videos/{category}/{resolution}P/{stem}.mkv",
        "original_videos/{name}",
        # for a bucket_prefix that leads to the very folder of the clips
        "{name}",
    ),
    name_parts="{category}_{resolution}P-{id}",
    name_ids=("youtube",),
)
