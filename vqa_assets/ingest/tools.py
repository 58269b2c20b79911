"""What clips are read with: which tools a run has, and how every process opens, stops and closes them.

Tools travel to the workers as descriptions, plain records that each process opens once and its threads share. A tool
that describes nothing (a fake in a test) is its own: the threads of this process share it as it is. What a worker does
with the tools is in ``clip_task``, how tasks come to the workers in ``gather``; the tools themselves are in ``clips``.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable
from uuid import uuid4

from vqa_assets.clips.elsewhere import run_here
from vqa_assets.clips.hub import HubAccess

if TYPE_CHECKING:
    from vqa_assets.clips.caps import ClipCaps
    from vqa_assets.clips.downloading import DownloadLimits
    from vqa_assets.clips.geometry import Geometry
    from vqa_assets.clips.hashing import ClipBytes

Tool_co = TypeVar("Tool_co", covariant=True)


class Downloader(Protocol):
    """Fetches clips; called from many threads at once."""

    def fetch(self, url: str, part: Path, limits: "DownloadLimits", stop: threading.Event) -> "ClipBytes":
        """Write the body of ``url`` into ``part`` and say what it is.

        DownloadError where the bytes never arrive, StoppedError soon after ``stop`` is set, IngestError where no clip
        could be fetched (no space, no binary). Nothing is left at ``part`` after an error.
        """
        ...


class Prober(Protocol):
    """Reads a clip's geometry; called from many threads at once."""

    def probe(self, path: Path, timeout_s: float) -> "Geometry":
        """The geometry of a clip.

        BrokenClipError with a short reason where it has none; TransientClipError where the probe took too long,
        ChildDiedError where it was killed, OSError where the machine stands in the way; TooLargeError where the header
        shows that decoding it would be too much.
        """
        ...

    def close(self) -> None:
        """End every probe under way (it raises StoppedError), and give back what is kept open."""
        ...


@runtime_checkable
class ToolDescription(Protocol[Tool_co]):
    """Says which tool is used: a record that can be pickled and hashed."""

    def open_tool(self) -> Tool_co:
        """The tool, with a ``close()`` that gives back what it keeps open; called once per process and run."""
        ...


@runtime_checkable
class Described(Protocol[Tool_co]):
    """What a resource is that stands for a tool."""

    def describe_tool(self) -> ToolDescription[Tool_co]:
        """The tool it stands for; SettingsError where its configuration names none."""
        ...


ProberSource = Prober | ToolDescription[Prober] | Described[Prober]
DownloaderSource = Downloader | ToolDescription[Downloader] | Described[Downloader]
"""What a run may be given: a tool, a description of one, or a resource that describes one."""


@dataclass(frozen=True)
class ProberDescription:
    """PyAV in child processes that outlive a clip, or the program ``binary`` (FFmpeg's ffprobe), one process a clip.

    ``caps`` are the run's: of a clip over one not even the picture is decoded that a probe may need.
    """

    binary: str | None = None
    caps: "ClipCaps | None" = None

    def open_tool(self) -> Prober:
        """The prober."""
        from vqa_assets.clips.probing import FfprobeProber, PyAvProber

        return PyAvProber(caps=self.caps) if self.binary is None else FfprobeProber(self.binary, self.caps)

    def check(self) -> None:
        """IngestError where the program is absent or no ffprobe; the library is always there."""
        from vqa_assets.clips.probing import FfprobeProber

        if self.binary is not None:
            FfprobeProber(self.binary).check()


@dataclass(frozen=True)
class DownloaderDescription:
    """libcurl in the worker's process, or the program ``binary`` (curl), one process a clip; yt-dlp for pages.

    ``hub`` is the Hugging Face Hub as whoever asks may use it.
    """

    binary: str | None = None
    hub: HubAccess = field(default_factory=HubAccess)

    def open_tool(self) -> Downloader:
        """The downloader. It remembers hosts that never answered: a new one for every run gives them a chance."""
        from vqa_assets.clips.curl import CurlBinaryDownloader
        from vqa_assets.clips.libcurl import LibcurlDownloader
        from vqa_assets.clips.pages import PageDownloader

        site = self.hub.token_site()
        return PageDownloader(
            LibcurlDownloader(token_site=site) if self.binary is None else CurlBinaryDownloader(self.binary, site)
        )

    def check(self) -> None:
        """IngestError where the program is absent or no curl; the library is always there."""
        from vqa_assets.clips.curl import CurlBinaryDownloader

        if self.binary is not None:
            CurlBinaryDownloader(self.binary).check()


@dataclass(frozen=True)
class ClipTools:
    """The tools of one run as they travel: descriptions, or tools that are their own; ``run_id`` tells runs apart."""

    prober: Prober | ToolDescription[Prober]
    downloader: Downloader | ToolDescription[Downloader]
    run_id: str = field(default_factory=lambda: uuid4().hex)

    @classmethod
    def of(cls, prober: ProberSource, downloader: DownloaderSource, caps: "ClipCaps | None" = None) -> "ClipTools":
        """The tools of a new run, whose ``caps`` a prober of ours keeps before it decodes.

        SettingsError where a resource's configuration names no tool.
        """
        described = prober.describe_tool() if isinstance(prober, Described) else prober
        return cls(
            replace(described, caps=caps) if isinstance(described, ProberDescription) else described,
            downloader.describe_tool() if isinstance(downloader, Described) else downloader,
        )


class OpenTools:
    """The tools of one run as the threads of one process share them, and the run's signal to stop there."""

    def __init__(self, tools: ClipTools) -> None:
        self.stop = threading.Event()
        # A probe wants a core of this process's machine, a transfer none: there are more threads than cores.
        self.probes = threading.Semaphore(os.cpu_count() or 1)
        self._endings = ExitStack()
        self.prober: Prober = self._open(tools.prober)
        self.downloader: Downloader = self._open(tools.downloader)

    def close(self) -> None:
        """Close what was opened here."""
        self._endings.close()

    def _open(self, tool: Any) -> Any:
        if not isinstance(tool, ToolDescription):
            return tool  # it came open, and is its owner's to close
        opened: Any = tool.open_tool()
        self._endings.callback(opened.close)
        return opened


_opened: dict[tuple[int, str], OpenTools] = {}
"""By process and run: a forked process must not talk through the pipes and sockets of its parent."""
_opening = threading.Lock()


def open_tools(tools: ClipTools) -> OpenTools:
    """The run's tools in this process; the first clip of the run that comes here opens them."""
    key = (os.getpid(), tools.run_id)
    opened = _opened.get(key)
    if opened is not None:  # every clip but the first: no thread waits for another
        return opened
    with _opening:
        if key not in _opened:
            _opened[key] = OpenTools(tools)
            if here := run_here():  # a worker elsewhere: what stops and ends there stops and closes these
                here.at_stop.append(partial(stop_run, tools.run_id))
                here.at_end.append(partial(close_run, tools.run_id))
        return _opened[key]


def stop_run(run_id: str) -> None:
    """Stop the run in this process: clips in hand raise StoppedError within about a second, and no more begin.

    The coordinator calls it in its own process. An engine whose workers are elsewhere cancels what they have not begun
    and calls it in each of them; where it cannot, the clips in hand go on to their own limits, and are not kept.
    """
    opened = _opened.get((os.getpid(), run_id))
    if opened is not None:
        opened.stop.set()
        opened.prober.close()


def close_run(run_id: str) -> None:
    """Close the run's tools in this process. For when its last clip is done: one that comes later opens them anew."""
    opened = _opened.pop((os.getpid(), run_id), None)
    if opened is not None:
        opened.close()


@contextmanager
def tools_of_run(tools: ClipTools) -> Iterator[OpenTools]:
    """The run's tools in the coordinator's process, whose threads share them, closed at the end of the block."""
    try:
        yield open_tools(tools)
    finally:
        close_run(tools.run_id)
