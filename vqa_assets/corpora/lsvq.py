"""LSVQ: about 39 000 social-media clips. Published on 1–5 by the paper, on 0–100 in the files its authors give out."""

from vqa_assets.corpora.corpus import NAME_FILLERS_SCORE, Acquisition, Corpus, ScorePart, Spellings
from vqa_assets.corpora.scales import ACR_1_5, CONTINUOUS_0_100

LSVQ = Corpus(
    name="lsvq",
    title="LSVQ",
    version="lsvq-2021",
    scales=(ACR_1_5, CONTINUOUS_0_100),
    spread="sd",
    licence="its authors' own notice: any purpose, with the whole notice in every copy and the source acknowledged",
    redistribution="attribution",
    citation="Ying, Mandal, Ghadiyaram, Bovik. Patch-VQ: 'Patching Up' the Video Quality Problem. CVPR 2021.",
    homepage="https://github.com/baidut/PatchVQ",
    acquisition=Acquisition(
        file="manifest.csv",
        where="https://github.com/baidut/PatchVQ",
        steps="Drop the authors' labels_train_test.csv and labels_test_1080p.csv, or LSVQ_whole_train.csv, "
        "LSVQ_whole_test.csv and LSVQ_whole_test_1080p.csv as they are passed on, under their own names, with the "
        "clips in clips/ unless there is a URL column: together they are the annotation file, and rows carry their "
        "official split. A column split or is_test counts before a file's name. Or drop any of them as manifest.csv; "
        "beside it files that tell test clips by their name or is_test only mark them.",
    ),
    expected_clips=39_000,
    size="500 GB (5 GB at the cap)",
    bytes_per_clip=10_000_000,
    min_rows=1_000,
    default_cap=500,
    own_spellings=Spellings(split=("split",), is_test=("is_test",)),
    headerless=(NAME_FILLERS_SCORE,),
    parts=(
        # The authors' own files first: of a clip that stands in several, the first says the split.
        ScorePart(file="labels_train_test.csv", field="split"),
        ScorePart(file="labels_test_1080p.csv", field="split", value="test"),
        ScorePart(file="LSVQ_whole_train.csv", field="split", value="train"),
        ScorePart(file="LSVQ_whole_test.csv", field="split", value="test"),
        ScorePart(file="LSVQ_whole_test_1080p.csv", field="split", value="test"),
    ),
    name_ids=("youtube",),
)
