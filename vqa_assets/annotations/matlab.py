"""MATLAB's files as lines of values: an array of names, one of scores, and others of their length.

Versions 5 to 7 are read by scipy; 7.3 is HDF5, and needs the extra ``mat73``. Which variables these are is said by the
corpus's spellings, and by what such files call them. What the values mean is in ``columns`` and ``rows``.
"""

import io
import math
import warnings
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vqa_assets.errors import AnnotationError

MATLAB = b"MATLAB "
"""How a MATLAB file begins, from version 5 on."""
_VERSION_7_3 = b"MATLAB 7.3"
_NAMES = ("video_names", "video_list", "vidnames", "videonames", "file_names", "filenames", "names")
_SCORES = ("scores",)
_MOST_VALUES = 50_000_000
_SHOWN = 10
_EXPECTED = "a MATLAB file of version 5 to 7, or a CSV, TSV, JSON or XLSX file"
_READING_ERRORS = (
    *(OSError, EOFError, zlib.error, ValueError, TypeError, LookupError, ArithmeticError),
    *(AttributeError, RuntimeError, MemoryError),
)
"""What scipy, h5py and mat73 raise on a file that is damaged or made by hand: it does not promise less."""


@dataclass(frozen=True)
class SheetFacts:
    """What is known of a score file before it is read: what messages call it, where it comes from, what it may say.

    A plain record, which is handed to a process that knows no corpora: those take longer to import than files to read.
    """

    what: str
    where: str
    min_rows: int
    clip: tuple[str, ...]
    mos: tuple[str, ...]
    polarity: str


def matlab_lines(content: bytes, facts: SheetFacts) -> list[tuple[int, list[str]]]:
    """The clips numbered from 1, behind a header (number 0); other arrays of their length are further columns.

    AnnotationError where it cannot be read, or holds no names, no scores, or not as many of them.
    """
    columns, arrays = (_columns_7_3 if content.startswith(_VERSION_7_3) else _columns)(content, facts.what)
    spelled = {name.lower(): name for name in columns}
    texts = [name for name, values in columns.items() if any(isinstance(value, str) for value in values)]
    name = _first((*facts.clip, *_NAMES), {s: n for s, n in spelled.items() if n in texts})
    score = _first((*facts.mos, *_SCORES), {s: n for s, n in spelled.items() if n not in texts})
    if name is None or score is None:
        expected = _NAMES if name is None else (*facts.mos, *_SCORES)
        from vqa_assets.corpora.corpus import says_dmos  # only here: all corpora come with it

        dmos = name is not None and facts.polarity == "mos" and any(map(says_dmos, columns))
        raise AnnotationError(
            facts.what,
            found=f"a MATLAB file without {'names of clips' if name is None else 'scores'} (it holds {arrays})",
            expected=f"an array of {'texts' if name is None else 'numbers'} called one of {', '.join(expected)}",
            next_step='declare polarity = "dmos" to read DMOS'
            if dmos
            else "rename the variable, or save names and scores as CSV",
        )
    count = len(columns[name])
    if len(columns[score]) != count:
        raise AnnotationError(
            facts.what,
            found=f"{count} names in {name} and {len(columns[score])} scores in {score}",
            expected="as many of one as of the other",
            next_step="correct the file, or save names and scores as CSV",
        )
    # both are called what the corpus's own files call them; an array of another length says nothing of the clips
    others = [other for other, values in columns.items() if len(values) == count and other not in (name, score)]
    header = [
        name if name.lower() in _lower(facts.clip) else facts.clip[0],
        score if score.lower() in _lower(facts.mos) else facts.mos[0],
        *others,
    ]
    rows = zip(*(columns[column] for column in (name, score, *others)), strict=True)
    return [(0, header), *((at, [_text(value) for value in row]) for at, row in enumerate(rows, 1))]


def _columns(content: bytes, what: str) -> tuple[dict[str, list[Any]], str]:
    """Variable → its texts or numbers, of those that are one value a clip; and all variables in words."""
    import numpy as np
    import scipy.io

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of variables that have one name, and the like
            shapes = {name: shape for name, shape, _ in scipy.io.whosmat(io.BytesIO(content))}
            # an array of a few packed bytes may claim all memory
            usable = [name for name, shape in shapes.items() if math.prod(shape) <= _MOST_VALUES]
            variables = scipy.io.loadmat(io.BytesIO(content), variable_names=usable, squeeze_me=True)
    except (*_READING_ERRORS, scipy.io.matlab.MatReadError) as error:
        raise _unreadable(error, what) from error
    columns = {}
    for name in usable:
        array = np.atleast_1d(np.asarray(variables.get(name)))
        # a cell of a text is the text; an empty one is an array of nothing
        values = (
            ["" if isinstance(v, np.ndarray) and not v.size else v for v in array.tolist()] if array.ndim == 1 else []
        )
        if _is_column(values):
            columns[name] = values
    return columns, _in_words(shapes)


def _columns_7_3(content: bytes, what: str) -> tuple[dict[str, list[Any]], str]:
    """As ``_columns``, of a file of version 7.3."""
    try:
        import h5py
        import mat73
    except ImportError as error:
        raise AnnotationError(
            what,
            found="a MATLAB file of version 7.3",
            expected=f"{_EXPECTED}; or the extra mat73, which reads 7.3",
            next_step="pip install 'vqa-assets[mat73]', or save names and scores in MATLAB again, by "
            "save('scores.mat', …, '-v7'), or as CSV",
        ) from error
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            # HDF5 has a shape's sizes in the other order; what is no dataset is a structure
            shapes = {n: one.shape[::-1] for n, one in file.items() if isinstance(one, h5py.Dataset)}
        if any(math.prod(shape) > _MOST_VALUES for shape in shapes.values()):
            raise MemoryError(f"arrays of more than {_MOST_VALUES} values")
        variables = mat73.loadmat(io.BytesIO(content), verbose=False)
    except _READING_ERRORS as error:
        raise _unreadable(error, what) from error
    columns = {name: values for name in shapes if _is_column(values := _values_7_3(variables.get(name)))}
    return columns, _in_words(shapes)


def _values_7_3(variable: Any) -> list[Any]:
    """One value a clip, whichever way the array lies; nothing where it has two sides."""
    if isinstance(variable, list):  # a cell; one that lies along its first side is a list of lists
        cells = [one[0] if isinstance(one, list) and len(one) == 1 else one for one in variable]
        return [str(one) if isinstance(one, str) else one for one in cells]
    if getattr(variable, "ndim", None) in (0, 1):
        values = variable.tolist()
        return values if isinstance(values, list) else [values]
    return [variable]


def _is_column(values: list[Any]) -> bool:
    """Whether the values are all texts or all numbers, and there are any."""
    return bool(values) and any(all(isinstance(value, kind) for value in values) for kind in (str, int | float))


def _in_words(shapes: Mapping[str, tuple[int, ...]]) -> str:
    shown = [f"{name} {'×'.join(map(str, shape))}" for name, shape in list(shapes.items())[:_SHOWN]]
    return ", ".join(shown) + (", …" if len(shapes) > _SHOWN else "") or "nothing"


def _unreadable(error: BaseException, what: str) -> AnnotationError:
    return AnnotationError(
        what,
        found=f"a MATLAB file that cannot be read ({str(error)[:80]})",
        expected=_EXPECTED,
        next_step="download it again, or save names and scores as CSV",
    )


def _first(spellings: Iterable[str], there: Mapping[str, str]) -> str | None:
    return next((there[spelling] for spelling in _lower(spellings) if spelling in there), None)


def _lower(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name.lower() for name in names)


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
