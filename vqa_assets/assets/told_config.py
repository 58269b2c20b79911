"""The run config of assets: every setting tells its default and its bounds where the web UI shows its sentence."""

import re
from typing import Any

import dagster as dg
from pydantic.fields import FieldInfo

_BOUNDS = {"ge": "At least", "gt": "Above", "le": "At most", "lt": "Below"}


class ToldConfig(dg.Config):
    """A config whose descriptions end with the default and the bounds, where they do not tell them already."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Complete the descriptions; Dagster reads them when an asset is declared with the class."""
        super().__pydantic_init_subclass__(**kwargs)
        for field in cls.model_fields.values():
            field.description = " ".join([field.description or "", *_missing(field)]).strip()


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
