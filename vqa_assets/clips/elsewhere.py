"""What a worker's process that is not the run's own knows of the run: its stop signal, what ends with it, its places.

An engine with workers elsewhere (``dask_engine``) hands calls to ``work_on_chunk`` there; work that it carries out asks
``run_here`` for the run that its thread works for. Where threads of the run's own process work, there is none.
"""

import importlib
import pickle
import platform
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import vqa_assets
from vqa_assets.clips.folders import ClipStore
from vqa_assets.clips.processes import Worker, WorkerDiedError
from vqa_assets.clips.trouble import is_crash
from vqa_assets.clips.work import StoppedError
from vqa_assets.errors import ChildDiedError, ObjectStoreError

Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]
Answer = tuple[BaseException | None, Any]
"""The error, or None and the result."""
ABSENT = "absent"
_DECIDING = ("av", "imageio-ffmpeg", "numpy", "onnxruntime", "dask", "distributed")
"""Packages whose versions decide what is measured, or how processes talk; beside Python and this one."""
_BUILDS = {"onnxruntime": ("onnxruntime-gpu",)}
"""The same package under another name: a coordinator without a GPU and workers with one go together."""
_LOOK_AROUND_S = 0.2
_TRIES_APART = 2


@dataclass(eq=False)
class RunHere:
    """One run as this process knows it. ``places``: one of so many of that name, over all of the run's processes."""

    name: str
    stop: threading.Event = field(default_factory=threading.Event)
    at_stop: list[Callable[[], None]] = field(default_factory=list)
    at_end: list[Callable[[], None]] = field(default_factory=list)
    places: Callable[[str, int, threading.Event], AbstractContextManager[None]] = lambda *_: nullcontext()


_runs: dict[str, RunHere] = {}
_lock = threading.Lock()
_thread = threading.local()


def run_here() -> RunHere | None:
    """The run that this thread works for; None in the run's own process."""
    here: RunHere | None = getattr(_thread, "run", None)
    return here


@contextmanager
def working_for(run: str) -> Iterator[RunHere]:
    """This thread works for the run while the block lasts."""
    _thread.run = here = _run(run)
    try:
        yield here
    finally:
        _thread.run = None


@contextmanager
def place_of_run(name: str, count: int, stop: threading.Event) -> Iterator[None]:
    """Hold one of ``count`` places of that name, over all processes of the run; StoppedError soon after ``stop``."""
    here = run_here()
    with here.places(name, count, stop) if here else nullcontext():
        yield


def stop_run_here(run: str) -> None:
    """Stop the run in this process: what it has in hand raises StoppedError soon, and what comes later at once."""
    here = _run(run)
    here.stop.set()
    for end in here.at_stop:
        end()


def end_run_here(run: str) -> None:
    """Close what the run opened in this process."""
    with _lock:
        here = _runs.pop(run, None)
    for end in here.at_end if here else ():
        end()


def _run(run: str) -> RunHere:
    with _lock:
        return _runs.setdefault(run, RunHere(run))


# Work


def work_on_chunk(run: str, calls: Sequence[Call]) -> tuple[float, list[Answer]]:
    """Carry out the calls, one after another: the seconds that they took, and an answer for each."""
    begun = time.monotonic()
    with working_for(run) as here:
        answers = [_answer(here, call) for call in calls]
    return time.monotonic() - begun, answers


def _answer(here: RunHere, call: Call) -> Answer:
    work, arguments, named = call
    try:
        return (StoppedError(), None) if here.stop.is_set() else (None, work(*arguments, **named))
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))  # noqa: S301  # what was just made of our own error
        except Exception:  # any error of any class may refuse to travel
            return RuntimeError(f"{type(error).__name__}: {error}"), None
        return error, None


def work_apart(run: str, calls: Sequence[Call]) -> list[Answer]:
    """Carry out calls one of which a worker may have died of, in child processes of this one: an answer for each.

    The call is found by halving. Alone it is tried twice: ChildDiedError is its answer where the child died both times,
    by a crash where both crashed.
    """
    here = _run(run)
    deaths: list[WorkerDiedError] = []
    for _ in range(_TRIES_APART if len(calls) == 1 else 1):
        try:
            return _in_a_child(here, run, calls)
        except WorkerDiedError as death:
            deaths.append(death)
        except Exception as error:
            return [(error, None)] * len(calls)
    if len(calls) > 1:
        half = len(calls) // 2
        return [*work_apart(run, calls[:half]), *work_apart(run, calls[half:])]
    crashed = all(is_crash(death.status) for death in deaths)
    what = f"its worker {'crashed on it' if crashed else 'was killed'} ({deaths[-1]})"
    return [(ChildDiedError(what, crashed=crashed, memory_bytes=deaths[-1].memory_bytes), None)]


def _in_a_child(here: RunHere, run: str, calls: Sequence[Call]) -> list[Answer]:
    worker = Worker()
    try:
        worker.ask(_carry_out, (run, calls))
        while not worker.has_answer(_LOOK_AROUND_S):
            if here.stop.is_set():
                raise StoppedError
        answers: list[Answer] = worker.answer()
    finally:
        worker.end()
    return answers


def _carry_out(chunk: tuple[str, Sequence[Call]]) -> list[Answer]:
    run, calls = chunk
    return work_on_chunk(run, calls)[1]


# What a worker is


def packages_here() -> dict[str, str]:
    """The versions that count, by package: ``absent`` where it is not installed, or cannot be imported."""
    versions = {"python": platform.python_version(), "vqa-assets": vqa_assets.__version__}
    for name in _DECIDING:
        versions[name] = ABSENT
        for build in (name, *_BUILDS.get(name, ())):
            with suppress(metadata.PackageNotFoundError):
                versions[name] = metadata.version(build)
    try:
        importlib.import_module("av")  # a wheel of another machine is there, and does not load
    except ImportError:
        versions["av"] = ABSENT
    return versions


def why_unseen(path: Path, content: bytes | None, size_bytes: int) -> str:
    """Why a file of the run's is not the same one here; empty where it is. ``content`` None: by its size alone."""
    try:
        if path.is_dir():
            return ""
        found = path.stat().st_size
        if content is not None and path.read_bytes() != content:
            return "another file is there"
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return "" if found == size_bytes else f"{found} bytes there, {size_bytes} here"


def why_unreachable(store: ClipStore) -> str:
    """Why an object store cannot be opened and asked from here; empty where it can."""
    from vqa_assets.clips.stores import open_store

    try:
        open_store(store.url).holds("asked-by-a-worker")
    except ObjectStoreError as error:
        return str(error)
    return ""
