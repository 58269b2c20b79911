"""How a head's members are made: their number, start, dropout, loss and early stopping. Stdlib only.

``SHIPPED`` is what every head is trained with; other values exist to be compared with it
(``benchmarks/head_architecture``).
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Method:
    """One way to train a head.

    The contents are cut into ``parts`` parts, and member i stops by part i: five members of five parts see every row.
    Without ``early_stopping`` all rows train every member, to the last epoch. A linear skip begins at a ridge
    regression, at zero, or (``mixed``) at one and the other by turns. ``mse+plcc`` adds 1 − PLCC of the batch,
    ``mse+rank`` a logistic loss of pairs in the wrong order.
    """

    members: int = 5
    parts: int = 5
    start: Literal["ridge", "zero", "mixed"] = "ridge"
    dropout: float = 0.1
    loss: Literal["mse", "mse+plcc", "mse+rank"] = "mse"
    early_stopping: bool = True


SHIPPED = Method()
