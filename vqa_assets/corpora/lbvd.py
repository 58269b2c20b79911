"""LBVD: 1 013 clips of live broadcasts, with the impairments of live streaming."""

from vqa_assets.corpora.corpus import Acquisition, Corpus
from vqa_assets.corpora.scales import ACR_1_5, CONTINUOUS_0_100

LBVD = Corpus(
    name="lbvd",
    title="LBVD",
    version="lbvd-2019",
    scales=(ACR_1_5, CONTINUOUS_0_100),
    spread=None,
    licence="unknown",
    redistribution="unknown",
    citation="Chen, Li, Huang, Tan, Chen. QoE Evaluation for Live Broadcasting Video. ICIP 2019.",
    homepage="https://2019.ieeeicip.org/",
    acquisition=Acquisition(
        file="manifest.mat",
        other_files=("manifest.csv", "*.mat"),
        where="https://2019.ieeeicip.org/",
        steps="Ask its authors for it, put its clips into clips/ and drop its .mat file of names and scores, or a CSV.",
    ),
    expected_clips=1_013,
    size="not published",
    bytes_per_clip=5_000_000,
    min_rows=900,
    max_rows=1_200,
)
