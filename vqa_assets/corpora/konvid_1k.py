"""KonViD-1k: 1 200 clips in the wild at 960×540, from Flickr, each with 50 crowd ratings or more."""

from vqa_assets.corpora.corpus import NAME_FILLERS_SCORE, Acquisition, Archive, Corpus, Spellings
from vqa_assets.corpora.scales import ACR_1_5

KONVID_1K = Corpus(
    name="konvid-1k",
    title="KonViD-1k",
    version="konvid-1k-2017",
    scales=(ACR_1_5,),
    spread="sd",
    licence="research use, citation required",
    redistribution="research-only",
    citation="Hosu, Hahn, Jenadeleh, Lin, Men, Szirányi, Li, Saupe. The Konstanz natural video database (KoNViD-1k). "
    "QoMEX 2017.",
    homepage="https://database.mmsp-kn.de/konvid-1k-database.html",
    acquisition=Acquisition(
        file="KoNViD_1k_metadata/KoNViD_1k_attributes.csv",
        other_files=(
            *("metadata/KoNViD_1k_attributes.csv", "manifest.csv"),
            *("KoNViD_1k_metadata/**/KoNViD_1k_attributes.csv", "KoNViD_1k_metadata/**/*mos*.csv"),
            *("KoNViD_1k_metadata/**/*.csv", "metadata/**/*mos*.csv", "metadata/**/*.csv", "*mos*.csv"),
        ),
        where="https://database.mmsp-kn.de/konvid-1k-database.html",
        steps="Set fetch: true once, and both archives are downloaded and unpacked; or unpack KoNViD_1k_videos.zip and "
        "KoNViD_1k_metadata.zip into the corpus's folder by hand.",
    ),
    expected_clips=1_200,
    size="2.3 GB",
    bytes_per_clip=2_000_000,
    min_rows=1,
    max_rows=1_500,
    lookalike="KonViD-150k's score files have 1 500 rows and more, and belong to konvid-150k",
    own_spellings=Spellings(clip=("file_name", "flickr_id")),
    headerless=(NAME_FILLERS_SCORE,),
    also_named=("{flickr_id}.mp4", "{leading_number}.mp4"),
    also_starting=("{leading_number}_original", "{leading_number} "),
    clip_folders=("KoNViD_1k_videos", "videos"),
    archives=(
        Archive(file="KoNViD_1k_videos.zip", folder="KoNViD_1k_videos", min_bytes=2_000_000_000),
        Archive(file="KoNViD_1k_metadata.zip", folder="KoNViD_1k_metadata", min_bytes=1),
    ),
    archive_base="https://datasets.vqa.mmsp-kn.de/archives/",
    name_ids=("flickr",),
)
