"""The settings of one join, each with its sentence, default and bounds. Reads no table.

``LABEL_SETTINGS`` is the only place that names them: run config, batch manifests and the docs are made from it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from vqa_assets.errors import LabelError, SettingsError
from vqa_assets.settings import Setting, check_setting

Normalize = Literal["auto", "raw", "basename", "stem"]
KEY_NORMALIZE: tuple[Normalize, ...] = ("auto", "raw", "basename", "stem")
STATUS_COLUMN = "mos_label_status"
OPINION_SCALES = ("1-5-acr", "0-100-continuous")
"""Scales that opinions are on: a computed score (VMAF) is no label."""

LABEL_SETTINGS: tuple[Setting, ...] = (
    Setting("feature_key_column", str, "Key column of the features.", shown_default="inferred"),
    Setting("label_key_column", str, "Key column of the labels.", shown_default="inferred"),
    Setting("label_mos_column", str, "Column of the scores.", shown_default="inferred"),
    Setting(
        "key_normalize",
        str,
        "What of a key is compared: auto takes the basename where the column's name speaks of a path, file, name or "
        "src, else the key as it stands.",
        "auto",
        choices=KEY_NORMALIZE,
    ),
    Setting(
        "feature_key_regex",
        str,
        "Python regular expression searched in the features' normalised keys; the first group, else the whole match.",
    ),
    Setting("label_key_regex", str, "The same for the labels' keys."),
    Setting("min_match_rate", float, "Least share of distinct feature keys with a label.", 0.95, low=0, high=1),
    Setting("status_column", str, "Column that says ok or missing-label.", STATUS_COLUMN),
    Setting("overwrite", bool, "Replace MOS columns that the features have.", False),
    Setting(
        "mos_scale",
        str,
        "Scale of the column mos, where rows, corpus and detection should not decide.",
        shown_default="decided per label file and corpus",
        choices=OPINION_SCALES,
    ),
    Setting("corpus", str, "Take only label rows of this corpus.", shown_default="all rows"),
    Setting(
        "rater_column",
        str,
        "Column that names the rater, where each label row is one rater's vote of one clip.",
        shown_default="none: a row is a clip's score",
    ),
    Setting(
        "vote_columns",
        list,
        "Columns that hold one rater's votes each, by name or shell pattern (rater_*).",
        shown_default="none: a row is a clip's score",
    ),
)
_SAID, _UNSAID = "run config", "default"
_BY_NAME = {setting.name: setting for setting in LABEL_SETTINGS}
_NEVER_STATUS = ("mos", "mos_raw_0_100", "mos_label_source", "mos_std_dev", "mos_n_ratings", "mos_ci95", "src_sha256")


@dataclass(frozen=True)
class LabelSettings:
    """How one feature table is labelled; None leaves a decision to the tables."""

    feature_key_column: str | None = None
    label_key_column: str | None = None
    label_mos_column: str | None = None
    key_normalize: Normalize = "auto"
    feature_key_regex: str | None = None
    label_key_regex: str | None = None
    min_match_rate: float = 0.95
    status_column: str = STATUS_COLUMN
    overwrite: bool = False
    mos_scale: str | None = None
    corpus: str | None = None
    rater_column: str | None = None
    vote_columns: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The settings for an audit."""
        return asdict(self) | {"vote_columns": list(self.vote_columns)}

    def told(self) -> dict[str, dict[str, Any]]:
        """Name → {value, from} for a manifest: ``run config`` (or a batch's entry), ``default``, or ``tables``."""
        shown, plain = self.as_dict(), LabelSettings().as_dict()
        origins = {n: _left_to(value) if value == plain[n] else _SAID for n, value in shown.items()}
        return {name: {"value": value, "from": origins[name]} for name, value in shown.items()}

    @property
    def keeps_our_convention(self) -> bool:
        """True where nothing is said of keys, scores and votes but what our own tables have anyway."""
        said = (self.feature_key_column, self.label_key_column, self.label_mos_column)
        usual = all(one in (None, ours) for one, ours in zip(said, ("key", "src", "mos"), strict=True))
        others = (self.feature_key_regex, self.label_key_regex, self.rater_column, self.vote_columns)
        return usual and not any(others) and self.key_normalize in ("auto", "raw")


def _left_to(value: object) -> str:
    return "tables" if value is None else _UNSAID


@dataclass(frozen=True)
class LabelPaths:
    """One join's files; the suffixes of tables say their formats."""

    features: Path
    labels: tuple[Path, ...]
    out: Path
    audit_json: Path
    unsaid: frozenset[str] = frozenset()

    def told(self) -> dict[str, dict[str, Any]]:
        """Name → {value, from} for a manifest; those in ``unsaid`` are defaults."""
        return {
            f.name: {"value": getattr(self, f.name), "from": _UNSAID if f.name in self.unsaid else _SAID}
            for f in fields(self)
            if f.name != "unsaid"
        }


def label_settings(values: Mapping[str, Any], where: str) -> LabelSettings:
    """Settings from a run config or a batch manifest, None left out; SettingsError names ``where`` and the key."""
    unknown = sorted(set(values) - set(_BY_NAME))
    if unknown:
        raise SettingsError(
            where,
            found=f"unknown key {unknown[0]!r}",
            expected=f"one of {', '.join(_BY_NAME)}",
            next_step="correct it; keys that begin with _ are comments",
        )
    given = {name: value for name, value in values.items() if value is not None}
    checked = {name: check_setting(_BY_NAME[name], value, where) for name, value in given.items()}
    if any(not isinstance(name, str) or not name for name in checked.get("vote_columns", [])):
        raise SettingsError(
            f"{where}: vote_columns",
            found=repr(checked["vote_columns"]),
            expected="names of columns, or shell patterns",
            next_step="correct it",
        )
    if "vote_columns" in checked:
        checked["vote_columns"] = tuple(checked["vote_columns"])
    return LabelSettings(**{f.name: checked[f.name] for f in fields(LabelSettings) if f.name in checked})


def check_settings(settings: LabelSettings, identity: tuple[str, ...]) -> None:
    """LabelError where the settings contradict each other."""
    taken = (*_NEVER_STATUS, *identity, settings.feature_key_column)
    if not settings.status_column or settings.status_column in taken:
        raise LabelError(
            f"status_column {settings.status_column!r}",
            found="the name of a column that means something else",
            expected=f"a name of its own, such as {STATUS_COLUMN}",
            next_step="set status_column to another name",
        )
    if settings.rater_column and settings.vote_columns:
        raise LabelError(
            "rater_column and vote_columns",
            found="both are set",
            expected="one: either a row is one vote, or a column is one rater",
            next_step="leave one out",
        )
