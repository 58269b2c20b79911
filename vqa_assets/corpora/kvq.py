"""KVQ: 4 200 short-form clips, 600 uploads from Kwai in seven versions each."""

from vqa_assets.corpora.corpus import Acquisition, ContentInName, Corpus, ScorePart, Spellings
from vqa_assets.corpora.scales import ACR_1_5, CONTINUOUS_0_100

KVQ = Corpus(
    name="kvq",
    title="KVQ",
    version="kvq-2024",
    scales=(ACR_1_5, CONTINUOUS_0_100),
    spread=None,
    licence="unknown",
    redistribution="unknown",
    citation="Lu, Li, Pei et al. KVQ: Kwai Video Quality Assessment for Short-form Videos. CVPR 2024.",
    homepage="https://lixinustc.github.io/projects/KVQ/",
    acquisition=Acquisition(
        file="manifest.csv",
        where="https://lixinustc.github.io/projects/KVQ/",
        steps="Drop train_data.csv, val_data.csv and test_data.csv (rows carry that split), and the clips into clips/.",
    ),
    expected_clips=4_200,
    size="not published",
    bytes_per_clip=5_000_000,
    min_rows=400,
    max_rows=4_500,
    own_spellings=Spellings(mos=("score",)),
    parts=tuple(ScorePart(file=f"{s}_data.csv", field="split", value=s) for s in ("train", "val", "test")),
    contents_in_names=(ContentInName(name="{part}/{number}.{suffix}", content="{part}/{number}", numbers=7),),
)
