"""The settings of one extraction, and of what measures the clips, which is a resource of the run."""

from vqa_assets.clips.cap_settings import StatedCaps
from vqa_assets.feature_names import KONVID_V1, NR_V1
from vqa_assets.settings import Many, Settings, setting


class ExtractionSettings(StatedCaps):
    """Settings of one extraction."""

    overwrite: bool = setting(False, "Replace a feature table that this asset did not write.")
    workers: int | None = setting(None, "Clips measured at once.", shown="the cores", ge=1)


class MeasuringSettings(Settings):
    """What is measured of every clip; the resource ``extractor`` has these."""

    feature_sets: Many[str] = setting(
        (KONVID_V1.name, NR_V1.name),
        f"What is measured: {KONVID_V1.name} (libvmaf, saliency, shots), {NR_V1.name} (a clip by itself; alone it "
        "takes about a third of the time), backbone:<id> (vectors of a pretrained network that lies in "
        "<root>/backbones).",
        shown=f"{KONVID_V1.name} and {NR_V1.name}",
    )
    perceptual_hash: bool = setting(
        False, "Also hash five frames of each clip by how they look, and report groups of near duplicates."
    )
    backbone_device: str = setting(
        "auto", "Where backbones run: auto (CUDA where it is there), cpu, or cuda, which is an error where it is not."
    )
    backbone_batch: int = setting(
        0, "Pictures embedded at once, of any clips.", shown="0, by the device's memory", ge=0
    )
