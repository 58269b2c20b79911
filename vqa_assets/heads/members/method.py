"""What a training is, as plain data: rows and heads go in, a method says how, heads come out.

Whatever asks for a training, or hands one on to another process, speaks in these terms and needs no torch. The training
itself is in ``training``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from vqa_assets.corpora.contents import ENOUGH_CONTENTS, LEAST_TO_CHOOSE

if TYPE_CHECKING:
    from vqa_assets.heads.members.weights import F32, I64, HeadWeights
    from vqa_assets.heads.settings import TrainingSettings

EPOCHS, RIDGE_MEMBERS = "epochs", "ridge members"


class TrainingProgress(Protocol):
    """Hears how far a training is."""

    def __call__(self, done: int, total: int, rmse: float, what: str = EPOCHS, /) -> None:
        """``done`` of ``total`` epochs of all networks, with their RMSE (1–5) on the rows they stop by; where ``what``
        says so, of the ridge members of all heads, which have none (NaN)."""
        ...


@dataclass(frozen=True)
class Method:
    """How a head's members are made.

    The contents are cut into ``parts`` parts, and network i of ``members`` stops by part i: five networks of five parts
    see every row. Of few contents each is a part of its own; of two, and without ``early_stopping``, all rows train
    every network, to the last epoch. A linear skip begins at a ridge regression, at zero, or (``mixed``) at one and the
    other by turns. ``mse+plcc`` adds 1 − PLCC of the batch, ``mse+rank`` a logistic loss of pairs in the wrong order.
    ``quantiles`` are the second view of the map, ``ridge`` the member on random features beside the networks.
    """

    members: int = 5
    parts: int = 5
    start: Literal["ridge", "zero", "mixed"] = "ridge"
    dropout: float = 0.1
    loss: Literal["mse", "mse+plcc", "mse+rank"] = "mse"
    early_stopping: bool = True
    quantiles: bool = True
    ridge: bool = True

    def parts_of(self, contents: int) -> int:
        """How many parts so many contents are cut into: each is one where they are few, all are one under three."""
        if contents < LEAST_TO_CHOOSE:
            return 1
        return contents if contents < ENOUGH_CONTENTS else self.parts

    def chooses_by(self, contents: int) -> str:
        """What networks stop by, and gain and penalty are chosen by, in words."""
        parts = self.parts_of(contents)
        if parts == 1:
            return "nothing, of so few contents: gain 1, the middle penalty, all epochs"
        return f"{parts} parts of the contents" if parts < contents else f"{contents} contents one by one"


SHIPPED = Method()
"""What every head is trained with; others exist to be compared with it (``benchmarks/head_architecture``)."""


@dataclass(frozen=True)
class TrainingRows:
    """All rows that heads are trained on: ``features`` (N, F), ``onehot`` (N, V), ``mos`` (N,) on 1–5, N groups.

    ``weights`` (N,) say how much a row counts in the loss; None: all alike. With ``corpora`` (N,), the
    numbers of the rows' corpora, heads learn a map to each one's scores, and give those of the lowest number that they
    are trained on. None: all scores are on one scale.
    """

    features: F32
    onehot: F32
    mos: F32
    groups: tuple[str, ...]
    weights: F32 | None = None
    corpora: I64 | None = None


@dataclass(frozen=True)
class HeadRows:
    """One head to train: its name, which seeds it, and the row numbers it may read.

    ``mos`` (n,) is what it learns of them, on 1–5; None: as ``TrainingRows.mos`` says.
    ``weights`` (n,) say how much each of these counts for this head; None: as ``TrainingRows.weights`` do.
    """

    name: str
    rows: I64
    mos: F32 | None = None
    weights: F32 | None = None


@dataclass(frozen=True)
class TrainedHeads:
    """The heads in the order they were asked for, and the device that trained them."""

    heads: tuple[HeadWeights, ...]
    device: str


class Trainer(Protocol):
    """Trains several heads at once."""

    def train(
        self, data: TrainingRows, heads: Sequence[HeadRows], settings: TrainingSettings, progress: TrainingProgress
    ) -> TrainedHeads:
        """Weights per head. The same data, heads, seed and device give the same bytes.

        A head does not depend on which others are trained beside it. TrainingError on rows it cannot learn from.
        """
        ...
