"""The settings of a training run as the launchpad shows them. What they mean is in ``heads/recipe``."""

from typing import Any

from pydantic import Field

from vqa_assets.assets.told_config import ToldConfig
from vqa_assets.heads.recipe import TrainingSettings

_DEFAULT = TrainingSettings()
_LISTS = ("columns", "exclude_corpora", "allow_missing_features")


class TrainingConfig(ToldConfig):
    """What every training run may decide."""

    epochs: int = Field(default=_DEFAULT.epochs, ge=1, description="Passes over the rows, at most. Default: 30.")
    lr: float = Field(default=_DEFAULT.lr, gt=0, lt=1, description="Learning rate. Default: 0.001.")
    weight_decay: float = Field(
        default=_DEFAULT.weight_decay, ge=0, lt=1, description="Pull of the weights towards zero. Default: 0.00001."
    )
    batch_size: int | None = Field(
        default=None, ge=1, description="Rows a step. Default: 64 up to 5 000 rows, 2 048 above."
    )
    k_folds: int = Field(default=_DEFAULT.k_folds, ge=2, description="Content-wise folds. Default: 5.")
    seed: int = Field(default=_DEFAULT.seed, ge=0, description="Decides folds, members and steps. Default: 20260508.")
    device: str = Field(default=_DEFAULT.device, description="auto, cpu or cuda. Default: auto.")
    feature_schema: str | None = Field(default=None, description="Columns by schema. Default: the recipe's.")
    columns: list[str] = Field(default=[], description="Any named columns instead of a schema. Default: none.")
    tables: dict[str, str] = Field(default={}, description="Corpus → labelled table, instead of the recipe's.")
    extra_tables: dict[str, str] = Field(default={}, description="Corpus → labelled table, beside the recipe's.")
    corpus_weights: dict[str, float] = Field(
        default={}, description="Corpus → how much one of its rows counts in training. Default: 1 each."
    )
    exclude_corpora: list[str] = Field(default=[], description="Corpora of the recipe to leave out.")
    allow_missing_features: list[str] = Field(
        default=[], description="Columns that may be absent, missing or constant; they are filled and listed."
    )

    def settings(self) -> TrainingSettings:
        """The training settings; SettingsError on values that mean nothing."""
        values: dict[str, Any] = self.model_dump()
        return TrainingSettings(**{**values, **{name: tuple(values[name]) for name in _LISTS}})


class HeadConfig(TrainingConfig):
    """What a run that makes a head may decide beside it."""

    protocol_splits: int = Field(
        default=_DEFAULT.protocol_splits,
        ge=0,
        le=1_000,
        description="Repetitions of the field's protocol (80/20 by content) beside the gate, each one head more to "
        "train; 0 leaves it out. Default: 10.",
    )
    display_profile_json: str | None = Field(
        default=None, description="A display's JSON, for heads that read a display. Default: none."
    )
    smoke: bool = Field(
        default=False, description="Train on seeded synthetic rows into <head>.smoke.onnx. Default: false."
    )
    allow_synthetic_fallback: bool = Field(
        default=False,
        description="Without a labelled row, train on synthetic ones into <head>.synthetic.onnx. Default: false.",
    )
    export: bool = Field(default=True, description="Write the ONNX file. Default: true.")
