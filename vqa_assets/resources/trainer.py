"""What trains heads: torch in this process."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

if TYPE_CHECKING:
    from vqa_assets.heads.recipe import TrainingSettings
    from vqa_assets.heads.training import HeadRows, Progress, TrainedHeads, TrainingRows


class TorchTrainerResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """torch on this machine's processor or CUDA device."""

    device: str = Field(default="auto", description="auto (CUDA where there is one), cpu or cuda.")

    def train(
        self,
        data: "TrainingRows",
        heads: "Sequence[HeadRows]",
        settings: "TrainingSettings",
        progress: "Progress",
    ) -> "TrainedHeads":
        """See ``heads.training.Trainer``."""
        from vqa_assets.heads.training import TorchTrainer

        return TorchTrainer(self.device).train(data, heads, settings, progress)
