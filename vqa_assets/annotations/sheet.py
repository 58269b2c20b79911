"""A score file's bytes as numbered lines of values. The content decides the format, not the file's name.

What the values mean is in ``columns`` and ``rows``.
"""

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vqa_assets.annotations.delimited import read_delimited
from vqa_assets.annotations.json_list import read_json_list
from vqa_assets.annotations.workbook import read_workbook
from vqa_assets.corpora import Corpus
from vqa_assets.errors import AnnotationError
from vqa_assets.tables.files import HTML_PAGE, LFS_POINTER

_ZIP = b"PK\x03\x04"
_LOOKED_AT = 400

Line = tuple[int, list[str]]
"""A line's number, from 1, and its values, stripped; in a JSON list or a workbook the number is the row's."""


@dataclass(frozen=True)
class Sheet:
    """The lines of one file that are not blank, a header included. ``decimal_comma``: 3,5 may mean 3.5."""

    lines: Sequence[Line]
    decimal_comma: bool = False


def read_sheet(content: bytes, corpus: Corpus, path: Path) -> Sheet:
    """The lines of a file in any of the known formats; AnnotationError where it is none of them, empty or a pointer."""
    what = f"{corpus.name}: {path}"
    if content.startswith(LFS_POINTER):
        raise AnnotationError(
            what, found="a Git-LFS pointer", expected="the score file", next_step="run git lfs pull where it came from"
        )
    if content.startswith(_ZIP):
        return Sheet(read_workbook(content, corpus, what))
    if HTML_PAGE.match(content):
        raise AnnotationError(
            what,
            found="an HTML page",
            expected="the score file",
            next_step=f"open it to see what it asks for, and download the file itself from {corpus.acquisition.where}",
        )
    text = _decoded(content, corpus, what)
    if text.lstrip()[:1] in ("[", "{"):
        return Sheet(read_json_list(text, what))
    return Sheet(*read_delimited(text, what))


def _decoded(content: bytes, corpus: Corpus, what: str) -> str:
    if not content.removeprefix(codecs.BOM_UTF8).strip():
        raise AnnotationError(
            what,
            found="an empty file",
            expected=f"a header and at least {corpus.min_rows} rows",
            next_step=f"download it again from {corpus.acquisition.where}",
        )
    if _is_utf16(content):
        raise AnnotationError(
            what,
            found="UTF-16 text, no UTF-8 text",
            expected="a CSV, TSV, JSON or XLSX file",
            next_step="save it as UTF-8",
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise AnnotationError(
            what,
            found=f"bytes that are no UTF-8 text ({error})",
            expected="a CSV, TSV, JSON or XLSX file",
            next_step="save it as UTF-8",
        ) from error


def _is_utf16(content: bytes) -> bool:
    """Whether it begins with the mark of UTF-16, or like Latin letters of two bytes each without it."""
    start = content[:_LOOKED_AT]
    halves = (start[0::2], start[1::2])
    zeros = [half.count(0) > len(half) / 2 for half in halves]
    return content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or zeros in ([True, False], [False, True])
