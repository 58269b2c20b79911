"""The settings that state caps: name, bounds and sentence of each, once for every stage that has them.

What a cap means, and how a clip is held against it, is in ``caps``.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from vqa_assets.clips.caps import CAP_NAMES, LEAST_BUDGET_BYTES, ClipCaps
from vqa_assets.settings import DEFAULT, Settings, setting

_INGEST_TOML = "ingest.toml"
_OF_INGEST = f"as {_INGEST_TOML} says, else as for ingest"
_SENTENCES: Mapping[str, str] = {
    "max_pixels": "Pixels of a picture above which a clip is not decoded.",
    "max_duration_s": "Seconds above which a clip is not decoded.",
    "max_frames": "Frames above which a clip is not decoded.",
    "memory_budget": "Bytes of memory that decoding clips may take.",
}
_BOUNDS: Mapping[str, Mapping[str, Any]] = {
    "max_pixels": {"ge": 1},
    "max_duration_s": {"gt": 0},
    "max_frames": {"ge": 1},
    "memory_budget": {"ge": LEAST_BUDGET_BYTES},
}


def cap_setting(name: str, default: float | None, shown: str = "") -> Any:
    """The field of ``Settings`` that states this cap."""
    return setting(default, _SENTENCES[name], shown=shown, **_BOUNDS[name])


class StatedCaps(Settings):
    """Caps that one run states; one that is None is taken from the corpus's ``ingest.toml``, else from its default."""

    max_pixels: int | None = cap_setting("max_pixels", None, _OF_INGEST)
    max_duration_s: float | None = cap_setting("max_duration_s", None, _OF_INGEST)
    max_frames: int | None = cap_setting("max_frames", None, _OF_INGEST)
    memory_budget: int | None = cap_setting("memory_budget", None, _OF_INGEST)

    @property
    def stated_caps(self) -> frozenset[str]:
        """The names of those that are stated."""
        return frozenset(name for name in CAP_NAMES if getattr(self, name) is not None)

    def over(self, caps: ClipCaps, *, by_options: bool = False) -> ClipCaps:
        """The caps, those that are stated here in the place of others; ``by_options`` as options of a command."""
        stated = {name: getattr(self, name) for name in self.stated_caps}
        return replace(caps, **stated, by_options=by_options)


def cap_args(caps: ClipCaps, stated: Collection[str], stated_by: str) -> dict[str, dict[str, Any]]:
    """Name → {value, from} for a manifest: from the run (``stated_by``) what it states, else from ``ingest.toml``."""
    defaults = ClipCaps().values()
    return {
        name: {
            "value": value,
            "from": DEFAULT if value == defaults[name] else stated_by if name in stated else _INGEST_TOML,
        }
        for name, value in caps.values().items()
    }
