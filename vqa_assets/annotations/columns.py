"""What the columns of a score file mean: by its header, or by the declared shape of a file that has none."""

import logging
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from vqa_assets.annotations.numbers import is_number
from vqa_assets.annotations.quoting import short
from vqa_assets.corpora import Corpus
from vqa_assets.corpora.corpus import ROLES
from vqa_assets.errors import AnnotationError

_log = logging.getLogger("vqa_assets.annotations")
_SHOWN = 20


@dataclass(frozen=True)
class Columns:
    """A file's column names in their order, in lower case, and per meaning those that hold it, the first ones first.

    ``has_header`` is False where the names are the declaration's and the first line is a row.
    """

    names: tuple[str, ...]
    roles: Mapping[str, tuple[str, ...]]
    has_header: bool = True

    def record(self, values: Sequence[str]) -> dict[str, str]:
        """A line's values under their names; values without a name, and names without a value, are left out."""
        return dict(zip(self.names, values, strict=False))


def choose_columns(first: Sequence[str], corpus: Corpus, what: str) -> Columns:
    """What the columns mean, from a file's first line.

    AnnotationError that names the columns found and those expected where no clip or no score can be told.
    """
    columns = _by_header(first, corpus)
    missing = _missing(columns, corpus)
    if not missing:
        _check_once(columns, what)
        _tell_last_resort(columns, corpus, what)
        return columns
    for declared in corpus.headerless:
        shape = _lower(declared)
        if len(shape) == len(first) and is_number(first[shape.index("mos")]):
            return Columns(shape, _roles(shape, corpus), has_header=False)
    hint = f" {corpus.lookalike}." if corpus.lookalike else ""
    raise AnnotationError(
        what,
        found=f"columns {', '.join(short(name) for name in first[:_SHOWN]) or 'none'}",
        expected=f"a {missing} column named one of {', '.join(_spellings(corpus, missing))}{_shapes(corpus)}",
        next_step=f"is this the score file of {corpus.title}?{hint} Rename the column if it is",
    )


def fields_of(template: str) -> set[str]:
    """The column names that a name template asks for, in lower case."""
    return set(_lower(_asked(template)))


def filled(template: str, record: Mapping[str, str]) -> str:
    """The template with its columns' values; empty where one of them is."""
    values = {name: record.get(name.lower(), "") for name in _asked(template)}
    return template.format_map(values) if all(values.values()) else ""


def read_by(template: str, text: str) -> dict[str, str]:
    """The columns' values that a name template made a text of; empty where it cannot have."""
    parts = string.Formatter().parse(template)
    pattern = "".join(re.escape(literal) + ("(.+?)" if name else "") for literal, name, _, _ in parts)
    found = re.fullmatch(pattern, text, re.IGNORECASE)
    return dict(zip(_lower(_asked(template)), found.groups(), strict=True)) if found else {}


@lru_cache
def _asked(template: str) -> tuple[str, ...]:
    return tuple(name for _, name, _, _ in string.Formatter().parse(template) if name)


def _lower(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name.lower() for name in names)


def _by_header(first: Sequence[str], corpus: Corpus) -> Columns:
    names = _lower(first)
    return Columns(names, _roles(names, corpus))


def _roles(names: Sequence[str], corpus: Corpus) -> dict[str, tuple[str, ...]]:
    found = {}
    for role in ROLES:
        chosen = _present(corpus.spellings.of(role), names) or _present(corpus.last_spellings.of(role), names)
        if chosen:
            found[role] = chosen
    return found


def _present(spellings: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(s.lower() for s in spellings if s.lower() in names))


def _missing(columns: Columns, corpus: Corpus) -> str:
    """What no column tells, ``clip`` or ``mos``; empty where both are told."""
    composed = bool(corpus.clip_name) and fields_of(corpus.clip_name) <= set(columns.names)
    if "clip" not in columns.roles and not composed:
        return "clip"
    return "" if "mos" in columns.roles else "mos"


def _check_once(columns: Columns, what: str) -> None:
    read = {name for names in columns.roles.values() for name in names}
    twice = sorted(name for name in read if columns.names.count(name) > 1)
    if twice:
        raise AnnotationError(
            what,
            found=f"more than one column named {', '.join(short(name) for name in twice)}",
            expected="each column name once",
            next_step="rename or remove the one that is not meant",
        )


def _tell_last_resort(columns: Columns, corpus: Corpus, what: str) -> None:
    for role, names in columns.roles.items():
        if names[0] in _lower(corpus.last_spellings.of(role)):
            _log.warning("%s has no %s column; %s is taken for it", what, role, names[0])


def _spellings(corpus: Corpus, role: str) -> tuple[str, ...]:
    return corpus.spellings.of(role) + corpus.last_spellings.of(role)


def _shapes(corpus: Corpus) -> str:
    told = "; or ".join(", ".join(name or "–" for name in shape) for shape in corpus.headerless)
    return f" (or no header and the columns {told})" if told else ""
