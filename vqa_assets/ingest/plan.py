"""What a run is going to do, said before it starts: clips to read and to fetch, their bytes, time and space."""

import logging
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vqa_assets.clips.work import clock
from vqa_assets.corpora import Corpus
from vqa_assets.errors import IngestError
from vqa_assets.ingest.clip_task import ClipTask

LINE_BYTES_PER_S = 12_500_000
"""The line of 100 Mbit/s that a time is told for: what the server gives is known only later."""
_log = logging.getLogger("vqa_assets.ingest")


@dataclass(frozen=True)
class FetchPlan:
    """Clips to fetch: how many have a size known from an earlier run and how many bytes, and how many are estimated."""

    known: int
    known_bytes: int
    estimated: int
    estimated_bytes: int

    @classmethod
    def of(cls, tasks: Iterable[ClipTask], sizes: Mapping[str, int], bytes_per_clip: int) -> "FetchPlan":
        """The plan for the tasks that have a URL; ``sizes`` are those that an earlier run saw, by clip name."""
        names = [task.name for task in tasks if task.url]
        known = [sizes[name] for name in names if name in sizes]
        estimated = len(names) - len(known)
        return cls(len(known), sum(known), estimated, estimated * bytes_per_clip)

    @property
    def clips(self) -> int:
        """All clips to fetch."""
        return self.known + self.estimated

    @property
    def total_bytes(self) -> int:
        """All bytes to fetch, as far as they can be told."""
        return self.known_bytes + self.estimated_bytes

    def told(self) -> str:
        """Bytes and time in words."""
        about = "about " if self.estimated else ""
        return f"{about}{_size(self.total_bytes)}, {clock(self.total_bytes / LINE_BYTES_PER_S)} at 100 Mbit/s"


def tell_plan(corpus: Corpus, rows: int, tasks: Iterable[ClipTask], fetch: FetchPlan) -> None:
    """Log what is to be done."""
    to_read = sum(not task.url for task in tasks)
    to_fetch = f"{fetch.clips} clips to fetch" + (f" ({fetch.told()})" if fetch.clips else "")
    _log.info("[%s-jsonl] %d rows: %s, %d to read, the rest known", corpus.name, rows, to_fetch, to_read)


def check_space(corpus: Corpus, fetch: FetchPlan, folder: Path) -> None:
    """IngestError where clips of known size do not fit on the disk; a warning where an estimate does not."""
    free = shutil.disk_usage(folder).free
    remedy = f"free some space in {folder}, move the corpus to a larger disk, or set max_rows"
    if fetch.known_bytes > free:
        raise IngestError(
            f"{corpus.name}: the clips to fetch do not fit on the disk",
            found=f"{_size(free)} free",
            expected=f"{_size(fetch.known_bytes)} for {fetch.known} clips whose sizes an earlier run saw",
            next_step=remedy,
        )
    if fetch.total_bytes > free:
        _log.warning(
            "%s: %d clips to fetch need about %s (%s each), and %s are free; %s",
            corpus.name,
            fetch.clips,
            _size(fetch.total_bytes),
            _size(fetch.total_bytes // max(1, fetch.clips)),
            _size(free),
            remedy,
        )


def _size(count: int) -> str:
    """Bytes for people, in decimal units."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.0f} KB"
