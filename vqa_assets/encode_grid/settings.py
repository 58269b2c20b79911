"""The settings of the encode grid: where its inputs are, how they were encoded, what is written."""

from typing import Annotated

from pydantic import Field

from vqa_assets.settings import Many, SettingPath, Settings, setting

Name = Annotated[str, Field(min_length=1)]
USUAL_MODEL = "vmaf_v0.6.1"
"""libvmaf's own default."""
_OUTPUT = "File to write."
_REPLAY = "Replay manifest to write."


class EncodeLabels(Settings):
    """How every clip of the cache was encoded and scored."""

    encoder: Name = setting("libx264", "bvi-dvc: encoder of all.")
    preset: Name = setting("fast", "bvi-dvc: preset of all.")
    crf: int = setting(35, "bvi-dvc: CRF of all.", ge=0, le=63)
    pix_fmt: Name = setting("yuv420p10le", "bvi-dvc: pixel format of all.")
    vmaf_model: Name | None = setting(
        None, "bvi-dvc: model that scored.", shown=f"the one that the reports name, else {USUAL_MODEL}"
    )


class ReportsSettings(Settings):
    """Where the inputs of the grid are."""

    cache_dir: SettingPath | None = setting(
        None, "bvi-dvc: folder of libvmaf reports.", shown="<root>/encode-grid/bvi-dvc"
    )
    input: SettingPath | None = setting(
        None, "netflix: vmaf-tune's rows.", shown="<root>/encode-grid/netflix_vmaf_tune.jsonl"
    )


class EncodeGridSettings(ReportsSettings, EncodeLabels):
    """Settings of one grid: the labels and ``cache_dir`` are for bvi-dvc, ``input`` is for netflix."""

    output: SettingPath | None = setting(None, _OUTPUT, shown="<root>/encode-grid/<source_>_corpus.jsonl", written=True)
    manifest_out: SettingPath | None = setting(None, _REPLAY, shown="beside the output", written=True)

    @property
    def labels(self) -> EncodeLabels:
        """The settings that say how the clips were encoded."""
        return EncodeLabels(**{name: getattr(self, name) for name in EncodeLabels.model_fields})


class MergeSettings(Settings):
    """Settings of one merge."""

    inputs: Many[SettingPath] = setting(
        (), "Grid JSONL files instead of every one present; of equal encodes the first wins."
    )
    output: SettingPath | None = setting(
        None, _OUTPUT, shown="<root>/encode-grid/fr_v2_train_corpus.jsonl", written=True
    )
    manifest_out: SettingPath | None = setting(None, _REPLAY, shown="beside the output", written=True)
