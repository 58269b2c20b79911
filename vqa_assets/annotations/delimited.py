"""Lines of values with something between them: commas, semicolons, tabs, or blanks alone."""

import csv
import io
import re
from collections.abc import Iterator, Sequence

from vqa_assets.annotations.numbers import is_number
from vqa_assets.errors import AnnotationError

_DELIMITERS = ";\t,"
"""Of two that are as many the first: ``A001.mp4;63,52`` has a decimal comma."""


def read_delimited(text: str, what: str) -> tuple[list[tuple[int, list[str]]], bool]:
    """The lines that are not blank, each with the number of its first line, and whether commas may be decimal ones.

    A quoted value may span several lines. AnnotationError where a quote is never closed, or where two stray ones have
    rows between them.
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
    separators = next((line.count(delimiter) for line in physical if line.strip()), 0)
    first = 1
    try:
        for record in reader:
            values = [value.strip() for value in record]
            _check_quotes(physical[first - 1 : reader.line_num], delimiter, separators)
            if any(values):
                yield first, values
            first = reader.line_num + 1
    except csv.Error as error:
        raise AnnotationError(
            what,
            found=f"line {first} cannot be read as CSV ({error})",
            expected=_expected(error),
            next_step="correct that line",
        ) from error


def _expected(error: csv.Error) -> str:
    most = f", and no value of more than {csv.field_size_limit()} characters" if "field limit" in str(error) else ""
    return f"every quote closed{most}"


def _check_quotes(record: Sequence[str], delimiter: str, separators: int) -> None:
    """csv.Error where the lines of one record are several rows, swallowed by a quote that is closed late or never."""
    if len(record) == 1:
        return
    if sum(line.count('"') for line in record) % 2:
        raise csv.Error("a quote that is not closed")
    tight = [re.sub(rf'"[ ]+(?={delimiter}|[\r\n]|$)', '"', line) for line in record]
    list(csv.reader(tight, delimiter=delimiter, skipinitialspace=True, strict=True))
    if sum(_is_row(line, delimiter, separators) for line in record) > 1:
        raise csv.Error("a stray quote: the value that it begins holds whole rows")


def _is_row(line: str, delimiter: str, separators: int) -> bool:
    """Whether a line by itself has as many values as the file's first, a number among them: a row, and no prose."""
    values = line.split(delimiter)
    return len(values) == separators + 1 and any(is_number(value.strip(' \r\n"')) for value in values)
