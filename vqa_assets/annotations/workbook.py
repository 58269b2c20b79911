"""Score files that are an .xlsx workbook: the sheet that is called MOS, else the first one."""

import io
import warnings
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

from vqa_assets.annotations.quoting import short
from vqa_assets.corpora import Corpus
from vqa_assets.errors import AnnotationError

if TYPE_CHECKING:
    from collections.abc import Iterator

_SCORES = "mos"
_MOST_UNPACKED_BYTES = 1 << 30
_MOST_COLUMNS = 4_096
_MOST_CELLS = 50_000_000
_UNREADABLE = (
    *(zipfile.BadZipFile, zlib.error, OSError, EOFError, ImportError, SyntaxError),
    *(LookupError, ValueError, ArithmeticError, AttributeError, TypeError, RuntimeError),
)
"""What openpyxl and zipfile raise on files that are damaged or made by hand: they do not promise less."""


def read_workbook(content: bytes, corpus: Corpus, what: str) -> list[tuple[int, list[str]]]:
    """The rows of the score sheet with their numbers, values as a person sees them (a whole number without ``.0``).

    AnnotationError where it is no workbook that can be read.
    """
    try:
        return list(_rows(content))
    except _UNREADABLE as error:
        raise AnnotationError(
            what,
            found=f"no UTF-8 text, and no .xlsx workbook that can be read ({short(str(error))})",
            expected="a CSV, TSV, JSON or XLSX file",
            next_step=f"download it again from {corpus.acquisition.where}, or save it as CSV",
        ) from error


def _rows(content: bytes) -> "Iterator[tuple[int, list[str]]]":
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > _MOST_UNPACKED_BYTES:
            raise ValueError(f"more than {_MOST_UNPACKED_BYTES} bytes when unpacked")
    import openpyxl

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # styles and extensions that say nothing about scores
        workbook = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
        sheets = {sheet.title.strip().lower(): sheet for sheet in reversed(workbook.worksheets)}
        sheet = sheets.get(_SCORES, workbook.worksheets[0])
        yield from _filled_rows(sheet)
    workbook.close()


def _filled_rows(sheet: Any) -> "Iterator[tuple[int, list[str]]]":
    """The rows that are not blank, as far as the first of them reaches: a cell far beside the table is none of it."""
    first = next((values for _, values in _rows_of(sheet, _MOST_COLUMNS)), [""])
    width = max(column for column, value in enumerate(first, 1) if value or column == 1)
    yield from _rows_of(sheet, width)


def _rows_of(sheet: Any, width: int) -> "Iterator[tuple[int, list[str]]]":
    """The first ``width`` values of the rows that are not blank; ValueError beyond ``_MOST_CELLS``, blank ones too."""
    for number, row in enumerate(sheet.iter_rows(max_col=width, values_only=True), 1):
        if number * width > _MOST_CELLS:
            raise ValueError(f"more than {_MOST_CELLS} cells, in {number} rows")
        if row.count(None) < len(row):
            values = [_text(value) for value in row]
            if any(values):
                yield number, values


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value).strip()
