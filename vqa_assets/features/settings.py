"""The settings of one extraction. What is measured of a clip is the extractor's (``resources``)."""

from vqa_assets.clips.caps import LEAST_BUDGET_BYTES
from vqa_assets.settings import Settings, setting

_OF_INGEST = "as ingest.toml says, else as for ingest"


class ExtractionSettings(Settings):
    """Settings of one extraction."""

    overwrite: bool = setting(False, "Replace a feature table that this asset did not write.")
    workers: int | None = setting(None, "Clips measured at once.", shown="the cores", ge=1)
    max_pixels: int | None = setting(
        None, "Pixels of a picture above which a clip is not decoded.", shown=_OF_INGEST, ge=1
    )
    max_duration_s: float | None = setting(None, "Seconds above which a clip is not decoded.", shown=_OF_INGEST, gt=0)
    max_frames: int | None = setting(None, "Frames above which a clip is not decoded.", shown=_OF_INGEST, ge=1)
    memory_budget: int | None = setting(
        None, "Bytes of memory that measuring clips may take.", shown=_OF_INGEST, ge=LEAST_BUDGET_BYTES
    )
