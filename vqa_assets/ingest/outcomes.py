"""What became of every clip of a run, by name, in little memory: of a million clips nearly all are read, and no more.

What an outcome says is in ``clip_task``.
"""

from collections.abc import Iterator, Mapping, MutableMapping
from itertools import chain

from vqa_assets.ingest.cache import PackedClips
from vqa_assets.ingest.clip_task import ClipOutcome, ClipState


class Outcomes(MutableMapping[str, ClipOutcome]):
    """Clip name → ``ClipOutcome``. One of a clip that was read keeps the clip alone: what it took is counted by then.

    Only of a clip that came from one of several sources it says which, for the row goes by that name.
    """

    def __init__(self, outcomes: Mapping[str, ClipOutcome] | None = None) -> None:
        self._read = PackedClips()
        self._others: dict[str, ClipOutcome] = {}
        self.update(outcomes or {})

    def __setitem__(self, name: str, outcome: ClipOutcome) -> None:
        if outcome.state is ClipState.READ and outcome.clip is not None and outcome.source is None:
            self._others.pop(name, None)
            self._read[name] = outcome.clip
        else:
            self._read.pop(name, None)
            self._others[name] = outcome

    def __getitem__(self, name: str) -> ClipOutcome:
        other = self._others.get(name)
        return ClipOutcome(ClipState.READ, self._read[name]) if other is None else other

    def __delitem__(self, name: str) -> None:
        if self._others.pop(name, None) is None:
            del self._read[name]

    def __contains__(self, name: object) -> bool:
        return name in self._others or name in self._read

    def __iter__(self) -> Iterator[str]:
        return chain(self._read, self._others)

    def __len__(self) -> int:
        return len(self._read) + len(self._others)
