"""What a head must say about the corpora it was trained on, and what their licences mean for the head. Stdlib only."""

from dataclasses import dataclass

from vqa_assets.corpora.corpus import REDISTRIBUTION
from vqa_assets.errors import TrainingError


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
