"""The settings of one join, of the files it reads and writes, and of a batch of joins. Reads no table.

Run config, batch manifests and the docs are made from these models.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from vqa_assets.corpora.scales import OPINION_SCALES
from vqa_assets.errors import LabelError
from vqa_assets.settings import (
    DEFAULT,
    FROM_TABLES,
    RUN_CONFIG,
    Many,
    SettingPath,
    Settings,
    Shape,
    setting,
    with_origins,
)
from vqa_assets.tables.specs import STATUS_COLUMN

VoteModel = Literal["mos", "bt500", "bias"]
KeyNormalize = Literal["auto", "raw", "basename", "stem"]
_NEVER_STATUS = ("mos", "mos_raw_0_100", "mos_label_source", "mos_std_dev", "mos_n_ratings", "mos_ci95", "src_sha256")


class LabelSettings(Settings):
    """How one feature table is labelled; None leaves a decision to the tables."""

    feature_key_column: str | None = setting(None, "Key column of the features.", shown="inferred")
    label_key_column: str | None = setting(None, "Key column of the labels.", shown="inferred")
    label_mos_column: str | None = setting(None, "Column of the scores.", shown="inferred")
    key_normalize: KeyNormalize = setting(
        "auto",
        "What of a key is compared: auto takes the basename where the column's name speaks of a path, file, name or "
        "src, else the key as it stands.",
    )
    feature_key_regex: str | None = setting(
        None,
        "Python regular expression searched in the features' normalised keys; the first group, else the whole match.",
    )
    label_key_regex: str | None = setting(None, "The same for the labels' keys.")
    min_match_rate: float = setting(0.95, "Least share of distinct feature keys with a label.", ge=0, le=1)
    status_column: str = setting(STATUS_COLUMN, "Column that says ok or missing-label.")
    overwrite: bool = setting(False, "Replace MOS columns that the features have.")
    mos_scale: str | None = setting(
        None,
        "Scale of the column mos, where rows, corpus and detection should not decide: "
        f"{', '.join(OPINION_SCALES)}, or one that a corpus declares.",
        shown="decided per label file and corpus",
    )
    corpus: str | None = setting(None, "Take only label rows of this corpus.", shown="all rows")
    rater_column: str | None = setting(
        None,
        "Column that names the rater, where each label row is one rater's vote of one clip.",
        shown="none: a row is a clip's score",
    )
    vote_columns: Many[Annotated[str, Shape(bool, "the name of a column, or a shell pattern")]] = setting(
        (),
        "Columns that hold one rater's votes each, by name or shell pattern (rater_*).",
        shown="none: a row is a clip's score",
    )
    vote_model: VoteModel = setting(
        "mos",
        "What votes become: mos is their mean, bt500 that of the raters whom ITU-R BT.500 does not screen out, bias a "
        "score that takes each rater's bias and inconsistency into account.",
    )

    def described(self) -> dict[str, dict[str, Any]]:
        """Name → {value, from} for a manifest: ``run config`` (or a batch's entry), ``default``, or ``tables``."""
        described = with_origins(self.values(), LabelSettings().values())
        return {n: {**one, "from": FROM_TABLES} if one["value"] is None else one for n, one in described.items()}

    @property
    def keeps_our_convention(self) -> bool:
        """True where nothing is stated of keys, scores and votes but what our own tables have anyway."""
        columns = (self.feature_key_column, self.label_key_column, self.label_mos_column)
        usual = all(one in (None, ours) for one, ours in zip(columns, ("key", "src", "mos"), strict=True))
        others = (self.feature_key_regex, self.label_key_regex, self.rater_column, self.vote_columns)
        return usual and not any(others) and self.key_normalize in ("auto", "raw")


@dataclass(frozen=True)
class LabelPaths:
    """One join's files; the suffixes of tables say their formats. Those of ``by_default`` were not stated."""

    features: Path
    labels: tuple[Path, ...]
    out: Path
    audit_json: Path
    by_default: frozenset[str] = frozenset()

    def described(self) -> dict[str, dict[str, Any]]:
        """Name → {value, from} for a manifest."""
        return {
            name: {"value": getattr(self, name), "from": DEFAULT if name in self.by_default else RUN_CONFIG}
            for name in LabelFiles.model_fields
        }


class LabelFiles(Settings):
    """The files of one join as a run config states them; what is not stated is the corpus's own."""

    features: SettingPath | None = setting(None, "Feature table.", shown="<root>/<corpus>/features.parquet")
    labels: Many[SettingPath] = setting((), "Label files.", shown="the corpus JSONL")
    out: SettingPath | None = setting(
        None,
        "Table to write, in the format that its suffix says.",
        shown="<root>/<corpus>/features_with_mos.parquet",
        written=True,
    )
    audit_json: SettingPath | None = setting(
        None, "Audit to write.", shown="<root>/<corpus>/features_with_mos.audit.json", written=True
    )

    def paths(self, corpus: LabelPaths) -> LabelPaths:
        """The files of a join, the corpus's own where none is stated; an audit goes beside the table that is stated."""
        audit = self.out.with_name(f"{self.out.stem}.audit.json") if self.out else corpus.audit_json
        return LabelPaths(
            features=self.features or corpus.features,
            labels=self.labels or corpus.labels,
            out=self.out or corpus.out,
            audit_json=self.audit_json or audit,
            by_default=frozenset(name for name in LabelFiles.model_fields if not getattr(self, name)),
        )


class JoinSettings(LabelSettings, LabelFiles):
    """Settings of one join; what is not stated is inferred from the tables, or its default."""


class BatchSettings(Settings):
    """Settings of one batch."""

    manifest: SettingPath | None = setting(
        None, "JSON manifest of the tables, or the name of a shipped one.", shown="none, it must be set"
    )
    base_dir: SettingPath | None = setting(
        None,
        "Folder that relative paths in the manifest are from.",
        shown="the manifest's own; a shipped one needs it",
    )
    report_json: SettingPath | None = setting(
        None,
        "Report to write.",
        shown="<manifest stem>.report.json beside the manifest, of a shipped one in base_dir",
        written=True,
    )
    report_md: SettingPath | None = setting(
        None, "The same for people.", shown="<manifest stem>.report.md beside that one", written=True
    )
    fail_fast: bool = setting(False, "End at the first table that fails.")


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
    if settings.vote_model != "mos" and not (settings.rater_column or settings.vote_columns):
        raise LabelError(
            f"vote_model {settings.vote_model}",
            found="labels that are scores",
            expected="single raters' votes: rater_column or vote_columns",
            next_step="set one of them, or leave vote_model out",
        )
