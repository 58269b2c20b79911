"""What a trainer is: rows and heads to train go in, plain weights come out. Torch is imported only when training.

The loop itself is in ``lanes``; which rows train which head is in ``splitting``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from vqa_assets.errors import TrainingError
from vqa_assets.heads.method import SHIPPED

if TYPE_CHECKING:
    from vqa_assets.heads.recipe import TrainingSettings
    from vqa_assets.heads.weights import F32, I64, HeadWeights

Progress = Callable[[int, int, float], None]
"""(epochs done, epochs in all, RMSE of all members on the rows they stop by, on 1–5)."""


_ROWS_AT_ONCE = 300_000
"""Rows that all members together read in a step: some 80 MB in each of the half a dozen arrays of a step."""
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "status_alloc_failed")
"""CUDA's and the processor's words, and those of cuBLAS and cuDNN (``CUBLAS_STATUS_ALLOC_FAILED``)."""


@dataclass(frozen=True)
class TrainingRows:
    """All rows that heads are trained on: ``features`` (N, F), ``onehot`` (N, V), ``mos`` (N,) on 1–5, N groups.

    ``weights`` (N,) say how much a row counts in the loss; None: all alike.
    """

    features: F32
    onehot: F32
    mos: F32
    groups: tuple[str, ...]
    weights: F32 | None = None


@dataclass(frozen=True)
class HeadRows:
    """One head to train: its name, which seeds it, and the row numbers it may read."""

    name: str
    rows: I64


@dataclass(frozen=True)
class TrainedHeads:
    """The heads in the order they were asked for, and the device that trained them."""

    heads: tuple[HeadWeights, ...]
    device: str


class Trainer(Protocol):
    """Trains several heads at once."""

    def train(
        self, data: TrainingRows, heads: Sequence[HeadRows], settings: TrainingSettings, progress: Progress
    ) -> TrainedHeads:
        """Weights per head. The same data, heads, seed and device give the same bytes.

        A head does not depend on which others are trained beside it. TrainingError on rows it cannot learn from.
        """
        ...


class TorchTrainer:
    """Trains with torch: all heads and members together on one device, in lots where they are very many.

    ``device`` is ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:<n>``; a run's own wins over it.
    """

    def __init__(self, device: str = "auto") -> None:
        self.device = device

    def train(
        self, data: TrainingRows, heads: Sequence[HeadRows], settings: TrainingSettings, progress: Progress
    ) -> TrainedHeads:
        """As ``Trainer.train``; TrainingError where the device is not there."""
        from vqa_assets.heads import lanes

        device = lanes.device_named(self.device if settings.device == "auto" else settings.device)
        lots = _lots(heads, settings)
        try:
            told = [_of_all(progress, number, len(lots)) for number in range(len(lots))]
            done = [lanes.train(data, lot, settings, (device, of)) for lot, of in zip(lots, told, strict=True)]
        except (MemoryError, RuntimeError) as error:
            if not _is_of_memory(error):
                raise
            raise _out_of_memory(str(device), max(lots, key=len), settings) from error
        return TrainedHeads(tuple(head for lot in done for head in lot.heads), done[0].device)


def _lots(heads: Sequence[HeadRows], settings: TrainingSettings) -> list[Sequence[HeadRows]]:
    """The heads in lots whose batches together stay below ``_ROWS_AT_ONCE``; one empty lot for no heads."""
    batch = max((min(len(head.rows), settings.batch_rows(len(head.rows))) for head in heads), default=1)
    size = max(1, _ROWS_AT_ONCE // max(1, batch * SHIPPED.members))
    return [heads[first : first + size] for first in range(0, max(1, len(heads)), size)]


def _of_all(progress: Progress, lot: int, lots: int) -> Progress:
    """Progress over all lots, in whole epochs, of one of them."""

    def told(done: int, epochs: int, rmse: float) -> None:
        if (lot * epochs + done) // lots:
            progress((lot * epochs + done) // lots, epochs, rmse)

    return told


def _is_of_memory(error: Exception) -> bool:
    """Whether torch or numpy ran out of memory; on the processor torch raises no type of its own for it."""
    told = str(error).lower()
    return isinstance(error, MemoryError) or any(words in told for words in _OUT_OF_MEMORY)


def _out_of_memory(device: str, heads: Sequence[HeadRows], settings: TrainingSettings) -> TrainingError:
    batch = max((settings.batch_rows(len(head.rows)) for head in heads), default=1)
    return TrainingError(
        f"out of memory while training on {device}",
        found=f"batch_size {batch}, {len(heads)} heads at once",
        expected="a batch that fits",
        next_step=f"set batch_size to {max(1, batch // 2)} or less, or another device",
    )
