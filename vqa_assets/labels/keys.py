"""A row's key: which column holds it, what of it is compared, and the pattern that is searched in it.

A pattern means what Python's ``re`` means. Plain ones run on polars' engine, which needs linear time; the others run on
the ``regex`` library, which can be stopped, on any thread.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

import polars as pl
import regex

from vqa_assets.corpora.contents import KEY_COLUMNS
from vqa_assets.errors import LabelError
from vqa_assets.labels.settings import KeyNormalize

LIMIT_S = 5.0
"""Longest time for one thousand keys outside polars' engine; an ordinary pattern takes a millisecond."""
_KEYS_PER_LIMIT = 1_000
_SPEAKS_OF_FILES = re.compile("path|file|name|src", re.IGNORECASE)
_EXTENSION = r"\.[A-Za-z][A-Za-z0-9]{0,4}$"
"""A suffix begins with a letter: the rest of ``Mont._Education_1`` is none."""

_SCIENTIFIC = r"^(?:.*[/\\])?[0-9](?:[.,][0-9]+)?[eE]\+[0-9]{2,}(?:\.[A-Za-z][A-Za-z0-9]{0,4})?$"
"""What spreadsheets make of a long number: ``1.00E+10``, perhaps with a folder before and a suffix behind."""
_SHOWN = 3
_NAMES_IN_MESSAGES = 20

_SINGLE = r"""(?: [A-Za-z0-9_\ ,:;/@=\#%!'"<>&~-] | \. | \\[dDwW] | \\[.^$*+?{}\[\]|()\\-]
    | \[\^? (?: [A-Za-z0-9_\ .,:;/@=+*?()|{}$\#%!'"<>] (?:-[A-Za-z0-9])? | \\[dw\].^\\-] )+ -? \] )"""
_QUANTITY = r"(?: (?: [*+?] | \{[0-9]+(?:,[0-9]*)?\} ) \?? (?![*+?{]) )"
_EDGE = r"(?: \\b | \^ | \$ )"
_SEQUENCE = rf"(?: {_SINGLE} {_QUANTITY}? | {_EDGE} (?![*+?{{]) | \| )*"
_SAME_IN_POLARS = re.compile(
    rf"""(?: {_SINGLE} {_QUANTITY}?
           | {_EDGE} (?![*+?{{])
           | \|
           | \(\?: {_SINGLE}+ \) {_QUANTITY}
           | \( (?: \?: | \?P<[A-Za-z_][A-Za-z0-9_]*> )? (?!\?) {_SEQUENCE} \) (?![*+?{{])
         )*""",
    re.VERBOSE,
)
"""Patterns of which polars' engine and ``re`` find the same in ASCII keys without a line break.

Left out is where they differ: ``\\s``, ``\\B``, flags, possessive quantities, sets in sets, empty repetitions and
repeated groups (which text the last turn of a repeated choice leaves in a group is not the same).
"""
_READ_OTHERWISE = re.compile(
    r"\\N\{[^}]*\} | \\. | (?P<set>\[\^?\]?(?:\\.|[^\]\\])*\]) | (?P<brace>\{(?![0-9]+(?:,[0-9]*)?\}|,[0-9]*\}))",
    re.DOTALL | re.VERBOSE,
)
"""What ``regex`` reads otherwise: a bracket in a set as a class of POSIX, a brace that is no quantity as fuzzy."""


@dataclass(frozen=True)
class KeyRule:
    """How one side's keys are made: the column, what of it, and the pattern that ``setting`` names."""

    column: str
    normalize: KeyNormalize
    regex: str | None
    setting: str

    @property
    def resolved(self) -> KeyNormalize:
        """What ``auto`` means for this column."""
        if self.normalize != "auto":
            return self.normalize
        return "basename" if _SPEAKS_OF_FILES.search(self.column) else "raw"


def key_column(names: Sequence[str], chosen: str | None, what: str, setting: str) -> str:
    """The key column of a table: the chosen one, else the first of ``KEY_COLUMNS`` that it has, in any letter case.

    LabelError where it is absent, or where two columns differ in nothing but their case.
    """
    if chosen is not None:
        if chosen not in names:
            raise absent_column(names, f"the key column {chosen!r}", what, setting)
        return chosen
    for candidate in KEY_COLUMNS:
        spelled = [name for name in names if name.lower() == candidate]
        if len(spelled) > 1:
            raise LabelError(
                f"{what}: the key column is ambiguous",
                found=f"columns {', '.join(spelled)}",
                expected=f"one column named {candidate!r}, in whatever case",
                next_step=f"set {setting} to the one that is meant",
            )
        if spelled:
            return spelled[0]
    raise absent_column(names, f"a key column, one of {', '.join(KEY_COLUMNS)}", what, setting)


def normalized(keys: pl.Series, rule: KeyRule) -> pl.Series:
    """Keys as they are compared; null where a key is empty or the pattern finds nothing.

    Blanks at either end do not count, accents are equal however they are composed, and ``101.0`` is ``101``. LabelError
    that names keys of which a spreadsheet left the exponent only.
    """
    compared = keys.str.strip_chars()
    if (compared.str.len_bytes() != compared.str.len_chars()).any():  # a plain name is composed in one way only
        compared = compared.str.normalize("NFC")
    rounded = compared.filter(compared.str.contains(_SCIENTIFIC).fill_null(value=False)).unique(maintain_order=True)
    if len(rounded):
        side = "labels" if rule.setting.startswith("label") else "features"
        raise LabelError(
            f"{len(rounded)} keys of the {side} in column {rule.column!r}",
            found=f"{', '.join(rounded.head(_SHOWN))}{', …' if len(rounded) > _SHOWN else ''}, saved by a spreadsheet: "
            "digits are lost",
            expected="every digit of each key",
            next_step="take the file as it was before, or export it again with that column as text",
        )
    compared = compared.str.replace(r"^([0-9]+)\.0+$", "${1}")
    if rule.resolved in ("basename", "stem"):
        compared = compared.str.replace(r"^(?s:.*)[/\\]", "")
    if rule.resolved == "stem":
        compared = compared.str.replace(_EXTENSION, "")
    compared = compared.set(compared == "", None)
    return extract(compared, rule.regex, rule.setting) if rule.regex else compared


def compiled(pattern: str, setting: str) -> re.Pattern[str]:
    """The pattern as Python reads it; LabelError names the setting and what is wrong with the pattern."""
    try:
        program = re.compile(pattern)
        regex.compile(_for_regex(pattern), regex.VERSION0)
    except (re.error, regex.error, OverflowError, RecursionError) as error:
        raise LabelError(
            f"{setting} {pattern!r}",
            found=f"no regular expression ({error})",
            expected="one that Python's re reads, such as ([0-9]{6,})",
            next_step="correct it",
        ) from error
    return program


def same_in_polars(pattern: str) -> bool:
    """Whether polars' engine is known to find in plain keys what ``re`` finds."""
    return _SAME_IN_POLARS.fullmatch(pattern) is not None


def extract(keys: pl.Series, pattern: str, setting: str, limit_s: float = LIMIT_S) -> pl.Series:
    """Per key the first group of the first match, else the whole match; null where nothing (or nothing at all) matches.

    LabelError where the pattern is invalid, or takes too long on a key.
    """
    group = min(compiled(pattern, setting).groups, 1)
    texts = keys.drop_nulls()
    # the engines read \w, \d and $ alike only in ASCII without a line break
    is_plain = bool((texts.str.len_bytes() == texts.str.len_chars()).all()) and not bool(
        texts.str.contains("\n", literal=True).any()
    )
    if is_plain and same_in_polars(pattern):
        try:
            parts = keys.str.extract(pattern, group)
            return parts.set(parts == "", None)
        except pl.exceptions.ComputeError:  # beyond the engine's size limit
            pass
    # a table per frame has a key hundreds of times; searched is each once
    once = texts.unique()
    parts_of = dict(zip(once, _searched(once.to_list(), pattern, group, setting, limit_s), strict=True))
    return pl.Series(keys.name, [parts_of.get(key) for key in keys], dtype=pl.String)


def _searched(keys: list[str], pattern: str, group: int, setting: str, limit_s: float) -> list[str | None]:
    """What ``re`` would find in each key, found by ``regex``, which keeps a time limit."""
    stand_ins = _stand_ins({*pattern, *"".join(keys)})
    program = regex.compile(_for_regex(pattern).translate(stand_ins), regex.VERSION0)
    parts: list[str | None] = []
    for number, key in enumerate(keys):
        if number % _KEYS_PER_LIMIT == 0:
            deadline = monotonic() + limit_s
        try:
            # releasing the interpreter lock lets other threads work meanwhile
            match = program.search(key.translate(stand_ins), timeout=max(deadline - monotonic(), 1e-3), concurrent=True)
        except TimeoutError:
            raise LabelError(
                f"{setting} {pattern!r}",
                found=f"no answer within {limit_s:g} s on the key {key!r}",
                expected="a pattern that needs no endless trying",
                next_step="do not nest repetitions, as in (a+)+; a plain ([0-9]{6,}) takes a microsecond",
            ) from None
        start, end = match.span(group) if match else (0, 0)
        parts.append(key[max(start, 0) : max(end, 0)] or None)
    return parts


def _for_regex(pattern: str) -> str:
    """A pattern of ``re`` in the words of ``regex``: braces and brackets that are plain characters are escaped."""

    def escaped(part: re.Match[str]) -> str:
        if part["set"]:
            return "[" + re.sub(r"(\\.)|\[", lambda inner: inner[1] or r"\[", part["set"][1:], flags=re.DOTALL)
        return r"\{" if part["brace"] else part[0]

    return _READ_OTHERWISE.sub(escaped, pattern)


def _stand_ins(characters: set[str]) -> dict[int, str]:
    """For characters that ``re`` and ``regex`` class differently (combining accents, ², ½), one that both class as
    ``re`` does. One character stands for one, so that places in a key stay.
    """
    table = {}
    for one in characters:
        classes = [bool(re.match(kind, one)) for kind in (r"\w", r"\d", r"\s")]
        if classes != [bool(regex.match(kind, one)) for kind in (r"\w", r"\d", r"\s")]:
            is_word, _, is_space = classes
            table[ord(one)] = "\u2003" if is_space else "\u4e00" if is_word else "\ue000"
    return table


def absent_column(names: Sequence[str], expected: str, what: str, setting: str) -> LabelError:
    """The error of a column that a table lacks, with those that it has."""
    more = f" and {len(names) - _NAMES_IN_MESSAGES} more" if len(names) > _NAMES_IN_MESSAGES else ""
    listed = ", ".join(names[:_NAMES_IN_MESSAGES]) + more
    return LabelError(what, found=f"columns {listed or '(none)'}", expected=expected, next_step=f"set {setting}")
