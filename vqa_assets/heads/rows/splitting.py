"""Which rows train which head, and which judge it: hold-out, folds by content, and splits that corpora bring along.

How groups are drawn is in ``corpora.contents``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vqa_assets.corpora.contents import (
    ENOUGH_CONTENTS,
    LEAST_CONTENTS,
    assign_folds,
    balanced_folds,
    check_contents,
    check_split_words,
    holdout,
)
from vqa_assets.errors import TrainingError
from vqa_assets.heads.members.weights import I64
from vqa_assets.heads.recipe import HOLDOUT_SHARE
from vqa_assets.heads.rows.reading import TrainingTable
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.metrics import Bootstrap

Mask = NDArray[np.bool_]
_MOST_SOURCE_FOLDS, _LEAST_FOLD_ROWS, _LEAST_FOLD_ENCODES = 5, 3, 2


@dataclass(frozen=True)
class Part:
    """One head that is judged: row numbers it is trained on, and row numbers it has never seen."""

    name: str
    train: I64
    test: I64


@dataclass(frozen=True)
class SplitPlan:
    """Who trains on what. All members are row numbers of one table.

    ``kind`` is ``folds`` (the gate reads ``parts``, the shipped head is trained on ``final``, all rows but ``holdout``
    and the given test rows), ``split`` (every corpus has a split: one part, whose head is the shipped one), ``sources``
    (each part leaves some of the contents out, the shipped head is trained on all rows) or ``insufficient-sources``
    (no parts).
    ``given_tests`` are test rows per corpus that has a split while others have none; ``left_out`` counts rows in no set
    because their content is among those. ``leaking_groups`` counts contents on both sides of a given split.
    ``contents`` counts those that are folded, ``contents_held`` those held out. Where they are few, there are fewer
    ``parts`` than ``folds_asked``, and nothing is held out (``holdout_share`` is 0).
    """

    kind: Literal["folds", "split", "sources", "insufficient-sources"]
    parts: tuple[Part, ...]
    final: I64
    holdout: I64
    given_tests: Mapping[str, I64]
    left_out: int = 0
    leaking_groups: int = 0
    sources: int = 0
    contents: int = 0
    contents_held: int = 0
    folds_asked: int = 0
    holdout_share: float = 0.0

    @property
    def judging(self) -> I64:
        """The rows that the shipped head is judged by once: the hold-out, or those of a given split."""
        return self.parts[0].test if self.kind == "split" else self.holdout

    @property
    def not_measured(self) -> str:
        """Why the gate cannot be read: folds are fewer than the run asks for. Empty where it can."""
        if len(self.parts) >= self.folds_asked:
            return ""
        return f"not measured: {self._filled}"

    @property
    def _filled(self) -> str:
        """How many folds there are contents for; who counts those of the table misses the ones that are held out."""
        held = (
            f" (of {self.contents + self.contents_held}; {self.contents_held} held out)" if self.contents_held else ""
        )
        return f"{self.contents} contents{held} fill {len(self.parts)} folds, not {self.folds_asked}"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person must know of a plan for few contents, a sentence each."""
        gate = f"{self._filled}: the gate is not measured"
        few = (
            f"{self.contents} contents: nothing is held out, and nothing has an interval ({ENOUGH_CONTENTS} are needed)"
        )
        is_few = self.kind == "folds" and not self.holdout_share
        return (*([gate] if self.not_measured else []), *([few] if is_few else []))


def bootstrap_of(groups: Sequence[str] | I64, seed: int, samples: int = Bootstrap.samples) -> Bootstrap:
    """How intervals are drawn over judged rows of these groups, by name or number: not at all (NaN) where they are few.

    The rows are those of the figure, not of its table: of many contents, few may judge.
    """
    return Bootstrap(samples if len(set(groups)) >= ENOUGH_CONTENTS else 0, seed)


def plan_splits(table: TrainingTable, settings: TrainingSettings) -> SplitPlan:
    """The plan of a table; TrainingError on unknown split words, under four contents, a split without train or test."""
    words, corpora = np.asarray(table.split, dtype=object), np.asarray(table.corpora)
    with_split = {c for c in dict.fromkeys(table.corpora) if any(w is not None for w in words[corpora == c])}
    has_split = np.isin(corpora, sorted(with_split))
    check_split_words(words[has_split])
    return _given(table, words) if has_split.all() else _folded(table, settings, has_split & (words == "test"))


def plan_sources(table: TrainingTable, least: int, seed: int) -> SplitPlan:
    """Folds by content into up to five; those that hold too little to judge by are joined with others.

    A fold holds at least three rows and two different encodes, without which a correlation says nothing. Nothing is a
    fold with fewer than ``least`` contents, or where not even two folds hold that much.
    """
    nothing = np.empty(0, dtype=np.int64)
    everything = np.arange(len(table.groups))
    sources = len(set(table.groups))
    if sources < least:
        return SplitPlan("insufficient-sources", (), everything, nothing, {}, sources=sources)
    count = min(_MOST_SOURCE_FOLDS, sources)
    drawn = np.array(balanced_folds(table.groups, count, seed))
    folds = [np.flatnonzero(drawn == n) for n in range(count)]
    while len(folds) > 1 and (lacking := [n for n, rows in enumerate(folds) if not _judges(table, rows)]):
        joined = folds.pop(min(lacking, key=lambda n: len(folds[n])))
        smallest = min(range(len(folds)), key=lambda n: len(folds[n]))
        folds[smallest] = np.union1d(folds[smallest], joined)
    if len(folds) < 2:
        return SplitPlan("insufficient-sources", (), everything, nothing, {}, sources=sources)
    parts = (Part(f"fold-{n}", np.setdiff1d(everything, rows), rows) for n, rows in enumerate(folds))
    return SplitPlan("sources", tuple(parts), everything, nothing, {}, sources=sources)


def _judges(table: TrainingTable, rows: I64) -> bool:
    """Whether some rows are enough of a fold; how rows that are made up were encoded is nowhere said."""
    encodes = {table.encodes[row] for row in rows} if table.encodes else None
    return len(rows) >= _LEAST_FOLD_ROWS and (encodes is None or len(encodes) >= _LEAST_FOLD_ENCODES)


def corpora_out(table: TrainingTable) -> dict[str, Part]:
    """Per corpus what trains on the other corpora's rows, but those of its contents, and is tested on it.

    A corpus without which fewer than two contents are left is not among them.
    """
    names, corpora = tuple(dict.fromkeys(table.corpora)), np.asarray(table.corpora)
    result = {}
    for name in names:
        own = corpora == name
        shared = _groups_of(table, own)
        others = ~own & ~np.array([group in shared for group in table.groups])
        if len(_groups_of(table, others)) > 1:
            result[name] = Part(f"without-{name}", np.flatnonzero(others), np.flatnonzero(own))
    return result


def folds_of(table: TrainingTable, rows: I64, settings: TrainingSettings) -> tuple[Part, ...]:
    """Folds by content of some rows, for choices that no judging row may make; none where contents are too few."""
    groups = [table.groups[row] for row in rows]
    if len(set(groups)) < LEAST_CONTENTS:
        return ()
    folds = np.array(assign_folds(groups, settings.k_folds, settings.seed))
    return tuple(Part(f"choice-{k}", rows[folds != k], rows[folds == k]) for k in range(folds.max() + 1))


def deciding_folds(table: TrainingTable, plan: SplitPlan, settings: TrainingSettings) -> tuple[Part, ...]:
    """The folds by which a head's make is decided, none where contents are too few: those that the gate reads.

    The rows that judge by a given split judge alone: there the contents of the train rows are folded.
    """
    return folds_of(table, plan.final, settings) if plan.kind == "split" else plan.parts


def _given(table: TrainingTable, words: NDArray[np.object_]) -> SplitPlan:
    """The split as it is: test judges, or val where there is no test; the other of the two is not trained on."""
    train, judges = words == "train", words == ("test" if (words == "test").any() else "val")
    if not train.any() or not judges.any():
        raise TrainingError(
            "the split column", found=f"{train.sum()} train rows, {judges.sum()} to judge by", expected="both"
        )
    part = Part(str(words[judges][0]), np.flatnonzero(train), np.flatnonzero(judges))
    check_contents([table.groups[row] for row in (*part.train, *part.test)])
    leaking = _groups_of(table, train) & _groups_of(table, judges)
    nothing = np.empty(0, dtype=np.int64)
    return SplitPlan("split", (part,), part.train, nothing, {}, leaking_groups=len(leaking))


def _folded(table: TrainingTable, settings: TrainingSettings, given: Mask) -> SplitPlan:
    """Folds by content of all rows but the given test rows, their contents, and the hold-out."""
    tested = _groups_of(table, given)
    near = np.array([group in tested for group in table.groups]) & ~given
    free = ~(given | near)
    held = np.array(holdout(table.groups, HOLDOUT_SHARE, settings.seed)) & free
    few = len(_groups_of(table, free)) < ENOUGH_CONTENTS
    if few:  # each is needed to learn from, and one or two tell nothing of a head
        held &= False
    rows = np.flatnonzero(free & ~held)
    folds = np.array(assign_folds([table.groups[row] for row in rows], settings.k_folds, settings.seed))
    parts = (Part(f"fold-{k}", rows[folds != k], rows[folds == k]) for k in range(folds.max() + 1))
    corpora = np.asarray(table.corpora)
    tests = {str(c): np.flatnonzero(given & (corpora == c)) for c in dict.fromkeys(corpora[given])}
    return SplitPlan(
        "folds",
        tuple(parts),
        rows,
        np.flatnonzero(held),
        tests,
        left_out=int(near.sum()),
        contents=len(_groups_of(table, free & ~held)),
        contents_held=len(_groups_of(table, held)),
        folds_asked=settings.k_folds,
        holdout_share=0.0 if few else HOLDOUT_SHARE,
    )


def _groups_of(table: TrainingTable, mask: Mask) -> set[str]:
    return {table.groups[row] for row in np.flatnonzero(mask)}


def own_parts(plan: SplitPlan) -> tuple[Part, ...]:
    """What is trained of a plan: one head per part, then the shipped one, which a given split's part is already."""
    shipped = () if plan.kind == "split" else (Part("shipped", plan.final, plan.holdout),)
    return (*plan.parts, *shipped)
