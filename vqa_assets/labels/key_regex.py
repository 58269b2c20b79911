"""A regular expression searched in keys, with the meaning of Python's ``re``.

Most patterns run on the linear-time engine of polars: those of which both engines mean the same on plain keys (ASCII,
no line break). All others run in Python, under a time limit, because a pattern such as ``(a+)+$`` may never end there.
"""

import re
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import polars as pl

from vqa_assets.errors import LabelError

LIMIT_S = 5.0
"""Longest time for one thousand keys in Python; an ordinary pattern takes a millisecond."""
_CHUNK = 1_000
_ASCII_CLASSES = {"d": "0-9", "w": "0-9A-Za-z_"}
_TOKEN = re.compile(
    r"""
      (?P<class>\[\^?(?:[A-Za-z0-9_\ .,:;/@=+*?()|{}$\#%!'"<>-]|\\[dw\-\].^/_\\])+\])
    | (?P<kind>\\[dDwW])
    | (?P<edge>[\^$]|\\b)
    | (?P<escape>\\[.^$*+?{}\[\]|()\\/_\-\ ])
    | (?P<open>\((?!\?)|\(\?P<[A-Za-z_][A-Za-z0-9_]*>|\(\?:)
    | (?P<close>\))
    | (?P<quantity>(?:[*+?]|\{[0-9]+(?:,[0-9]*)?\})\??(?![*+?{]))
    | (?P<or>\|)
    | (?P<plain>[^\\^$*+?{}\[\]|()])
    """,
    re.VERBOSE,
)


class _TimeUpError(Exception):
    """Raised inside ``re`` by the alarm."""


def compiled(pattern: str, setting: str) -> re.Pattern[str]:
    """The pattern as Python reads it; LabelError names the setting and what is wrong with the pattern."""
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise LabelError(
            f"{setting} {pattern!r}",
            found=f"no regular expression ({error})",
            expected="one that Python's re reads, such as ([0-9]{6,})",
            next_step="correct it",
        ) from error


def extract(keys: pl.Series, pattern: str, setting: str, limit_s: float = LIMIT_S) -> pl.Series:
    """Per key the first group of the first match, else the whole match; null where nothing (or nothing at all) matches.

    LabelError where the pattern is invalid, or takes too long on a key.
    """
    program = compiled(pattern, setting)
    translated = same_on_plain_keys(pattern)
    if translated is not None and _all_plain(keys):
        try:
            found = keys.str.extract(translated, min(program.groups, 1))
        except pl.exceptions.ComputeError:  # beyond the engine's size limit
            found = None
        if found is not None:
            return found.set(found == "", None)
    return pl.Series(keys.name, _in_python(keys.to_list(), program, setting, limit_s), dtype=pl.String)


def same_on_plain_keys(pattern: str) -> str | None:
    """The pattern in the engine's words, where both engines find the same in plain keys; None where they may not."""
    position, told, structure = 0, list[str](), _Structure()
    while position < len(pattern):
        token = _TOKEN.match(pattern, position)
        if token is None or not structure.allows(str(token.lastgroup), token.group()):
            return None
        position = token.end()
        told.append(_in_engine_words(str(token.lastgroup), token.group()))
    return "".join(told)


class _Group:
    """What a group holds: only one without captures, choices, repetitions and edges may be repeated as a whole."""

    def __init__(self, *, captures: bool) -> None:
        self.is_simple = not captures


class _Structure:
    """The groups that are open while a pattern is read, and what stands before the next token."""

    def __init__(self) -> None:
        self._open = [_Group(captures=False)]
        self._last = _UNREPEATABLE

    def allows(self, kind: str, text: str) -> bool:
        """Take one token; False where the engines may differ from there on."""
        if (kind == "quantity" and not self._last.is_simple) or (kind == "class" and "--" in text):
            return False
        if kind == "open":
            self._open.append(_Group(captures=text != "(?:"))
        elif kind == "close":
            self._last = self._open.pop()
            self._open[-1].is_simple &= self._last.is_simple
            return True
        elif kind in ("or", "quantity", "edge"):
            self._open[-1].is_simple = False
        self._last = _UNREPEATABLE if kind in ("edge", "or", "open", "quantity") else _Group(captures=False)
        return True


_UNREPEATABLE = _Group(captures=True)


def _in_engine_words(kind: str, text: str) -> str:
    if kind == "class":
        return re.sub(r"\\(.)", lambda m: _ASCII_CLASSES.get(m.group(1), m.group()), text)
    if kind == "kind":
        return f"[{'^' if text[1].isupper() else ''}{_ASCII_CLASSES[text[1].lower()]}]"
    if kind == "escape":
        return text if text[1] in r".^$*+?{}[]|()\-" else text[1]
    return text


def _all_plain(keys: pl.Series) -> bool:
    known = keys.drop_nulls()
    return bool((known.str.len_bytes() == known.str.len_chars()).all()) and not bool(
        known.str.contains("\n", literal=True).any()
    )


def _in_python(keys: Sequence[str | None], program: re.Pattern[str], setting: str, limit_s: float) -> list[str | None]:
    if threading.current_thread() is not threading.main_thread():
        raise LabelError(
            f"{setting} {program.pattern!r}",
            found="a pattern that only Python's re reads, on a thread that cannot be stopped when it takes too long",
            expected="a pattern without lookaround, backreference and flags, or a run on the main thread",
            next_step="write it with a group, such as _([0-9]{6,}) instead of (?<=_)[0-9]{6,}",
        )
    found: list[str | None] = []
    for start in range(0, len(keys), _CHUNK):
        try:
            with _alarm(limit_s):
                for key in keys[start : start + _CHUNK]:
                    found.append(_searched(program, key))
        except _TimeUpError:
            raise _too_slow(program, setting, keys[len(found)], limit_s) from None
    return found


def _searched(program: re.Pattern[str], key: str | None) -> str | None:
    match = None if key is None else program.search(key)
    if match is None:
        return None
    return match.group(1 if program.groups else 0) or None


def _too_slow(program: re.Pattern[str], setting: str, key: str | None, limit_s: float) -> LabelError:
    return LabelError(
        f"{setting} {program.pattern!r}",
        found=f"no answer within {limit_s:g} s on the key {key!r}",
        expected="a pattern that needs no endless trying",
        next_step="do not nest repetitions, as in (a+)+; a plain ([0-9]{6,}) takes a microsecond",
    )


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise inside the block when its time is up; ``re`` looks for signals while it searches."""

    def ring(*_: Any) -> None:
        raise _TimeUpError

    before = signal.signal(signal.SIGALRM, ring)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left, interval)
        signal.signal(signal.SIGALRM, before)
