"""Lines of values with something between them: commas, semicolons, tabs, or blanks alone."""

import csv
import io
from collections.abc import Iterator, Sequence

from vqa_assets.errors import AnnotationError

_DELIMITERS = ";\t,"
"""Of two that are as many the first: ``A001.mp4;63,52`` has a decimal comma."""


def read_delimited(text: str, what: str) -> tuple[list[tuple[int, list[str]]], bool]:
    """The lines that are not blank, each with the number of its first line, and whether commas may be decimal ones.

    A quoted value may span several lines. AnnotationError where a quote is never closed.
    """
    first = text.lstrip().partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    if delimiter not in first and len(first.split()) > 1:
        return list(_blank_separated(text)), False
    return list(_records(text, delimiter, what)), delimiter == ";"


def _blank_separated(text: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(text.splitlines(), 1):
        values = line.split()
        if values:
            yield number, values


def _records(text: str, delimiter: str, what: str) -> Iterator[tuple[int, list[str]]]:
    physical = list(io.StringIO(text, newline=""))
    reader = csv.reader(physical, delimiter=delimiter, skipinitialspace=True)
    first = 1
    try:
        for record in reader:
            values = [value.strip() for value in record]
            _check_quotes(physical[first - 1 : reader.line_num])
            if any(values):
                yield first, values
            first = reader.line_num + 1
    except csv.Error as error:
        raise AnnotationError(
            what,
            found=f"line {first} cannot be read as CSV ({error})",
            expected="every quote closed",
            next_step="correct that line",
        ) from error


def _check_quotes(record: Sequence[str]) -> None:
    """csv.Error where a quote is never closed: it would swallow all later rows as one."""
    if len(record) > 1 and sum(line.count('"') for line in record) % 2:
        raise csv.Error("a quote that is not closed")
