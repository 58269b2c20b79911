"""Everything a person wants to see of a unified corpus that stands, and its sidecar files. Decides about no row."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqa_assets.corpora import Corpus, ExternalShard
from vqa_assets.errors import SchemaError
from vqa_assets.tables.files import read_json_object, write_json
from vqa_assets.unified.clip_statistics import ClipDescription, describe_clips
from vqa_assets.unified.columns import TOTAL
from vqa_assets.unified.croissant import Described, croissant
from vqa_assets.unified.label_statistics import LabelSummary, summarize_labels
from vqa_assets.unified.licences import Licences, licences_of
from vqa_assets.unified.related import GROUPS_SHOWN, RelatedClips, find_related


@dataclass(frozen=True)
class UnifiedView:
    """What a unified corpus holds: its clips (the last entry is the total), labels, licences, related clips."""

    clips: tuple[ClipDescription, ...]
    labels: tuple[LabelSummary, ...]
    licences: Licences
    related: RelatedClips

    def as_dict(self) -> dict[str, Any]:
        """The same for the replay manifest; of the related clips the counts and the first groups."""
        shown = self.related.groups[:GROUPS_SHOWN]
        return {
            "describe": [one.as_dict() for one in self.clips],
            "labels": [one.as_dict() for one in self.labels],
            "licences": self.licences.as_rows(),
            "redistribution": {"strictest": self.licences.strictest, "consequence": self.licences.consequence},
            "related_clips": {"counts": self.related.counts(), "first_groups": [group.as_row() for group in shown]},
        }


@dataclass(frozen=True)
class Sidecars:
    """The files beside a unified corpus that are made from it."""

    related_clips: Path
    croissant: Path

    @classmethod
    def beside(cls, jsonl: Path) -> "Sidecars":
        """Their places beside the unified corpus's JSONL."""
        return cls(jsonl.with_name("related_clips.json"), jsonl.with_suffix(".croissant.json"))


def view_of(parquet: Path, corpora: Mapping[str, Corpus | ExternalShard]) -> UnifiedView:
    """The view of the unified corpus in a Parquet file."""
    clips = describe_clips(parquet)
    inside = {one.corpus: one.clips for one in clips if one.corpus != TOTAL}
    return UnifiedView(clips, summarize_labels(parquet), licences_of(inside, corpora), find_related(parquet, corpora))


def write_sidecars(jsonl: Path, parquet: Path, view: UnifiedView, data_version: str) -> Sidecars:
    """Write the sidecars; one that says the same already is left alone."""
    sidecars = Sidecars.beside(jsonl)
    _keep_or_write(sidecars.related_clips, view.related.as_document())
    _keep_or_write(sidecars.croissant, croissant(Described(jsonl, parquet, data_version, view.licences)))
    return sidecars


def _keep_or_write(path: Path, document: Mapping[str, Any]) -> None:
    try:
        if path.is_file() and read_json_object(path) == _as_read(document):
            return
    except SchemaError:
        pass
    write_json(path, document)


def _as_read(value: Any) -> Any:
    """A document as JSON gives it back: tuples are lists."""
    if isinstance(value, Mapping):
        return {key: _as_read(item) for key, item in value.items()}
    return [_as_read(item) for item in value] if isinstance(value, (list, tuple)) else value
