"""A score file of which nothing is declared yet: what its columns, its scale and its bounds probably are.

A proposal is a guess by spelling and by values, made once, for a person to correct: what cannot be known from the file
stands in ``look_up``. What a declaration is, is in ``corpora``; the command that writes one in ``new_corpus``.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from vqa_assets.annotations.dialects import is_number, number, short
from vqa_assets.annotations.matlab import SheetFacts
from vqa_assets.annotations.rows import VIDEO_SUFFIXES
from vqa_assets.annotations.score_files import ScoreFile, read_score_file
from vqa_assets.corpora import CORPORA
from vqa_assets.corpora.contents import SPLIT_WORDS
from vqa_assets.corpora.corpus import Spread, says_dmos
from vqa_assets.corpora.scales import ACR_1_5, CONTINUOUS_0_100, MosScale, Polarity, ScaleEvidence
from vqa_assets.errors import AnnotationError, ArgumentError

_ROLES = ("mos", "clip", "sd", "count", "url", "content", "split", "is_test")
"""The meanings that are looked for, in this order: a column has one."""
_ALSO_SPELLED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "clip": ("video", "clip", "clip_name", "file", "path", "video_path", "stimulus", "src", "vid"),
        "mos": ("quality", "mean_opinion_score", "overall", "mean", "score", "rating"),
        "sd": ("std", "stdev", "sigma", "se", "sem", "stderr", "ci", "ci95"),
        "count": ("votes", "raters", "subjects", "count"),
        "content": ("content", "content_id", "scene", "source"),
        "split": ("split",),
        "is_test": ("is_test",),
    }
)
"""What people call columns, beside the spellings of the shipped corpora."""
_SPREADS: Mapping[str, Spread] = MappingProxyType(
    {"se": "se", "sem": "se", "stderr": "se", "sos_j": "se", "ci": "ci95", "ci95": "ci95"}
)
_OTHER_SCALES = tuple(
    MosScale(f"{low}-{high}", float(low), float(high)) for low, high in ((0, 1), (0, 5), (1, 7), (1, 9), (0, 10))
)
"""Ranges that studies use, the narrowest first; they have no names that hold everywhere."""
_SHARE_INSIDE, _SHARE_WITH_SENTINELS, _MOST_SENTINELS = 0.99, 0.95, 3
_USED_OF_WIDE = 30.0
OWN_SCALE = "own"
"""A scale of which only the range in the file is known: whoever declares it gives it its corpus's name."""
_NAMES_LIKE_CLIPS, _NUMERIC = 0.5, 0.95
_SHOWN = 20


@dataclass(frozen=True)
class ChosenColumns:
    """Which column means what: meaning → name as the file spells it, a number from 1 where there is no header.

    ``shape`` are the names that a header would hold, empty where the file has one; ``unused`` are the other columns.
    """

    roles: Mapping[str, str]
    shape: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()


@dataclass(frozen=True)
class ScoreProposal:
    """What a score file probably says of its ``rows``.

    ``names`` are what it calls the clips, ``evidence`` is of the scale, ``look_up`` what the file cannot say.
    """

    columns: ChosenColumns
    polarity: Polarity
    scale: MosScale
    spread: Spread | None
    rows: int
    names: frozenset[str]
    evidence: str
    look_up: tuple[str, ...]

    @property
    def least_rows(self) -> int:
        """A file of fewer rows is another's: half as many as there are."""
        return max(1, self.rows // 2)

    @property
    def most_rows(self) -> int:
        """A file of more rows is another's: twice as many as there are."""
        return 2 * self.rows


def propose_scores(path: Path, *, clip: str = "", mos: str = "") -> tuple[ScoreFile, ScoreProposal]:
    """The score file as it was read, and what is proposed of it.

    ``clip`` and ``mos`` are columns that a person named. ArgumentError where the file has no such column, or where
    nobody but a person can say which it is; AnnotationError where it is no table of scores.
    """
    spellings = {role: tuple(_spellings(role)) for role in ("clip", "mos")}
    facts = SheetFacts(f"{path}", "where it came from", 1, spellings["clip"], spellings["mos"], "mos")
    file = read_score_file(path, facts)
    names, rows = _header_and_rows(file)
    if not rows:
        raise AnnotationError(
            f"{path}",
            found="no row",
            expected="a line for each clip, below a header",
            next_step="is it the score file?",
        )
    columns = _Columns(path, names, rows, file.decimal_comma)
    chosen = columns.choose({"clip": clip, "mos": mos})
    scores = [score for score in columns.numbers(chosen.roles["mos"]) if math.isfinite(score)]
    if not scores:
        raise AnnotationError(
            f"{path}: column {short(chosen.roles['mos'])}",
            found="no number",
            expected="opinion scores",
            next_step="name the column of scores: --mos COLUMN",
        )
    polarity: Polarity = "dmos" if says_dmos(chosen.roles["mos"]) else "mos"
    scale, doubts = proposed_scale(scores)
    spread = _SPREADS.get(chosen.roles["sd"].lower(), "sd") if "sd" in chosen.roles else None
    others = [one for one in (ACR_1_5, *_OTHER_SCALES, CONTINUOUS_0_100) if one != scale]
    holds = [one.name for one in others if sum(map(one.holds, scores)) >= _SHARE_INSIDE * len(scores)]
    look_up = (*doubts, *_look_up(chosen, spread, polarity, holds))
    return file, ScoreProposal(
        columns=chosen,
        polarity=polarity,
        scale=scale.directed(polarity),
        spread=spread,
        rows=len(rows),
        names=frozenset(columns.values(chosen.roles["clip"])),
        evidence=ScaleEvidence.of(scores, [scale]).in_words(),
        look_up=look_up,
    )


def proposed_scale(scores: Sequence[float]) -> tuple[MosScale, tuple[str, ...]]:
    """The scale that finite scores are probably on, and what is doubtful about it.

    1–5 where they fit it, else the narrowest range that studies use, else 0–100, else one of their own.
    """

    def share(scale: MosScale) -> float:
        return sum(map(scale.holds, scores)) / len(scores)

    outside = Counter(score for score in scores if not ACR_1_5.holds(score))
    sentinels = share(ACR_1_5) >= _SHARE_WITH_SENTINELS and 0 < len(outside) <= _MOST_SENTINELS
    if share(ACR_1_5) >= _SHARE_INSIDE or sentinels:
        values = ", ".join(f"{value:g} × {count}" for value, count in outside.most_common())
        return ACR_1_5, ((f"scores: what do {values} mean? Outside 1–5 they are bad rows",) if outside else ())
    fitting = next((scale for scale in _OTHER_SCALES if share(scale) >= _SHARE_INSIDE), None)
    if fitting is not None:
        return fitting, ()
    if share(CONTINUOUS_0_100) >= _SHARE_INSIDE and max(scores) > _USED_OF_WIDE:
        return CONTINUOUS_0_100, ()
    low, high = _outward(min(scores), math.floor), _outward(max(scores), math.ceil)
    return MosScale(OWN_SCALE, low, high), (f"scores: their range; {low:g} to {high:g} is what stands in the file",)


def _outward(value: float, to_whole: Callable[[float], int]) -> float:
    """A bound of the scores with two figures, rounded away from them."""
    step = 10.0 ** (math.floor(math.log10(abs(value))) - 1) if value else 1.0
    return to_whole(value / step) * step


def _spellings(role: str) -> Iterable[str]:
    """How a meaning is spelled, in small letters: by the shipped corpora, then by others."""
    shipped = [spellings for one in CORPORA.values() for spellings in (one.spellings, one.last_spellings)]
    names = (name.lower() for spellings in shipped for name in spellings.names(role))
    return dict.fromkeys((*names, *_ALSO_SPELLED.get(role, ())))


def _header_and_rows(file: ScoreFile) -> tuple[tuple[str, ...], list[list[str]]]:
    """The header, empty where the first line is a row; and the rows."""
    lines = [values for _, values in file.lines]
    if not lines:
        return (), []
    # a list of JSON objects has its keys in a line 0
    if file.lines[0][0] == 0 or not any(map(is_number, filter(None, lines[0]))):
        return tuple(lines[0]), lines[1:]
    return (), lines


@dataclass(frozen=True)
class _Columns:
    """A file's columns by their values; ``names`` are empty where the file has no header."""

    path: Path
    names: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    decimal_comma: bool

    def choose(self, named: Mapping[str, str]) -> ChosenColumns:
        """The columns that a person named, else those whose spelling or values say what they mean."""
        called = self.names or tuple(str(at) for at in range(1, max(map(len, self.rows)) + 1))
        taken: dict[str, str] = {}
        for role, name in named.items():
            if name:
                taken[role] = self._named(role, name, called)
        for role in _ROLES:
            free = {name.lower(): name for name in reversed(called) if name and name not in taken.values()}
            if role not in taken and self.names:
                found = next((free[spelling] for spelling in _spellings(role) if spelling in free), "")
                if found and self._can_be(role, found):
                    taken[role] = found
        for role, fits in (("clip", self._names_clips), ("mos", self._may_be_scores)):
            if role not in taken:
                taken[role] = self._only(role, [n for n in called if n and n not in taken.values() and fits(n)], called)
        if "vmaf" in taken["mos"].lower():
            raise AnnotationError(
                f"{self.path}: column {short(taken['mos'])}",
                found="scores that are computed",
                expected="opinions of people",
                next_step="name the column of opinions: --mos COLUMN",
            )
        unused = tuple(name for name in called if name and name not in taken.values())
        if self.names:
            return ChosenColumns(taken, (), unused)
        shape = ["name" if taken["clip"] == name else "mos" if taken["mos"] == name else "" for name in called]
        return ChosenColumns(taken, tuple(shape), unused)

    def numbers(self, name: str) -> list[float]:
        """A column's values as numbers, NaN where they are none."""
        return [number(value, decimal_comma=self.decimal_comma) for value in self.values(name)]

    def values(self, name: str) -> list[str]:
        """A column's values that are not empty."""
        at = self.names.index(name) if self.names else int(name) - 1
        return [row[at] for row in self.rows if at < len(row) and row[at]]

    def _named(self, role: str, name: str, called: Sequence[str]) -> str:
        found = next((one for one in called if one.lower() == name.lower()), None)
        if found is None:
            raise ArgumentError(
                f"--{role} {short(name)}",
                found="no column of that name",
                expected=f"one of {_listed(called)}" + ("" if self.names else " (the file has no header)"),
            )
        return found

    def _can_be(self, role: str, name: str) -> bool:
        """Whether a column's values are such as its name promises."""
        if role in ("mos", "sd", "count"):
            return self._is_numeric(name)
        if role == "split":
            return set(self.values(name)) <= set(SPLIT_WORDS)
        return bool(self.values(name))

    def _is_numeric(self, name: str) -> bool:
        values = self.numbers(name)
        return bool(values) and sum(map(math.isfinite, values)) >= _NUMERIC * len(values)

    def _may_be_scores(self, name: str) -> bool:
        # of headerless lists the columns between name and score hold one number
        return self._is_numeric(name) and len(set(self.numbers(name))) > 1

    def _names_clips(self, name: str) -> bool:
        values = self.values(name)
        return sum(value.lower().endswith(VIDEO_SUFFIXES) for value in values) > _NAMES_LIKE_CLIPS * len(values)

    def _only(self, role: str, fitting: Sequence[str], called: Sequence[str]) -> str:
        if len(fitting) == 1:
            return fitting[0]
        what = {"clip": "names its clip", "mos": "is its opinion score"}[role]
        raise ArgumentError(
            f"{self.path}",
            found=f"no column that by its name or values {what}"
            if not fitting
            else f"{len(fitting)} columns that may be what {what}: {_listed(fitting)}",
            expected=f"one column of each row that {what}; there are {_listed(called)}",
            next_step=f"name it: --{role} COLUMN",
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(short, names[:_SHOWN])) + (", …" if len(names) > _SHOWN else "")


def _look_up(columns: ChosenColumns, spread: Spread | None, polarity: Polarity, holds: Sequence[str]) -> Iterable[str]:
    """What only the corpus's authors know."""
    roles = columns.roles
    if holds:
        yield f"scales: what were people shown? {', '.join(holds)} would hold the scores too"
    yield "polarity: does a high score mean " + ("bad quality?" if polarity == "dmos" else "good quality?")
    if spread is not None:
        yield f"spread: is {short(roles['sd'])} a standard deviation (sd), a standard error (se) or an interval (ci95)?"
    if "content" not in roles:
        yield "content: which clips show the same? They must not be on both sides of a split; a column can say it"
    yield "licence, redistribution, citation, homepage: what may be done with what is made of it"
