"""Where Dask's workers come from: a scheduler that is there, or a cluster that is started and ended with the run.

Both are the environment's to name, never a run config's: ``VQA_DASK_ADDRESS``, or ``VQA_DASK_CLUSTER``, a TOML file.
Before any work begins the scheduler has to answer as one, and its workers have to be of this version. How work is sent
to them is in ``dask_engine``.
"""

import asyncio
import importlib
import os
import shutil
import signal
import socket
import ssl
import threading
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vqa_assets.clips.dask_engine import DaskExecutor, everywhere
from vqa_assets.clips.elsewhere import ABSENT, packages_here
from vqa_assets.errors import ClusterError, SettingsError
from vqa_assets.printing import logger

ADDRESS, CLUSTER = "VQA_DASK_ADDRESS", "VQA_DASK_CLUSTER"
_ANSWER_WITHIN_S = 8.0
_CLOSE_WITHIN_S = 5.0
_LOOK_EVERY_S = 0.2
_TOLD_EVERY_S = 30.0
_OF_THE_SCHEDULER = ("python", "vqa-assets", "dask", "distributed")
"""Versions that the scheduler has to share: it opens no clip."""
_log = logger("vqa_assets.clips.dask")


@dataclass(frozen=True)
class ClusterFile:
    """What ``VQA_DASK_CLUSTER`` names: a class, how many workers, and what the class is made with."""

    path: Path
    class_name: str
    workers: int
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Connected:
    """An executor on workers that are fit, and where Dask shows them (empty where it does not)."""

    executor: DaskExecutor
    dashboard: str


def place_named(environment: Mapping[str, str]) -> str | ClusterFile:
    """The scheduler's address, or the cluster to start; SettingsError where the environment names neither, or both."""
    address, file = environment.get(ADDRESS, ""), environment.get(CLUSTER, "")
    if bool(address) == bool(file):
        raise SettingsError(
            "clip_pool: implementation: dask",
            found=f"{ADDRESS} and {CLUSTER} both" if address else f"neither {ADDRESS} nor {CLUSTER}",
            expected="one of them in the environment: a scheduler's address (tcp://host:8786), or a TOML file",
            next_step="set one, see docs/scaling.md, or take implementation: threads",
        )
    if file:
        return read_cluster_file(Path(file))
    if not address.startswith(("tcp://", "tls://")):
        raise SettingsError(
            ADDRESS, found=address, expected="tcp://host:port or tls://host:port", next_step="correct the address"
        )
    return address


def read_cluster_file(path: Path) -> ClusterFile:
    """The file's ``class``, ``workers`` (1 or more) and table ``options``; SettingsError for anything else."""
    expected = 'class = "distributed.LocalCluster", workers = 4 and a table [options]'

    def wrong(found: str, what: str = "") -> SettingsError:
        where = f"{CLUSTER}: {path}" + (f": {what}" if what else "")
        return SettingsError(where, found=found, expected=expected, next_step="correct the file, see docs/scaling.md")

    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise wrong((error.strerror or str(error)).lower()) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise wrong(f"no TOML: {error}") from None
    if unknown := sorted(set(content) - {"class", "workers", "options"}):
        raise wrong("no setting of that name", ", ".join(unknown))
    name, workers, options = content.get("class"), content.get("workers"), content.get("options", {})
    if not isinstance(name, str) or "." not in name:
        raise wrong(repr(name) if "class" in content else "nothing", "class")
    if type(workers) is not int or workers < 1:
        raise wrong(repr(workers) if "workers" in content else "nothing", "workers")
    if not isinstance(options, dict):
        raise wrong(repr(options), "options")
    return ClusterFile(path, name, workers, options)


@contextmanager
def dask_executor(environment: Mapping[str, str], chunk_clips: int = 0) -> Iterator[Connected]:
    """An executor on the workers that the environment names, closed at the end of the block with what was started.

    SettingsError or ClusterError, before any work and within twenty seconds, where they are not there or not fit; a
    cluster that waits in a queue is waited for.
    """
    place = place_named(environment)
    if find_spec("distributed") is None:
        raise SettingsError(
            "clip_pool: implementation: dask",
            found="Dask is not installed",
            expected="the extra dask",
            next_step='run pip install "vqa-assets[dask]", or take implementation: threads',
        )
    with _started(place) if isinstance(place, ClusterFile) else _found(place) as client:
        _await_workers(client, place)
        check_versions(client)
        dashboard = _dashboard(client)
        executor = DaskExecutor(client, chunk_clips)
        try:
            shown = f", dashboard {dashboard}" if dashboard else ""
            _log.info("Dask: %s at %s%s", executor.in_words(), client.scheduler.address, shown)
            yield Connected(executor, dashboard)
        finally:
            executor.close()


@contextmanager
def _found(address: str) -> Iterator[Any]:
    """A client of the scheduler at an address, once something there has answered as one."""
    from distributed import Client

    security = _security(address)
    # Not the client: where something else answers, it waits for ever.
    kind = asyncio.run(_identity(address, security))
    if kind != "Scheduler":
        raise _no_scheduler(address, f"a Dask {kind.lower()}")
    client = Client(address, timeout=_ANSWER_WITHIN_S, set_as_default=False, security=security)
    try:
        yield client
    finally:
        _close(client)


def _security(address: str) -> Any:
    """Dask's keys, as its own configuration names them; SettingsError where an address wants some and has none."""
    from distributed.security import Security

    security = Security()
    if address.startswith("tls://"):
        try:
            keys = security.get_connection_args("client").get("ssl_context")
        except (OSError, ValueError) as error:
            raise _no_keys(address, f"keys that cannot be used: {error}") from None
        if keys is None:
            raise _no_keys(address, "no keys")
    return security


def _no_keys(address: str, found: str) -> SettingsError:
    names = [f"DASK_DISTRIBUTED__COMM__TLS__{name}" for name in ("CA_FILE", "CLIENT__CERT", "CLIENT__KEY")]
    return SettingsError(
        f"{ADDRESS}: {address}",
        found=found,
        expected=f"PEM files named by {', '.join(names)}",
        next_step="name them in the environment, or in Dask's own configuration",
    )


async def _identity(address: str, security: Any) -> str:
    """What kind of server answers at an address; SettingsError where none does that speaks Dask's protocol."""
    from distributed.comm.core import connect

    reached = False
    try:
        host, port = address.split("://")[1].rsplit(":", 1)
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
            writer.close()
            reached = True
            comm = await connect(address, timeout=_ANSWER_WITHIN_S, **security.get_connection_args("client"))
            try:
                await comm.write({"op": "identity", "reply": True})
                answer = await comm.read()
            finally:
                comm.abort()
            return str(answer["type"])
    except (ValueError, IndexError) as error:
        found = "an answer that is not Dask's" if reached else f"no address: {error}"
        raise _no_scheduler(address, found) from None
    except Exception as error:  # whatever comes of reading one protocol as another
        if distrusted := _distrusted(error):
            raise _no_keys(address, f"a certificate that is not trusted: {distrusted}") from None
        raise _no_scheduler(address, _reason(error, reached=reached)) from None


def _reason(error: Exception, *, reached: bool) -> str:
    """Why nothing at an address is a scheduler; ``reached`` where something listens there."""
    chain: list[BaseException] = [error]
    while cause := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(cause)
    if any(isinstance(one, TimeoutError) for one in chain):
        return f"no answer within {_ANSWER_WITHIN_S:.0f} seconds"
    if reached:
        return "an answer that is not Dask's"
    if isinstance(error, socket.gaierror):  # its number is none of the system's
        return f"{error.strerror}".lower()
    number = getattr(error, "errno", None)
    return (os.strerror(number) if number else str(error)).lower() or "no answer"


def _distrusted(error: BaseException | None) -> str:
    """Why one side's certificate was refused, where that is what an error came of; empty where it is not."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        if isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or ""):
            return f"ours, by the scheduler ({error.reason})"
        error = error.__cause__ or error.__context__
    return ""


def _no_scheduler(address: str, found: str) -> ClusterError:
    return ClusterError(
        f"{ADDRESS}: no Dask scheduler at {address}",
        found=found,
        expected="a scheduler, as dask scheduler starts one",
        next_step="start it, or correct the address; nothing was done",
    )


@contextmanager
def _interrupts_as_they_were() -> Iterator[None]:
    """Put back what Ctrl-C does in this process: dask_jobqueue, once it is imported, would end it without a word."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        # None: it was not set by Python. Only the main thread may set it, in which alone an import can have done so.
        if handler is not None and signal.getsignal(signal.SIGINT) is not handler:
            signal.signal(signal.SIGINT, handler)


@contextmanager
def _started(file: ClusterFile) -> Iterator[Any]:
    """A client of a cluster that is started here, and ended with the block."""
    import dask
    from distributed import Client

    module, _, name = file.class_name.rpartition(".")
    where = f"{CLUSTER}: {file.path}: class"
    try:
        with _interrupts_as_they_were():
            make: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except Exception as error:  # no such name, or whatever somebody else's module raises
        raise SettingsError(
            where,
            found=f"{file.class_name}: {error}",
            expected="a class that can be imported, such as distributed.LocalCluster",
            next_step="install the package it comes with, or correct the name",
        ) from None
    options = dict(file.options)
    if file.class_name.endswith("LocalCluster"):
        options.setdefault("dashboard_address", "127.0.0.1:0")
        options.setdefault("threads_per_worker", 1)
    # The first death of a worker tells that its clips may be why: they are parted at once.
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
        cluster = None
        try:
            cluster = make(n_workers=file.workers, **options)
            client = Client(cluster, timeout=_ANSWER_WITHIN_S, set_as_default=False)
        except Exception as error:  # of somebody else's class
            if cluster is not None:
                _close(cluster)
            raise ClusterError(
                f"{CLUSTER}: {file.class_name} did not start",
                found=_with_cause(error),
                expected="a cluster",
                next_step=f"correct the options in {file.path}; nothing was done",
            ) from error
    try:
        yield client
    finally:
        _close(client)
        _close(cluster)


def _with_cause(error: BaseException) -> str:
    """An error in its words, with those of the one that it came of first: Dask says only that something failed."""
    first = error
    while first.__cause__ is not None:
        first = first.__cause__
    words = [f"{type(one).__name__}: {one}" for one in (error, first)]
    return words[0] if first is error else f"{words[0]} ({words[1]})"


def _close(what: Any) -> None:
    with suppress(Exception):  # of a scheduler that is gone, or of somebody else's class
        what.close(timeout=_CLOSE_WITHIN_S)


def _await_workers(client: Any, place: str | ClusterFile) -> None:
    """Wait for the first worker: some seconds of a scheduler that is there, of a started cluster without end.

    A cluster that says of all its workers that they did not start is not waited for.
    """
    begun = told = time.monotonic()
    pause = threading.Event()
    while not client.scheduler_info()["workers"]:
        now = time.monotonic()
        if isinstance(place, str) and now - begun > _ANSWER_WITHIN_S:
            raise ClusterError(
                f"{ADDRESS}: the scheduler at {place} has no worker",
                found=f"none within {_ANSWER_WITHIN_S:.0f} seconds",
                expected="one worker or more",
                next_step=f"start some (dask worker {place}), then run again; nothing was done",
            )
        if isinstance(place, ClusterFile) and (why := _none_starts(client.cluster)):
            raise ClusterError(
                f"{CLUSTER}: {place.class_name} has no worker",
                found=why,
                expected=f"{place.workers} that start",
                next_step=f"see what it said in the log above, and correct {place.path}; nothing was done",
            )
        if now - told > _TOLD_EVERY_S:
            told = now
            _log.info("Dask: no worker yet, after %.0f s", now - begun)
        pause.wait(_LOOK_EVERY_S)


def _none_starts(cluster: Any) -> str:
    """Why no worker of a started cluster will come, where it knows; else empty.

    A ``distributed.SpecCluster`` lists a worker once its start is over; of dask-jobqueue's that is a job's submission.
    """
    workers = list(getattr(cluster, "workers", {}).values())
    statuses = {getattr(getattr(worker, "status", None), "name", "") for worker in workers}
    if not workers or not statuses <= {"created", "failed", "closed"}:
        return ""
    for worker in workers:
        worker.status = type(worker.status).failed  # Dask ends no cluster of whose workers one may still start
    command = str(getattr(workers[0], "submit_command", "") or "").partition(" ")[0]
    absent = f": there is no program {command} here" if command and shutil.which(command) is None else ""
    return f"none of {len(workers)} started{absent}"


def check_versions(client: Any) -> None:
    """ClusterError where a worker, or the scheduler, has not what this process has: the same versions of what counts.

    Dask's own check warns only, and knows nothing of what measures clips.
    """
    mine = packages_here()
    answers = everywhere(client, packages_here)
    try:
        answers["scheduler"] = client.sync(client._run_on_scheduler, packages_here, callback_timeout=_ANSWER_WITHIN_S)
    except Exception as error:  # what a server makes of a function that it cannot open
        answers["scheduler"] = error
    for who, theirs in answers.items():
        one = "the Dask scheduler" if who == "scheduler" else f"the Dask worker {who}"
        if isinstance(theirs, BaseException):
            raise ClusterError(
                f"{one} cannot work for this run",
                found=f"{type(theirs).__name__}: {theirs}",
                expected=f"vqa-assets {mine['vqa-assets']} installed there",
                next_step="install what is installed here (constraints.txt), then start it again; nothing was done",
            )
        names = _OF_THE_SCHEDULER if who == "scheduler" else tuple(mine)
        other = [name for name in names if theirs.get(name, ABSENT) != mine[name]]
        if other:
            raise ClusterError(
                f"{one} is of another version",
                found=", ".join(f"{name} {theirs.get(name, ABSENT)}" for name in other),
                expected=", ".join(f"{name} {mine[name]}" for name in other),
                next_step="install the same there (constraints.txt), then start it again; nothing was done",
            )


def _dashboard(client: Any) -> str:
    """Where Dask shows what its workers do; empty where it shows nothing."""
    with suppress(Exception):  # a scheduler without one
        if client.scheduler_info()["services"].get("dashboard"):
            return str(client.dashboard_link)
    return ""
