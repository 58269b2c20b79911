"""What a head must say about the corpora it was trained on, and what their licences mean for the head. Stdlib only."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from vqa_assets.errors import TrainingError

REDISTRIBUTION: Mapping[str, str] = MappingProxyType(
    {
        "attribution": "may be passed on if every corpus is named with its citation",
        "research-only": "is for research use only; every corpus must be cited",
        "non-commercial-share-alike": "is for non-commercial use only, passed on under the same licence or not at all",
        "unknown": "must not be passed on until the corpus's licence is clarified",
    }
)
"""What a corpus's licence lets one do with a head trained on it, from the freest to the strictest."""


@dataclass(frozen=True)
class CorpusFacts:
    """One corpus as a head's manifest and card name it. ``redistribution`` is a key of ``REDISTRIBUTION``.

    ``opinion_scores`` is False for a corpus whose target is a computed score (VMAF): no MOS head is trained on it.
    """

    title: str
    licence: str
    citation: str
    version: str
    redistribution: str
    opinion_scores: bool = True

    def __post_init__(self) -> None:
        if self.redistribution not in REDISTRIBUTION:
            known = ", ".join(REDISTRIBUTION)
            raise TrainingError(f"redistribution of {self.title}", found=repr(self.redistribution), expected=known)


UNDECLARED = CorpusFacts(
    title="(not declared)",
    licence="not declared",
    citation="not declared",
    version="not declared",
    redistribution="unknown",
)
"""What stands for a corpus that has a table and no declaration."""


def strictest(words: Iterable[str]) -> str:
    """The strictest of these ``REDISTRIBUTION`` words; ``unknown`` of none."""
    order = list(REDISTRIBUTION)
    return max(words, key=order.index, default="unknown")
