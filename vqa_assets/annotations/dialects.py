"""A score file's bytes as numbered lines of values, whatever its format: the content decides, not the name.

CSV, TSV, blanks, JSON and XLSX are read here, MATLAB's files in ``matlab``. What the values mean is in
``columns`` and ``rows``.
"""

import codecs
import csv
import io
import json
import math
import re
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from vqa_assets.annotations.matlab import MATLAB, SheetFacts, matlab_lines
from vqa_assets.errors import AnnotationError
from vqa_assets.tables.files import HTML_PAGE, LFS_POINTER

_ZIP = b"PK\x03\x04"
_UTF16_LOOKED_AT = 400
DELIMITERS = ";\t,|"
"""Of two that are as many the first: ``A001.mp4;63,52`` has a decimal comma."""
_SEPARATOR_LINE = re.compile(r"""\s*"?sep=([^\w\s"']|\t)"?\s*""", re.IGNORECASE)
"""A first line by which Excel is told what divides the values."""
_COMMENT = re.compile(r"\s*(?:#|%|//)(?P<text>.*)", re.DOTALL)
_ENDS_OF_LINES = re.compile(r"(?<=\n)|(?<=\r)(?!\n)")
_UNPACK, _SAVE = "unpack it, and give the score file inside", "save it as CSV or .xlsx"
_BINARIES = (
    (0, b"\x1f\x8b", "a gzip file", _UNPACK),
    (0, b"BZh", "a bzip2 file", _UNPACK),
    (0, b"\xfd7zXZ\x00", "an xz file", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard file", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (0, b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (257, b"ustar", "a tar archive", _UNPACK),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook (.xls)", _SAVE),
    (0, b"{\\rtf", "a rich text document (.rtf)", _SAVE),
    (0, b"%PDF-", "a PDF document", "copy its table into a CSV file"),
    (0, b"PAR1", "a Parquet table", _SAVE),
    (0, b"ARROW1", "an Arrow file", _SAVE),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file", _SAVE),
    (0, b"\x93NUMPY", "a NumPy array", _SAVE),
    (0, b"SQLite format 3\x00", "an SQLite database", _SAVE),
    (0, b"\x89PNG", "a picture (PNG)", "give the score file"),
    (0, b"\xff\xd8\xff", "a picture (JPEG)", "give the score file"),
    (4, b"ftyp", "a video (MP4)", "give the score file"),
    (0, b"\x1aE\xdf\xa3", "a video (Matroska or WebM)", "give the score file"),
)
"""Where they stand, bytes by which a file that is no score file is known, what it is, what helps."""
_SCORE_SHEET = "mos"
_MOST_UNPACKED_BYTES = 1 << 30
_MOST_COLUMNS = 4_096
_MOST_CELLS = 50_000_000
_WORKBOOK_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, OSError, EOFError, ImportError, SyntaxError),
    *(LookupError, ValueError, ArithmeticError, AttributeError, TypeError, RuntimeError),
)
"""What openpyxl and zipfile raise on files that are damaged or made by hand: they do not promise less."""
_MOST_QUOTED = 80
_READABLE = "a CSV, TSV, JSON, XLSX or MATLAB file"

Line = tuple[int, list[str]]
"""A line's number, from 1, and its values, stripped; in a JSON list or a workbook the number is the row's."""


@dataclass(frozen=True)
class Sheet:
    """The lines of one file that are not blank, a header included. ``decimal_comma``: 3,5 may mean 3.5."""

    lines: Sequence[Line]
    decimal_comma: bool = False


def short(text: str) -> str:
    """The text as a message quotes it: whole, or its beginning and an ellipsis."""
    return text if len(text) <= _MOST_QUOTED else f"{text[:_MOST_QUOTED]}…"


def number(text: str, *, decimal_comma: bool = False) -> float:
    """The number a text holds; NaN where it holds none. ``decimal_comma`` reads 3,5 as 3.5; 1_0 is Python's own."""
    try:
        return math.nan if "_" in text else float(text.replace(",", ".") if decimal_comma else text)
    except ValueError:
        return math.nan


def is_number(text: str) -> bool:
    """Whether a text is a number; a literal NaN is one."""
    return text.strip().lower() == "nan" or not math.isnan(number(text, decimal_comma=True))


def import_reader(content: bytes) -> None:
    """Import the library that reads such a file, where one does; that the extra for 7.3 is absent reading it says."""
    if content.startswith(_ZIP):
        import openpyxl  # noqa: F401
    elif content.startswith(MATLAB):
        import scipy.io  # noqa: F401

        with suppress(ImportError):
            import mat73  # noqa: F401


def read_sheet(content: bytes, facts: SheetFacts) -> Sheet:
    """The lines of a file in any of the known formats; AnnotationError where it is none of them, empty or a pointer."""
    what = facts.what
    if content.startswith(LFS_POINTER):
        raise AnnotationError(
            what, found="a Git-LFS pointer", expected="the score file", next_step="run git lfs pull where it came from"
        )
    if content.startswith(_ZIP):  # an .xlsx is a zip file, whatever it is called
        return Sheet(_workbook_lines(content, facts))
    if content.startswith(MATLAB):
        return Sheet(matlab_lines(content, facts))
    for at, start, kind, remedy in _BINARIES:
        if content.startswith(start, at):
            raise AnnotationError(what, found=kind, expected=_READABLE, next_step=remedy)
    if HTML_PAGE.match(content):
        raise AnnotationError(
            what,
            found="an HTML page",
            expected="the score file",
            next_step=f"open it to see what it asks for, and download the file itself from {facts.where}",
        )
    if not content.removeprefix(codecs.BOM_UTF8).strip():
        raise AnnotationError(
            what,
            found="an empty file",
            expected=f"a header and at least {facts.min_rows} rows",
            next_step=f"download it again from {facts.where}",
        )
    if _is_utf16(content):
        raise _no_text(what, "UTF-16 text, no UTF-8 text")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if b"\0" in content:  # no text of any encoding but UTF-16 holds one
            raise AnnotationError(what, found="a binary file, no text", expected=_READABLE, next_step=_SAVE) from error
        raise _no_text(what, f"bytes that are no UTF-8 text ({error})") from error
    # no delimited score file begins like that
    if text.lstrip()[:1] in ("[", "{"):
        return Sheet(_json_lines(text, what))
    text, stated = without_preamble(text)
    first = text.lstrip().partition("\n")[0]
    delimiter = stated or max(DELIMITERS, key=first.count)
    if delimiter not in first and len(first.split()) > 1:  # columns set apart by blanks alone
        split = ((at, line.split()) for at, line in enumerate(text.splitlines(), 1))
        return Sheet([(at, values) for at, values in split if values])
    return Sheet(list(_delimited_lines(text, delimiter, what)), decimal_comma=delimiter == ";")


def without_preamble(text: str) -> tuple[str, str]:
    """The text with the lines above its first row or header left empty, and the separator that ``sep=`` names, if any.

    These are comments (after #, % or //) and ``sep=;``. A name may begin with # too: such a line is a row where a
    number is its last value.
    """
    stated = ""
    lines = _ENDS_OF_LINES.split(text)
    for at, line in enumerate(lines):
        if not stated and (separator := _SEPARATOR_LINE.fullmatch(line)):
            stated = separator[1]
        elif not line.strip():
            continue
        elif not (comment := _COMMENT.fullmatch(line)) or _is_row(comment["text"]):
            break
        lines[at] = line[len(line.rstrip("\r\n")) :]  # the numbers of the lines below stay
    return "".join(lines), stated


def _is_row(behind_mark: str) -> bool:
    """Whether what stands behind a comment's mark may go on a name: values follow, and the last one is a number."""
    values = re.split(f"[{DELIMITERS}]", behind_mark) if set(DELIMITERS) & set(behind_mark) else behind_mark.split()
    return behind_mark[:1].isalnum() and len(values) > 1 and is_number(values[-1])


def _is_utf16(content: bytes) -> bool:
    """Whether it begins with the mark of UTF-16, or like Latin letters of two bytes each without it."""
    start = content[:_UTF16_LOOKED_AT]
    halves = (start[0::2], start[1::2])
    zeros = [half.count(0) > len(half) / 2 for half in halves]
    return content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or zeros in ([True, False], [False, True])


def _no_text(what: str, found: str) -> AnnotationError:
    return AnnotationError(what, found=found, expected=_READABLE, next_step="save it as UTF-8")


def _delimited_lines(text: str, delimiter: str, what: str) -> Iterator[Line]:
    """The records that are not blank, each with the number of its first line; a quoted value may span several lines.

    AnnotationError where a quote is never closed, or where two stray ones have rows between them.
    """
    # the reader's records and the file's own lines are compared: csv takes rows between two stray quotes for one value
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
        limit = (
            f", and no value of more than {csv.field_size_limit()} characters" if "field limit" in str(error) else ""
        )
        raise AnnotationError(
            what,
            found=f"line {first} cannot be read as CSV ({error})",
            expected=f"every quote closed{limit}",
            next_step="correct that line",
        ) from error


def _check_quotes(record: Sequence[str], delimiter: str, separators: int) -> None:
    """csv.Error where the lines of one record are several rows, swallowed by a quote that is closed late or never.

    A line is a row, and no prose, if it has as many values as the file's first (``separators`` + 1) and a number among
    them.
    """
    if len(record) == 1:
        return
    if sum(line.count('"') for line in record) % 2:
        raise csv.Error("a quote that is not closed")
    # strict reading refuses blanks behind a closing quote, which do no harm
    tight = [re.sub(rf'"[ ]+(?={delimiter}|[\r\n]|$)', '"', line) for line in record]
    list(csv.reader(tight, delimiter=delimiter, skipinitialspace=True, strict=True))
    rows = 0
    for line in record:
        values = line.split(delimiter)
        rows += len(values) == separators + 1 and any(is_number(value.strip(' \r\n"')) for value in values)
    if rows > 1:
        raise csv.Error("a stray quote: the value that it begins holds whole rows")


class _RepeatedKeyError(Exception):
    """A key that an object has more than once."""


def _json_lines(text: str, what: str) -> list[Line]:
    """The rows of a JSON list, numbered from 1, behind a header (number 0) where they are objects.

    An object around the list (``{"rows": […]}``) is looked through. AnnotationError where there is no such list.
    """

    def object_of(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            raise _RepeatedKeyError(Counter(key for key, _ in pairs).most_common(1)[0][0])
        return made

    try:
        value = json.loads(text, object_pairs_hook=object_of)
    except _RepeatedKeyError as key:
        raise _no_list(what, f"an object with more than one {short(str(key))!r}") from None
    except RecursionError as error:
        raise _no_list(what, "lists within lists without end") from error
    except ValueError as error:
        raise _no_list(what, f"not JSON ({error})") from error
    lists = [v for v in value.values() if isinstance(v, list)] if isinstance(value, dict) else [value]
    if len(lists) != 1 or not isinstance(lists[0], list):
        raise _no_list(what, f"a JSON {type(value).__name__} with {len(lists)} lists")
    rows = lists[0]
    if rows and all(isinstance(row, Mapping) for row in rows):
        # not every object need have every key
        names = list(dict.fromkeys(name for row in rows for name in row))
        return [(0, names), *((at, [_json_text(row.get(name)) for name in names]) for at, row in enumerate(rows, 1))]
    for at, row in enumerate(rows, 1):
        if not isinstance(row, list):
            raise _no_list(what, f"row {at} is {type(row).__name__}")
    return [(at, [_json_text(value) for value in row]) for at, row in enumerate(rows, 1)]


def _no_list(what: str, found: str) -> AnnotationError:
    return AnnotationError(
        what,
        found=found,
        expected='a JSON list of rows, such as [{"name": "a.mp4", "mos": 3.5}]',
        next_step="correct the file, or save it as CSV",
    )


def _json_text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _workbook_lines(content: bytes, facts: SheetFacts) -> list[Line]:
    """The rows of an .xlsx workbook's sheet MOS, else of its first, values as a person sees them (3, not 3.0).

    AnnotationError where it is no workbook that can be read.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            # a small file that unpacks to gigabytes would take all memory
            if sum(entry.file_size for entry in archive.infolist()) > _MOST_UNPACKED_BYTES:
                raise ValueError(f"more than {_MOST_UNPACKED_BYTES} bytes when unpacked")
            names = archive.namelist()
        if not any(name.startswith("xl/") for name in names):
            is_ods = "content.xml" in names and "mimetype" in names
            raise AnnotationError(
                facts.what,
                found="an OpenDocument spreadsheet (.ods)"
                if is_ods
                else f"a ZIP archive of {len(names)} files ({', '.join(map(short, names[:3]))})",
                expected=_READABLE,
                next_step=_SAVE if is_ods else _UNPACK,
            )
        import openpyxl

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # styles and extensions that say nothing about scores
            workbook = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
            # reversed, so that of two sheets called MOS the first one counts
            sheets = {sheet.title.strip().lower(): sheet for sheet in reversed(workbook.worksheets)}
            sheet = sheets.get(_SCORE_SHEET, workbook.worksheets[0])
            sheet.reset_dimensions()  # what the file says of its size, by which rows beyond it would be left out
            # a cell far beside the table is none of it: the first row says how far the table reaches
            header = next((values for _, values in _sheet_lines(sheet, _MOST_COLUMNS)), [""])
            width = max(column for column, value in enumerate(header, 1) if value or column == 1)
            lines = list(_sheet_lines(sheet, width))
        workbook.close()
    except _WORKBOOK_ERRORS as error:
        raise AnnotationError(
            facts.what,
            found=f"no UTF-8 text, and no .xlsx workbook that can be read ({short(str(error))})",
            expected=_READABLE,
            next_step=f"download it again from {facts.where}, or save it as CSV",
        ) from error
    return lines


def _sheet_lines(sheet: Any, width: int) -> Iterator[Line]:
    """The first ``width`` values of the rows that are not blank; ValueError beyond ``_MOST_CELLS``, blank ones too."""
    for at, row in enumerate(sheet.iter_rows(max_col=width, values_only=True), 1):
        # blank cells count: a file may claim a million rows of nothing
        if at * width > _MOST_CELLS:
            raise ValueError(f"more than {_MOST_CELLS} cells, in {at} rows")
        if row.count(None) < len(row):
            values = [_cell_text(value) for value in row]
            if any(values):
                yield at, values


def _cell_text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value).strip()
