"""Public fakes: a prober and a downloader that fail on demand, and a small corpus folder to ingest with them.

They satisfy the protocols of ``ingest.tools``; the real ones are tested against real servers and real clips.
"""

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vqa_assets.clips.hub import HubAccess
from vqa_assets.clips.work import ClipPool, PassCounts, ThreadClipPool, unobserved
from vqa_assets.corpora import CORPORA, Corpus
from vqa_assets.ingest.fakes import FakeDownloader, FakeProber
from vqa_assets.ingest.gather import Services
from vqa_assets.ingest.run import Ingested, ingest_corpus
from vqa_assets.ingest.settings import resolve
from vqa_assets.provenance import RunContext
from vqa_assets.tables.paths import DataRoot

KONVID = CORPORA["konvid-150k"]


@dataclass
class SmallCorpus:
    """A corpus's folder under a data root, its bounds lowered, ingested with fakes unless told otherwise."""

    root: DataRoot
    prober: Any = field(default_factory=FakeProber)
    downloader: Any = field(default_factory=FakeDownloader)
    corpus: Corpus = KONVID
    observe: Callable[[PassCounts], None] = unobserved
    pool: ClipPool = field(default_factory=ThreadClipPool)
    hub: HubAccess = field(default_factory=HubAccess)

    @property
    def folder(self) -> Path:
        return self.root.corpus_dir(self.corpus)

    def annotate(self, rows: Sequence[Sequence[object]]) -> None:
        """Write ``video_name, url, mos, sd, n`` rows as the annotation file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "manifest.csv").open("w", newline="", encoding="utf-8") as out:
            csv.writer(out).writerows([("video_name", "url", "mos", "sd", "n"), *rows])

    def stage(self, name: str, content: bytes) -> Path:
        """Put a clip into the folder by hand."""
        return self.drop(f"clips/{name}", content)

    def drop(self, name: str, content: bytes | str) -> Path:
        """Put any file into the corpus's folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def ingest(self, **settings: Any) -> Ingested:
        """One run; ``settings`` are its run config. It may come to nothing, unless ``allow_empty`` says otherwise."""
        resolved = resolve(
            self.corpus, {"min_rows": 1, "allow_empty": True, **settings}, self.root.ingest_toml(self.corpus)
        )
        services = Services(self.prober, self.downloader, self.pool, self.observe, self.hub)
        return ingest_corpus(self.corpus, resolved, services, RunContext(self.root, {}, Path(__file__)))

    def rows(self) -> list[dict[str, Any]]:
        """The corpus JSONL as it stands."""
        return [json.loads(line) for line in self.lines()]

    def lines(self) -> list[str]:
        """Its lines."""
        return self.root.corpus_jsonl(self.corpus).read_text(encoding="utf-8").splitlines()

    def progress(self) -> dict[str, Any]:
        """The download progress as it stands; empty where nothing was noted."""
        path = self.folder / ".download-progress.json"
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return found
