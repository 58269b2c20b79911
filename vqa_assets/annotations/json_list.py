"""Score files that are a JSON list: of objects, whose keys are the header, or of lists, one a row."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from vqa_assets.annotations.quoting import short
from vqa_assets.errors import AnnotationError


def read_json_list(text: str, what: str) -> list[tuple[int, list[str]]]:
    """The rows with their numbers from 1, behind a header (number 0) where they are objects.

    An object around the list (``{"rows": […]}``) is looked through. AnnotationError where there is no such list.
    """
    rows = _list_in(_parsed(text, what), what)
    if rows and all(isinstance(row, Mapping) for row in rows):
        names = list(dict.fromkeys(name for row in rows for name in row))
        return [(0, names), *((number, [_text(row.get(n)) for n in names]) for number, row in enumerate(rows, 1))]
    for number, row in enumerate(rows, 1):
        if not isinstance(row, list):
            raise _no_list(what, f"row {number} is {type(row).__name__}")
    return [(number, [_text(value) for value in row]) for number, row in enumerate(rows, 1)]


def _parsed(text: str, what: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_each_once)
    except _TwiceError as twice:
        raise _no_list(what, f"an object with more than one {short(str(twice))!r}") from None
    except RecursionError as error:
        raise _no_list(what, "lists within lists without end") from error
    except ValueError as error:
        raise _no_list(what, f"not JSON ({error})") from error


class _TwiceError(Exception):
    """A key that an object has more than once."""


def _each_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise _TwiceError(Counter(key for key, _ in pairs).most_common(1)[0][0])
    return made


def _list_in(value: Any, what: str) -> Sequence[Any]:
    lists = [v for v in value.values() if isinstance(v, list)] if isinstance(value, dict) else [value]
    if len(lists) == 1 and isinstance(lists[0], list):
        return lists[0]
    raise _no_list(what, f"a JSON {type(value).__name__} with {len(lists)} lists")


def _no_list(what: str, found: str) -> AnnotationError:
    return AnnotationError(
        what,
        found=found,
        expected='a JSON list of rows, such as [{"name": "a.mp4", "mos": 3.5}]',
        next_step="correct the file, or save it as CSV",
    )


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()
