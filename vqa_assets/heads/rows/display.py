"""The display that scores are meant for: the fields of a profile, how each is read, and a profile's file.

A profile's fields may be written with or without ``display_``, at the top or under ``display``, ``panel``, ``profile``.
How a table's own display columns are read, by the same fields, is in ``columns``.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqa_assets.errors import SettingsError
from vqa_assets.feature_names import DISPLAY_COLUMNS
from vqa_assets.tables.files import no_file_at

_PEAK, _BLACK, _CONTRAST, _AMBIENT, _BT2020, _P3, _OLED, _QLED, _LCD, _DIMMING, _TONE = DISPLAY_COLUMNS
_NESTED = ("display", "panel", "profile")
_YES = ("true", "yes", "on", "1", "full-array", "fald", "mini-led", "edge")
_NO = ("false", "no", "off", "0", "none", "global")
_DYNAMIC = ("dynamic", "hdr10+", "dolby vision", "dolby-vision", "true", "yes", "on", "1")
_STATIC = ("static", "hdr10", "hlg", "clip", "none", "false", "no", "off", "0")
_PANELS = {_OLED: r"oled", _QLED: r"qled|quantum.?dot", _LCD: r"lcd|\b(ips|va|tn|led)\b"}


def number(value: Any, what: str) -> float:
    """A number of 0 or more, also as text; SettingsError names the field otherwise."""
    try:
        parsed = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        parsed = math.nan
    if not (math.isfinite(parsed) and parsed >= 0):
        raise _wrong(what, value, "a finite number of 0 or more")
    return parsed


def fraction(value: Any, what: str) -> float:
    """A coverage in 0–1, from a fraction (at most 1) or a percentage (2 to 100, or ``72%``)."""
    percent = isinstance(value, str) and value.strip().endswith("%")
    coverage = number(value.strip().rstrip("%") if isinstance(value, str) else value, what)
    if not percent and 1 < coverage < 2:
        raise _wrong(what, value, "a fraction of at most 1 or a percentage of 2 to 100; this could be either")
    if coverage > 100:
        raise _wrong(what, value, "a fraction of at most 1 or a percentage of at most 100")
    return coverage / 100 if percent or coverage > 1 else coverage


def contrast_log_norm(peak: float, black: float = 1.0) -> float:
    """log10(peak / black) / 7, clamped to 0–1; 1 where black gives no light."""
    if black == 0:
        return 1.0
    return min(1.0, max(0.0, math.log10(peak / black) / 7)) if peak > 0 else 0.0


def _ratio(value: Any, what: str) -> float:
    return contrast_log_norm(number(value.removesuffix(":1") if isinstance(value, str) else value, what))


def _switch(yes: tuple[str, ...], no: tuple[str, ...]) -> Callable[[Any, str], float]:
    def read(value: Any, what: str) -> float:
        # A table's column of yes and no may hold 1.0 and 0.0.
        word = str(int(value) if isinstance(value, float) and value.is_integer() else value).strip().lower()
        if word not in (*yes, *no):
            raise _wrong(what, value, f"one of {', '.join(yes)} or {', '.join(no)}")
        return float(word in yes)

    return read


def panel(value: Any, what: str) -> dict[str, float]:
    """The three panel columns of a panel's name; a quantum-dot OLED is an OLED."""
    word = str(value).strip().lower()
    for column, pattern in _PANELS.items():
        if re.search(pattern, word):
            return {name: float(name == column) for name in _PANELS}
    raise _wrong(what, value, "an OLED, QLED or LCD panel")


@dataclass(frozen=True)
class DisplayField:
    """One field of a profile: its spellings, the columns it gives, and how its value is read."""

    spellings: tuple[str, ...]
    columns: tuple[str, ...]
    read: Callable[[Any, str], Any]

    def values(self, value: Any, what: str) -> dict[str, float]:
        """The columns' values of a field's value; SettingsError names what cannot be read."""
        read = self.read(value, what)
        return read if isinstance(read, dict) else {self.columns[0]: float(read)}


FIELDS: tuple[DisplayField, ...] = (
    DisplayField(("peak_luminance_nits", "peak_nits"), (_PEAK,), lambda v, w: number(v, w) / 10_000),
    DisplayField(("black_luminance_nits", "black_nits"), (_BLACK,), number),
    DisplayField(("contrast_ratio",), (_CONTRAST,), _ratio),
    DisplayField(("ambient_lux",), (_AMBIENT,), lambda v, w: number(v, w) / 1_000),
    DisplayField(("bt2020_coverage",), (_BT2020,), fraction),
    DisplayField(("p3_coverage",), (_P3,), fraction),
    DisplayField(("panel_type",), (_OLED, _QLED, _LCD), panel),
    DisplayField(("local_dimming",), (_DIMMING,), _switch(_YES, _NO)),
    DisplayField(("tone_mapping",), (_TONE,), _switch(_DYNAMIC, _STATIC)),
)
"""Every field of a profile, in the order of the columns."""

_OF_SPELLING = {spelling: field for field in FIELDS for spelling in field.spellings}


@dataclass(frozen=True)
class DisplayProfile:
    """A display as heads read it: ``values`` of all display columns, 0 for those in ``lacking``.

    ``ignored`` are keys that mean nothing here; ``name`` and ``sha256`` are the file's.
    """

    name: str
    sha256: str
    values: Mapping[str, float]
    lacking: tuple[str, ...]
    ignored: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """What a manifest says of it."""
        return {
            "file": self.name,
            "sha256": self.sha256,
            "values": dict(self.values),
            "lacking": list(self.lacking),
            "ignored": list(self.ignored),
        }


def read_profile(path: Path) -> DisplayProfile:
    """The profile in a JSON file. SettingsError where it cannot be read, or has no known field."""
    what = f"display_profile_json: {path.name}"
    if kind := no_file_at(path):
        raise SettingsError(what, found=kind, expected="a JSON file")
    try:
        content = path.read_bytes()
        document = json.loads(content)
    except OSError as error:
        raise SettingsError(what, found=f"it cannot be read ({error.strerror})", expected="a JSON file") from error
    except (ValueError, RecursionError) as error:
        raise SettingsError(what, found=f"no JSON ({error})", expected="a JSON object") from error
    if not isinstance(document, Mapping):
        raise SettingsError(what, found=type(document).__name__, expected="a JSON object of display fields")
    fields: dict[DisplayField, Any] = {}
    ignored = []
    for key, value in _leaves(document):
        field = _OF_SPELLING.get(key.lower().removeprefix("display_"))
        if field is None:
            ignored.append(key)
        elif value is not None and (first := fields.setdefault(field, value)) is not value and first != value:
            raise _wrong(f"{what}: {field.spellings[0]}", [first, value], "one value")
    if not fields:
        raise SettingsError(
            what,
            found=f"no known field among {', '.join(ignored) or 'no fields'}",
            expected=f"some of {', '.join(_OF_SPELLING)}",
            next_step="correct the profile, or leave it out",
        )
    columns: dict[str, float] = {}
    for field, value in fields.items():
        columns |= field.values(value, f"{what}: {field.spellings[0]}")
    peak, black, contrast = (_OF_SPELLING[name] for name in ("peak_nits", "black_nits", "contrast_ratio"))
    if contrast not in fields and peak in fields and black in fields:
        columns[_CONTRAST] = contrast_log_norm(*(number(fields[each], what) for each in (peak, black)))
    return DisplayProfile(
        name=path.name,
        sha256=hashlib.sha256(content).hexdigest(),
        values={name: columns.get(name, 0.0) for name in DISPLAY_COLUMNS},
        lacking=tuple(name for name in DISPLAY_COLUMNS if name not in columns),
        ignored=tuple(ignored),
    )


def _leaves(document: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Keys and values, also those inside the objects that only sort a profile's fields."""
    for key, value in document.items():
        if key.lower() in _NESTED and isinstance(value, Mapping):
            yield from _leaves(value)
        else:
            yield key, value


def _wrong(what: str, value: Any, expected: str) -> SettingsError:
    return SettingsError(what, found=repr(value), expected=expected, next_step="correct it")
