"""What an aggregation counted. Counts nothing itself."""

from dataclasses import asdict, dataclass, field
from typing import Any

from vqa_assets.errors import AggregateError
from vqa_assets.unified.losses import Duplicate, Losses


@dataclass
class AggregateReport:
    """Counters of one aggregation, rows_in = rows_out + dropped + dedups, and examples of what was lost."""

    inputs_seen: int = 0
    inputs_missing: int = 0
    rows_in: int = 0
    rows_out: int = 0
    cross_corpus_dedups: int = 0
    same_corpus_dedups: int = 0
    dropped_unknown_corpus: int = 0
    dropped_bad_scale: int = 0
    scales: dict[str, dict[str, float | str]] = field(default_factory=dict)
    rows_per_corpus: dict[str, int] = field(default_factory=dict)
    losses: Losses = field(default_factory=Losses)
    duplicates: tuple[Duplicate, ...] = ()

    def counters(self) -> dict[str, int]:
        """Every counter by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, int)}

    def as_dict(self) -> dict[str, Any]:
        """The same for the replay manifest."""
        examples = [asdict(one) for one in self.losses.raw_score_examples]
        return {
            "counters": self.counters(),
            "rows_per_corpus": self.rows_per_corpus,
            "scale_conversions": self.scales,
            "duplicates": [one.as_row() for one in self.duplicates],
            "dropped_rows": self.losses.dropped_rows(),
            "raw_scores_that_disagree": {"rows": self.losses.raw_scores, "examples": examples},
        }

    def reconcile(self) -> None:
        """AggregateError where a row is unaccounted for."""
        lost = self.cross_corpus_dedups + self.same_corpus_dedups
        lost += self.dropped_unknown_corpus + self.dropped_bad_scale
        if self.rows_in != self.rows_out + lost:
            raise AggregateError(
                "unified_corpus: rows do not reconcile",
                found=f"{self.rows_in} rows in",
                expected=f"{self.rows_out} out + {lost} dropped or duplicate",
                next_step="the earlier output stands; report this as a defect",
            )
