"""Score files that are an .xlsx workbook: the sheet that is called MOS, else the first one."""

import io
import warnings
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

from vqa_assets.corpora import Corpus
from vqa_assets.errors import AnnotationError

if TYPE_CHECKING:
    from collections.abc import Iterator

_SCORES = "mos"
_MOST_UNPACKED_BYTES = 1 << 30


def read_workbook(content: bytes, corpus: Corpus, what: str) -> list[tuple[int, list[str]]]:
    """The rows of the score sheet with their numbers, values as a person sees them (a whole number without ``.0``).

    AnnotationError where it is no workbook that can be read.
    """
    try:
        return list(_rows(content))
    except (zipfile.BadZipFile, KeyError, ValueError, OSError, EOFError, ImportError, SyntaxError, zlib.error) as error:
        raise AnnotationError(
            what,
            found=f"no UTF-8 text, and no .xlsx workbook that can be read ({error})",
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
        for number, row in enumerate(sheet.iter_rows(values_only=True), 1):
            values = [_text(value) for value in row]
            if any(values):
                yield number, values
    workbook.close()


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value).strip()
