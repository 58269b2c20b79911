"""A page's table of settings, as it must stand there: made from the sentences that forms show."""

from collections.abc import Iterable
from typing import Protocol


class Told(Protocol):
    """A setting with its name and its sentence: what it does, its default, its bounds."""

    @property
    def name(self) -> str:
        """The key."""

    @property
    def help(self) -> str:
        """``what. Default: x. bounds``."""


def settings_table(settings: Iterable[Told]) -> str:
    """The Markdown table, one row a setting."""
    rows = []
    for setting in settings:
        doc, _, rest = setting.help.partition(" Default: ")
        default, _, bounds = rest.partition(". ")
        default = default.removesuffix(".")
        shown = f"`{default}`" if "<" in default else default
        rows.append(f"| `{setting.name}` | {doc}{' ' + bounds if bounds else ''} | {shown} |\n")
    return "| setting | what | default |\n|---|---|---|\n" + "".join(rows)
