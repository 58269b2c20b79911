"""CHUG: 5 992 HDR clips, 856 user-generated contents on a bitrate ladder. Published on 0–100, stored on 1–5."""

from vqa_assets.corpora.corpus import Acquisition, Corpus, ExtraColumn, Spellings
from vqa_assets.corpora.scales import ACR_1_5, CONTINUOUS_0_100

CHUG = Corpus(
    name="chug",
    title="CHUG UGC-HDR",
    version="chug-icip-2025",
    scales=(CONTINUOUS_0_100,),
    stored_scale=ACR_1_5,
    spread="se",
    licence="CC BY-NC and CC BY-NC-SA are both stated: non-commercial, share-alike until clarified",
    redistribution="non-commercial-share-alike",
    citation="Saini, Bovik, Birkbeck, Wang, Adsumilli. CHUG: Crowdsourced User-Generated HDR Video Quality Dataset. "
    "ICIP 2025. https://doi.org/10.1109/ICIP55913.2025.11084488",
    homepage="https://github.com/shreshthsaini/CHUG",
    acquisition=Acquisition(
        file="manifest.csv",
        other_files=("chug.csv",),
        where="https://raw.githubusercontent.com/shreshthsaini/CHUG/master/chug.csv",
        steps="Drop chug.csv as manifest.csv; clips are fetched from the public object store.",
    ),
    expected_clips=5_992,
    size="tens of GB",
    bytes_per_clip=8_000_000,
    min_rows=1_000,
    default_cap=500,
    own_spellings=Spellings(
        clip=("video", "video_id", "id"),
        mos=("mos_j",),
        sd=("sos_j",),
        content=("content_name",),
        reference=("ref",),
    ),
    extra_columns=(
        ExtraColumn(field="chug_video_id", columns=("video", "video_id", "id")),
        ExtraColumn(field="chug_ref", columns=("ref",), number=True, role="rung"),
        ExtraColumn(field="chug_name", columns=("name",)),
        ExtraColumn(field="chug_bitladder", columns=("bitladder",), role="rung"),
        ExtraColumn(field="chug_resolution", columns=("resolution",)),
        ExtraColumn(field="chug_bitrate_label", columns=("bitrate_label", "bitrate"), role="bitrate"),
        ExtraColumn(field="chug_orientation", columns=("orientation",), role="orientation"),
        ExtraColumn(field="chug_framerate_manifest", columns=("framerate",), number=True),
        ExtraColumn(field="chug_content_name", columns=("content_name",), role="content"),
        ExtraColumn(field="chug_height_manifest", columns=("height",), number=True),
        ExtraColumn(field="chug_width_manifest", columns=("width",), number=True),
        ExtraColumn(field="chug_sos_j", columns=("sos_j",), number=True),
    ),
    download_timeout_s=300.0,
    bucket_prefix="https://ugchdrmturk.s3.us-east-2.amazonaws.com/videos/",
)
