"""Which rows show the same content, and splits that never separate them.

Splits are drawn by hash and seed, so a group's place never moves when rows are added. Where content ids come from is a
corpus's declaration; which part of a split trains what is in ``heads/rows/splitting``.
"""

import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from vqa_assets.errors import TooFewContentsError, TrainingError

SPLIT_WORDS = ("train", "val", "test")
"""The only words a ``split`` column may hold."""
SPLIT_SYNONYMS = {"validation": "val"}
"""What score files say instead of them; any other word is an error."""
_WORDS_SHOWN = 10

_LEAST_OF_FOLD, _LEAST_FOLDS = 2, 2
"""Of one content a correlation says how its own rows differ, not how contents do."""
LEAST_CONTENTS = _LEAST_FOLDS * _LEAST_OF_FOLD
"""Of fewer contents no head is trained: there would be nothing to judge it by."""
LEAST_TO_CHOOSE = 3
"""Of fewer contents to learn from, none is left out to choose by: it would tell of that content, not of a choice."""
ENOUGH_CONTENTS = 10
"""Of fewer contents none is held out, no interval is drawn, and what is chosen by contents leaves out one at a time."""

KEY_COLUMNS = (
    *("key", "clip_key", "clip_id", "video_id", "chug_video_id", "clip_name", "file_name", "filename", "basename"),
    *("name", "src", "source", "src_path", "distorted_path", "dis_path", "path", "content_id"),
)
"""Columns that may name a row's clip in a table of your own, first present wins."""


def content_groups(content_ids: Sequence[str | None], keys: Sequence[str]) -> tuple[str, ...]:
    """Per row, the group that a split must keep together: its content id, else its clip.

    A content id and a clip of the same name are different groups.
    """
    return tuple(f"content:{c}" if c else f"clip:{k}" for c, k in zip(content_ids, keys, strict=True))


def content_of_group(group: str) -> str:
    """What a group of ``content_groups`` was named by: the content id, else the clip."""
    return group.partition(":")[2]


def is_clip(group: str) -> bool:
    """Whether a group of ``content_groups`` is a clip of which no content id is known."""
    return group.startswith("clip:")


def joined_groups(groups: Sequence[str], marks: Sequence[str | None]) -> tuple[str, ...]:
    """Per row, its group; groups of which rows bear an equal mark (the same bytes) are one, named by the first of them.

    A group whose marks no other bears keeps its name, and so its place in a split.
    """
    parent: dict[str, str] = {}

    def root_of(group: str) -> str:
        while (above := parent.get(group, group)) != group:
            parent[group] = parent.get(above, above)
            group = above
        return group

    bearer: dict[str, str] = {}
    for group, mark in dict.fromkeys(zip(groups, marks, strict=True)):
        if mark is not None and (other := bearer.setdefault(mark, group)) != group:
            first, second = sorted((root_of(other), root_of(group)))
            parent[second] = first
    return tuple(root_of(group) for group in groups) if parent else tuple(groups)


def fold_of(group: str, k: int, seed: int) -> int:
    """The fold in 0 … k − 1 of a group; it depends on the group's name, ``k`` and ``seed`` alone."""
    return _draw(f"{seed}:{group}") % k


def assign_folds(groups: Sequence[str], k: int, seed: int) -> tuple[int, ...]:
    """Per row, the fold of its group, from 0; a fold holds at least two groups.

    Drawn by hash where that fills ``k`` folds: then a group's place never moves when rows are added. Else the groups
    are dealt out evenly, into ``k`` folds or as many as there are groups for. TrainingError under four groups.
    """
    check_contents(groups)
    of_group = {group: fold_of(group, k, seed) for group in dict.fromkeys(groups)}
    filled = Counter(of_group.values())
    if len(filled) < k or min(filled.values()) < _LEAST_OF_FOLD:
        of_group = _dealt(groups, min(k, len(of_group) // _LEAST_OF_FOLD), seed)
    return tuple(of_group[group] for group in groups)


def check_contents(groups: Sequence[str]) -> None:
    """TooFewContentsError that names the contents where they are too few for any head to be judged."""
    names = list(dict.fromkeys(groups))
    if len(names) >= LEAST_CONTENTS:
        return
    rows, contents = ("s" if len(of) != 1 else "" for of in (groups, names))
    named = ", ".join(map(content_of_group, names)) or "none"
    raise TooFewContentsError(
        "too few contents to train on and to judge by",
        found=f"{len(groups)} row{rows} of {len(names)} content{contents}: {named}",
        expected=f"at least {LEAST_CONTENTS}: two folds of two contents each",
        next_step="label clips of more contents; content_id says which clips show the same",
    )


def _dealt(groups: Sequence[str], k: int, seed: int) -> dict[str, int]:
    """Group → fold, where each fold gets as many groups as any other, but for one, and about as many rows."""
    sizes = Counter(groups)
    folds: dict[str, int] = {}
    dealt = [(0, 0)] * k
    for group in sorted(sizes, key=lambda name: (-sizes[name], _draw(f"{seed}:{name}"))):
        folds[group] = fold = dealt.index(min(dealt))
        dealt[fold] = (dealt[fold][0] + 1, dealt[fold][1] + sizes[group])
    return folds


def balanced_folds(groups: Sequence[str], k: int, seed: int) -> tuple[int, ...]:
    """Per row, the fold of its group, for few groups of many rows: no fold is empty, and they are of about equal size.

    There are at least ``k`` groups. Unlike ``assign_folds`` a new group may move the others.
    """
    sizes = Counter(groups)
    folds: dict[str, int] = {}
    rows = [0] * k
    # the largest first, each to the fold of fewest rows: which of two equal ones is first is drawn
    for group in sorted(sizes, key=lambda name: (-sizes[name], _draw(f"{seed}:{name}"))):
        folds[group] = rows.index(min(rows))
        rows[folds[group]] += sizes[group]
    return tuple(folds[group] for group in groups)


def holdout(groups: Sequence[str], share: float, seed: int) -> tuple[bool, ...]:
    """Per row, whether its group is among the ``share`` (0–1) held out; drawn independently of the folds."""
    held = {group: _draw(f"holdout:{seed}:{group}") < share * 2**64 for group in dict.fromkeys(groups)}
    return tuple(held[group] for group in groups)


def drawn_parts(groups: Sequence[str], share: float, count: int, seed: int) -> Iterator[tuple[bool, ...]]:
    """``count`` times, per row, whether its group is in the ``share`` (0–1) of the groups that is drawn, at least two.

    Groups are drawn anew each time, by hash: the same groups, count and seed give the same parts. No part comes twice,
    so that there are fewer where so few groups allow no more; none where fewer than two groups would be left.
    """
    names = sorted(set(groups))
    size = max(_LEAST_OF_FOLD, round(share * len(names)))
    possible = math.comb(len(names), size) if size + _LEAST_OF_FOLD <= len(names) else 0
    seen: set[frozenset[str]] = set()
    for number in itertools.count():
        if len(seen) == min(count, possible):
            return
        draws = {name: _draw(f"part:{seed}:{number}:{name}") for name in names}
        chosen = frozenset(sorted(names, key=draws.__getitem__)[:size])
        if chosen not in seen:
            seen.add(chosen)
            yield tuple(group in chosen for group in groups)


def check_split_words(words: Iterable[str | None]) -> None:
    """TrainingError that lists every word which is none of ``SPLIT_WORDS``; a missing word is one, too."""
    unknown = sorted({"(empty)" if word is None else repr(word) for word in words if word not in SPLIT_WORDS})
    more = len(unknown) - _WORDS_SHOWN
    if unknown:
        raise TrainingError(
            "unknown words in the split column",
            found=", ".join(unknown[:_WORDS_SHOWN]) + (f" and {more} more" if more > 0 else ""),
            expected=", ".join(SPLIT_WORDS),
            next_step="correct the column, or drop it to fold by content",
        )


def _draw(text: str) -> int:
    """64 bits of the text's SHA-256."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
