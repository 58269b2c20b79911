"""Score files that are a JSON list: of objects, whose keys are the header, or of lists, one a row."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

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
        return json.loads(text)
    except ValueError as error:
        raise _no_list(what, f"not JSON ({error})") from error


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
