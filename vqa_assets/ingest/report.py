"""What an ingest did: counters that reconcile, every loss with its reason, the summary line."""

import re
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from vqa_assets.errors import IngestError

KEPT = ("written", "unchanged", "relabelled", "retained_unavailable")
_SIZES = re.compile(r"\b\d{3,}\b")
LOST = ("dedups", "duplicate_labels", "skipped_missing", "skipped_download", "skipped_broken", "skipped_bad_row")


@dataclass(frozen=True, slots=True)
class Loss:
    """One annotation row that gave no row: which, which counter it is in, why."""

    line: int
    src: str
    counter: str
    reason: str

    @property
    def kind(self) -> str:
        """The counter and the reason without what is this clip's alone, so that equal faults count as one."""
        reason = self.reason
        if self.counter == "dedups":
            reason = "the same bytes as an earlier clip"
        elif self.counter in ("skipped_bad_row", "skipped_missing"):
            reason = reason.partition(":")[0]
        elif self.counter == "skipped_broken":
            reason = _SIZES.sub("…", reason)
        return f"{self.counter}: {reason}"

    def as_dict(self) -> dict[str, Any]:
        """The loss as the losses file and the manifest have it."""
        return asdict(self)


@dataclass
class IngestReport:
    """Counters over the annotation rows of one run, and what happened beside them.

    ``rows_in`` is the sum of ``KEPT`` and ``LOST``; ``rows_out`` the sum of ``KEPT`` and ``retained_outside``.
    """

    rows_in: int = 0
    rows_out: int = 0
    written: int = 0
    unchanged: int = 0
    relabelled: int = 0
    retained_unavailable: int = 0
    dedups: int = 0
    duplicate_labels: int = 0
    skipped_missing: int = 0
    skipped_download: int = 0
    skipped_broken: int = 0
    skipped_bad_row: int = 0
    retained_outside: int = 0
    outside_dedups: int = 0
    pruned: int = 0
    unlabelled_clips: int = 0
    fetched_clips: int = 0
    fetched_bytes: int = 0
    read_clips: int = 0
    read_bytes: int = 0
    losses: list[Loss] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)

    @property
    def attrition(self) -> float:
        """Share of the run's rows whose bytes never arrived, earlier failures included."""
        return self.skipped_download / self.rows_in if self.rows_in else 0.0

    def keep(self, counter: str) -> None:
        """Count one annotation row that gave a row."""
        self._count(counter)
        self.rows_out += 1

    def lose(self, loss: Loss) -> None:
        """Count one annotation row that gave none."""
        self._count(loss.counter)
        self.losses.append(loss)

    def counters(self) -> dict[str, int]:
        """Every counter by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, int)}

    def reasons(self) -> dict[str, int]:
        """``counter: reason`` → number of rows, most frequent first."""
        return dict(Counter(loss.kind for loss in self.losses).most_common())

    def chief_reasons(self, counter: str, most: int = 3) -> str:
        """The most frequent reasons of one counter, as a message shows them."""
        found = Counter(loss.kind.partition(": ")[2] for loss in self.losses if loss.counter == counter)
        return "; ".join(f"{count} × {reason}" for reason, count in found.most_common(most)) or "no reasons"

    def reconcile(self, what: str) -> None:
        """IngestError where a row is unaccounted for: it would mean that rows vanish."""
        counted_in = sum(getattr(self, name) for name in KEPT + LOST)
        counted_out = sum(getattr(self, name) for name in KEPT) + self.retained_outside
        if counted_in != self.rows_in or counted_out != self.rows_out:
            raise IngestError(
                f"{what}: rows do not reconcile",
                found=f"{self.rows_in} rows in and {self.rows_out} out",
                expected=f"{counted_in} in and {counted_out} out by the counters {self.counters()}",
                next_step="the earlier output stands; report this as a defect",
            )

    def summary(self, corpus: str, output: str) -> str:
        """The line a person reads at the end."""
        told = (
            f"[{corpus}-jsonl] wrote {self.rows_out} rows, skipped {self.skipped_download} (download-failed), "
            f"{self.skipped_broken} (broken-clip), {self.dedups} dedups -> {output}"
        )
        named = ("rows_out", "skipped_download", "skipped_broken", "dedups")
        rest = [f"{name} {value}" for name, value in self.counters().items() if value and name not in named]
        return f"{told} ({', '.join(rest)})" if rest else told

    def described(self, examples: int = 50) -> dict[str, Any]:
        """Everything a manifest says of the run."""
        return {
            "counters": self.counters(),
            "attrition": round(self.attrition, 6),
            "reasons": self.reasons(),
            "losses": [loss.as_dict() for loss in self.losses[:examples]],
            "losses_total": len(self.losses),
            "withdrawn": self.withdrawn[:examples],
            "withdrawn_total": len(self.withdrawn),
        }

    def _count(self, counter: str) -> None:
        setattr(self, counter, getattr(self, counter) + 1)
        self.rows_in += 1
