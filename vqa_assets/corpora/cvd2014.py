"""CVD2014: 234 clips, five scenes taken by 78 cameras in six tests, whose realigned scores go below 0."""

from vqa_assets.corpora.corpus import Acquisition, ContentInName, Corpus, Spellings
from vqa_assets.corpora.scales import MosScale

CVD2014 = Corpus(
    name="cvd2014",
    title="CVD2014",
    version="cvd2014-realignment",
    scales=(MosScale("cvd2014", -10.0, 100.0),),
    spread=None,
    licence="unknown",
    redistribution="unknown",
    citation="Nuutinen, Virtanen, Vaahteranoksa, Vuori, Oittinen, Häkkinen. CVD2014. IEEE TIP 2016.",
    homepage="https://zenodo.org/records/2646315",
    acquisition=Acquisition(
        file="manifest.csv",
        other_files=("Realignment_MOS.csv", "CVD2014_Realignment_MOS.csv"),
        where="https://zenodo.org/records/2646315",
        steps="Drop Realignment_MOS.csv, and the clips into clips/ or folders below it.",
    ),
    expected_clips=234,
    size="not published",
    bytes_per_clip=400_000_000,
    min_rows=200,
    max_rows=300,
    own_spellings=Spellings(mos=("realignment mos",)),
    last_spellings=Spellings(mos=("original mos",)),  # of its own test alone: comparable only where it was realigned
    clip_suffix=".avi",
    contents_in_names=(ContentInName(name="{test}_{scene}_{camera}", content="{test}_{scene}"),),
)
