"""BVI-HFR: 88 clips, 22 contents at four frame rates from 15 to 120."""

from vqa_assets.corpora.corpus import Acquisition, ContentInName, Corpus
from vqa_assets.corpora.scales import ACR_1_5, CONTINUOUS_0_100

BVI_HFR = Corpus(
    name="bvi-hfr",
    title="BVI-HFR",
    version="bvi-hfr-2018",
    scales=(ACR_1_5, CONTINUOUS_0_100),
    spread=None,
    licence="unknown",
    redistribution="unknown",
    citation="Mackin, Zhang, Bull. A Study of High Frame Rate Video Formats. IEEE Transactions on Multimedia 2019.",
    homepage="https://fan-aaron-zhang.github.io/BVI-HFR/",
    acquisition=Acquisition(
        file="manifest.csv",
        other_files=("BVI-HFR-MOS.csv",),
        where="https://fan-aaron-zhang.github.io/BVI-HFR/",
        steps="Drop BVI-HFR-MOS.csv, and the clips into clips/. They are raw video at four frame rates, which one "
        "[raw_video] cannot say: put each into a container, losslessly, with its rate.",
    ),
    expected_clips=88,
    size="50–90 GB",
    bytes_per_clip=1_000_000_000,
    min_rows=80,
    max_rows=150,
    also_named=("{clip}-360-1920x1080.mp4", "{clip}-360-1920x1080.mkv"),
    contents_in_names=(ContentInName(name="{content}-{rate}fps{rest}", content="{content}"),),
)
