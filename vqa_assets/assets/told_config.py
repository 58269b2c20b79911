"""The run config of assets: every setting tells its default and its bounds where the web UI shows its sentence."""

import re
from typing import Any

import dagster as dg
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from vqa_assets.assets.runs import dagster_failures
from vqa_assets.errors import SettingsError

_BOUNDS = {"ge": "At least", "gt": "Above", "le": "At most", "lt": "Below"}


class ToldConfig(dg.Config):
    """A config whose descriptions end with the default and the bounds, where they do not tell them already."""

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            with dagster_failures():
                raise _told(error) from error

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Complete the descriptions; Dagster reads them when an asset is declared with the class."""
        super().__pydantic_init_subclass__(**kwargs)
        for field in cls.model_fields.values():
            field.description = " ".join([field.description or "", *_missing(field)]).strip()


def _told(error: ValidationError) -> SettingsError:
    """The first value that is out of its bounds, or of another type, as every other setting is told."""
    first = error.errors()[0]
    bounds = [f"{_BOUNDS[name].lower()} {bound:g}" for name, bound in first.get("ctx", {}).items() if name in _BOUNDS]
    expected = bounds[0] if bounds else first["msg"].lower().removeprefix("input should be ")
    where = ".".join(str(part) for part in first["loc"])
    return SettingsError(where, found=repr(first["input"])[:200], expected=expected, next_step="correct the run config")


def _missing(field: FieldInfo) -> list[str]:
    """The sentences that a description lacks."""
    told = field.description or ""
    numbers = re.findall(r"[\d.]*\d", told.partition("Default")[2])
    default = [] if "Default:" in told else [f"Default: {_shown(field.default)}."]
    return default + [f"{words} {bound:g}." for words, bound in _bounds(field) if f"{bound:g}" not in numbers]


def _bounds(field: FieldInfo) -> list[tuple[str, float]]:
    return [(words, getattr(m, name)) for m in field.metadata for name, words in _BOUNDS.items() if hasattr(m, name)]


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    return str(default) if default or default == 0 else "none"
