"""The settings of one extraction. What is measured of a clip is the extractor's (``resources``)."""

from vqa_assets.settings import Settings, setting


class ExtractionSettings(Settings):
    """Settings of one extraction."""

    overwrite: bool = setting(False, "Replace a feature table that this asset did not write.")
    workers: int | None = setting(None, "Clips measured at once.", shown="the cores", ge=1)
