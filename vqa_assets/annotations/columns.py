"""What the columns of a score file mean: by its header, or by the declared shape of a file that has none.

Also names of clips that are composed of columns (a declaration's ``clip_name``). Values are read in ``rows``.
"""

import math
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest

from vqa_assets.annotations.dialects import Line, is_number, number, short
from vqa_assets.corpora import Corpus
from vqa_assets.corpora.corpus import ROLES, says_dmos, says_mos
from vqa_assets.errors import AnnotationError
from vqa_assets.printing import logger

_log = logger("vqa_assets.annotations")
_SHOWN, _FEW = 20, 5
_MOST_TURNED = 50
"""No file of more lines has its clips side by side."""


@dataclass(frozen=True)
class ScoreColumns:
    """A file's column names in their order, in lower case, and per meaning those that hold it, the first ones first.

    ``has_header`` is False where the names are the declaration's and the first line is a row.
    """

    names: tuple[str, ...]
    roles: Mapping[str, tuple[str, ...]]
    has_header: bool = True

    @classmethod
    def of(cls, names: Sequence[str], corpus: Corpus, *, has_header: bool = True) -> "ScoreColumns":
        """What these names mean in a corpus's score file."""
        names = _lower(names)
        renamed = {one.column.lower(): one.name.lower() for one in corpus.renamed_columns}
        names = tuple(name if renamed.get(name, name) in names else renamed.get(name, name) for name in names)
        roles = {}
        for role in ROLES:
            # last spellings are words that mean this only where no better one is there
            usual, last = corpus.spellings.names(role), corpus.last_spellings.names(role)
            columns = _present(usual, names) or _present(last, names)
            if columns:
                roles[role] = columns
        if corpus.polarity == "dmos" and any(map(says_dmos, roles.get("mos", ()))):
            # beside differences, what is called a MOS runs the other way: neither it nor its spread stands in for them
            for role in ("mos", "sd"):
                roles[role] = tuple(name for name in roles.get(role, ()) if not says_mos(name))
        return cls(names, {role: columns for role, columns in roles.items() if columns}, has_header)

    def record(self, values: Sequence[str]) -> dict[str, str]:
        """A line's values under their names; values without a name, and names without a value, are left out."""
        return dict(zip(self.names, values, strict=False))


def choose_columns(first: Sequence[str], corpus: Corpus, what: str) -> ScoreColumns:
    """What the columns mean, from a file's first line.

    AnnotationError that names the columns found and those expected where none holds the clip, or none the score.
    """
    columns = ScoreColumns.of(first, corpus)
    composed = bool(corpus.clip_name) and set(_lower(_template_names(corpus.clip_name))) <= set(columns.names)
    if "clip" not in columns.roles and not composed:
        missing = "clip"
    elif "mos" not in columns.roles:
        missing = "mos"
    else:
        _check_once(columns, what)
        _check_polarity(columns, first, corpus, what)
        for role, names in columns.roles.items():
            if names[0] in _lower(corpus.last_spellings.names(role)):
                _log.warning("%s has no %s column; %s is taken for it", what, role, names[0])
        return columns
    # no header that says enough: the first line may be a row, if its values stand where a declared shape has them
    for declared in corpus.headerless:
        shape = _lower(declared)
        if len(shape) == len(first) and is_number(first[shape.index("mos")]):
            return ScoreColumns.of(shape, corpus, has_header=False)
    if missing == "clip" and first and all(map(is_number, filter(None, first))):
        # one whole number may be a name; a line of scores holds others
        check_names(ScoreColumns(("clip",), {"clip": ("clip",)}), ([value] for value in first), what)
    hint = f" {corpus.lookalike}." if corpus.lookalike else ""
    if missing == "mos" and corpus.polarity == "mos" and any(map(says_dmos, first)):
        hint += ' DMOS runs the other way: declare polarity = "dmos" to read it.'
    spellings = corpus.spellings.names(missing) + corpus.last_spellings.names(missing)
    shapes = "; or ".join(", ".join(name or "–" for name in shape) for shape in corpus.headerless)
    headerless = f" (or no header and the columns {shapes})" if shapes else ""
    raise AnnotationError(
        what,
        found=f"columns {', '.join(short(name) for name in first[:_SHOWN]) or 'none'}",
        expected=f"a {missing} column named one of {', '.join(spellings)}{headerless}",
        next_step=f"is this the score file of {corpus.title}?{hint} Rename the column if it is",
    )


def turned(lines: Sequence[Line], corpus: Corpus) -> Sequence[Line]:
    """The lines of a file, or its columns as lines where each line begins with what it holds (``File Names,a,b``).

    A line's number is then its column's.
    """
    # a line of JSON may be empty
    beginnings = [values[0] if values else "" for _, values in lines[:_MOST_TURNED]]
    across = ScoreColumns.of(beginnings, corpus).roles
    down = ScoreColumns.of(lines[0][1], corpus).roles if lines else {}
    if len(lines) > _MOST_TURNED or not {"clip", "mos"} <= set(across) or {"clip", "mos"} <= set(down):
        return lines
    columns = zip_longest(*(values for _, values in lines), fillvalue="")
    return [(at, list(values)) for at, values in enumerate(columns, 1)]


def check_names(columns: ScoreColumns, rows: Iterable[Sequence[str]], what: str) -> None:
    """AnnotationError where what should be the names of clips are scores: all numbers, and not all whole ones."""
    clip = {columns.names.index(name) for name in columns.roles.get("clip", ())}
    names = [text for values in rows for at, text in enumerate(values) if at in clip and text]
    numbers = [number(name) for name in names]
    if names and all(map(math.isfinite, numbers)) and not all(value.is_integer() for value in numbers):
        raise AnnotationError(
            what,
            found=f"no name of a clip but numbers where names should stand ({', '.join(map(short, names[:_FEW]))})",
            expected="a column that names each score's clip",
            next_step="put the clips' names into the file: which score is whose cannot be told from their order",
        )


def filled(template: str, record: Mapping[str, str]) -> str:
    """A name template with its columns' values; empty where one of them is."""
    values = {name: record.get(name.lower(), "") for name in _template_names(template)}
    return template.format_map(values) if all(values.values()) else ""


def read_by(template: str, text: str) -> dict[str, str]:
    """The columns' values that a name template made a text of; empty where it cannot have."""
    parts = string.Formatter().parse(template)
    # the shortest match of each value: the literals between them decide where one ends
    pattern = "".join(re.escape(literal) + ("(.+?)" if name else "") for literal, name, _, _ in parts)
    match = re.fullmatch(pattern, text, re.IGNORECASE)
    return dict(zip(_lower(_template_names(template)), match.groups(), strict=True)) if match else {}


@lru_cache
def _template_names(template: str) -> tuple[str, ...]:
    return tuple(name for _, name, _, _ in string.Formatter().parse(template) if name)


def _lower(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name.lower() for name in names)


def _present(spellings: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(s.lower() for s in spellings if s.lower() in names))


def _check_polarity(columns: ScoreColumns, header: Sequence[str], corpus: Corpus, what: str) -> None:
    """AnnotationError where scores that are called DMOS would be read as if more were better."""
    if corpus.polarity == "dmos" or corpus.dmos_is_mos:
        return
    scores = {*columns.roles["mos"], *(one.column.lower() for one in corpus.scores if one.polarity != "dmos")}
    # by the header's own names: a column that is renamed is no other column
    wrong = [own for own, name in zip(header, columns.names, strict=True) if name in scores and says_dmos(own)]
    if wrong:
        raise AnnotationError(
            f"{what}: column {short(wrong[0])}",
            found=f'DMOS, where less is better, in a corpus whose polarity is "mos" ({corpus.name})',
            expected='polarity = "dmos" in the declaration, or a column of mean opinion scores',
            next_step="declare the polarity; set dmos_is_mos = true only where the column is called so and more is "
            "better all the same",
        )


def _check_once(columns: ScoreColumns, what: str) -> None:
    """AnnotationError where a column that is read stands in the file twice: which one is meant?"""
    read = {name for names in columns.roles.values() for name in names}
    twice = sorted(name for name in read if columns.names.count(name) > 1)
    if twice:
        raise AnnotationError(
            what,
            found=f"more than one column named {', '.join(short(name) for name in twice)}",
            expected="each column name once",
            next_step="rename or remove the one that is not meant",
        )
