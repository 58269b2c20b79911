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
        steps="Drop LSVQ_whole_train.csv as manifest.csv, with the clips in clips/ unless it has a URL column. Or drop "
        "LSVQ_whole_train.csv, LSVQ_whole_test.csv and LSVQ_whole_test_1080p.csv under their own names: together they "
        "are the annotation file, and rows carry their official split. Beside a manifest.csv the two test files only "
        "mark their clips as the test split.",
    ),
    expected_clips=39_000,
    size="500 GB (5 GB at the cap)",
    bytes_per_clip=10_000_000,
    min_rows=1_000,
    default_cap=500,
    own_spellings=Spellings(split=("split",)),
    headerless=(NAME_FILLERS_SCORE,),
    parts=(
        ScorePart(file="LSVQ_whole_train.csv", field="split", value="train"),
        ScorePart(file="LSVQ_whole_test.csv", field="split", value="test"),
        ScorePart(file="LSVQ_whole_test_1080p.csv", field="split", value="test"),
    ),
    name_ids=("youtube",),
)
