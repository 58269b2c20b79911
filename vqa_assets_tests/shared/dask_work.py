"""Probers and extractors that Dask's workers open by name; some of them kill the process that they work in.

And a cluster of SLURM's without its jobs.
"""

import os
import signal
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqa_assets.clips import elsewhere
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
class CountedProber:
    """Describes a prober whose opening and closing are noted in ``folder``, in a file for each process."""

    folder: Path

    def describe_tool(self) -> "CountedProber":
        return self

    def open_tool(self) -> Prober:
        def note(what: str) -> None:
            with (self.folder / str(os.getpid())).open("a") as notes:
                notes.write(what + "\n")

        class Counted(FakeProber):
            def close(self) -> None:
                note("closed")

        note("opened")
        return Counted()


def chunk_of(pause_s: float) -> str:
    """Takes so long; which Dask task it was part of."""
    from distributed import get_worker

    time.sleep(pause_s)
    return str(get_worker().get_current_task())


def until_stopped(began: Path, ended: Path) -> None:
    """Has a clip in hand for a minute, or until its run is stopped in this process; says when it begins and ends."""
    here = elsewhere.run_here()
    assert here is not None
    began.touch()
    if here.stop.wait(60):
        ended.touch()


def runs_here() -> list[str]:
    """The runs that this process knows."""
    return list(elsewhere._runs)


def networks_here() -> int:
    """How many networks of backbones are open in this process."""
    from vqa_assets.features import backbone

    return len(backbone._OPEN)


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


@dataclass(frozen=True)
class DeadlyNumbers(DeadlyExtractor):
    """The same, of what the heads of released versions read."""

    def measure(self, clip: Path, **asked: Any) -> Mapping[str, Measured | ClipError]:
        size = float(clip.stat().st_size)
        numbers = {name: size + place for place, name in enumerate(("adm2", "vif_scale0", "motion2", "si"))}
        return {"bytes": {**dict(super().measure(clip, **asked)["bytes"]), **numbers}}  # type: ignore[arg-type]


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


def take_environment(variables: Mapping[str, str]) -> None:
    """Set variables of this worker's environment."""
    os.environ.update(variables)
