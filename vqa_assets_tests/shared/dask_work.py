"""Probers and extractors that Dask's workers open by name; some of them kill the process that they work in.

And a cluster of SLURM's without its jobs.
"""

import os
import signal
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqa_assets.corpora.raw_video import RawVideo
from vqa_assets.errors import ClipError
from vqa_assets.features.family import FamilyVersion, Measured
from vqa_assets.ingest.fakes import FakeProber
from vqa_assets.ingest.tools import Prober

if TYPE_CHECKING:
    from dask_jobqueue import SLURMCluster


@dataclass(frozen=True)
class DeadlyProber:
    """Describes a prober whose process dies of clips of one name, by that signal."""

    clip: str = ""
    signal: int = signal.SIGSEGV

    def describe_tool(self) -> "DeadlyProber":
        return self

    def open_tool(self) -> Prober:
        deadly = self

        class Deadly(FakeProber):
            def probe(self, path: Path, timeout_s: float):  # type: ignore[no-untyped-def]
                if path.name == deadly.clip:
                    os.kill(os.getpid(), deadly.signal)
                return super().probe(path, timeout_s)

        return Deadly()


@dataclass(frozen=True)
class DeadlyExtractor:
    """Measures a clip's length in bytes; its process dies of clips of one name."""

    clip: str = ""
    signal: int = signal.SIGSEGV
    pause_s: float = 0.0
    version: str = "bytes.1"
    families: tuple[FamilyVersion, ...] = (FamilyVersion("bytes", "bytes.1", compares=False),)

    def measure(
        self,
        clip: Path,
        *,
        families: Collection[str] | None = None,
        reference: Path | None = None,
        raw: RawVideo | None = None,
        stop: threading.Event | None = None,
    ) -> Mapping[str, Measured | ClipError]:
        if clip.name == self.clip:
            os.kill(os.getpid(), self.signal)
        if self.pause_s:
            (stop or threading.Event()).wait(self.pause_s)
        return {"bytes": {"n_bytes": clip.stat().st_size, "n_feature_frames": 1}}


@contextmanager
def slurm_cluster(**options: Any) -> Iterator["SLURMCluster"]:
    """A cluster of SLURM's whose scheduler runs here, and that submits no job."""
    from dask_jobqueue import SLURMCluster

    scheduler = {"dashboard_address": "127.0.0.1:0", "host": "127.0.0.1"}
    cluster = SLURMCluster(n_workers=0, scheduler_options=scheduler, **options)
    try:
        yield cluster
    finally:
        cluster.close()
        for name in ("ca_file", "cert", "key"):  # it leaves the files with its keys open
            getattr(cluster, f"_job_{name}").close()
