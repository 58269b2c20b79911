"""Faults of an object store: what the server does at the Nth request of a kind, while a stage has its clips there.

The server answers with an error, late, or only half; the connection breaks in the middle of what is put, or once it is
there; the run is killed at that moment; an object is another, or gone, between the listing and its reading. What a
stage leaves is judged as in ``campaign``; besides, no object is ever torn, and in the end the bucket holds what it does
after a run that nothing disturbed. ``mirror`` copies to the same server, and is judged by the bucket alone.
"""

import json
import os
import random
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from vqa_assets_tests.faults.campaign import (
    ERRORS,
    Tally,
    after_the_next_run,
    campaign,
    differing,
    objects_amiss,
    planned,
    what_was_said,
    without_some,
)
from vqa_assets_tests.faults.ground import NO_FAULT, Ground, Stage
from vqa_assets_tests.shared.clips import tiny_clip
from vqa_assets_tests.shared.object_server import ObjectServer

MEETS = {
    "503": ("list", "read", "put"),
    "403": ("list", "read", "put"),
    "slow": ("list", "read", "put"),
    "cut": ("list", "read"),
    "torn": ("put",),
    "unheard": ("put",),
    "kill": ("list", "read", "put"),
    "replaced": ("read",),
    "removed": ("read",),
}
"""What can meet which request. A kill comes when half of the answer is sent, or half of what is put has arrived."""
_OF_CLIPS = ("replaced", "removed")
_MAY_STAY = ("503", "slow", "cut", "torn", "unheard")


@dataclass(frozen=True)
class StoreFault:
    """What happens at the ``nth`` request of a class; with ``stays`` at all later ones, too."""

    kind: str
    request: str
    nth: int
    stays: bool = False

    def __str__(self) -> str:
        return f"{self.kind} at {self.request} {self.nth}{' and after' if self.stays else ''}"


class FaultyStore:
    """The server under a fault: it counts requests by class, and does at the Nth what it was told."""

    def __init__(self, ground: Ground) -> None:
        assert ground.bucket is not None, "the ground has a store"
        self._ground, self._server = ground, ground.bucket.server
        self._another = tiny_clip(ground.folder / "made" / "another.mp4", 99)
        self._fault: StoreFault | None = None
        self.counts: Counter[str] = Counter()
        self.replaced = ""
        """The key of the object that is another one, or gone."""
        self._was = b""
        self.tripped = False

    @contextmanager
    def under(self, fault: StoreFault | None) -> Iterator[None]:
        """While a run is made; afterwards all that it asked for is done."""
        self._fault, self.counts, self.tripped, self.replaced = fault, Counter(), False, ""
        self._server.forget()
        self._server.fault = self._meet
        try:
            yield
        finally:
            self._server.wait_until_quiet()
            self._server.forget()

    def put_back(self) -> None:
        """Let the replaced object be what it was."""
        if self.replaced and self._ground.bucket is not None:
            self._ground.bucket.put(self.replaced, self._was)

    def _meet(self, _server: ObjectServer, method: str, path: str) -> str:
        bucket = self._ground.bucket
        assert bucket is not None
        key = path.removeprefix(f"/{bucket.name}").strip("/")
        request = {"GET": "read" if key else "list", "PUT": "put"}.get(method, method)
        self.counts[request] += 1
        fault = self._fault
        if fault is None or request != fault.request:
            return ""
        if not (self.counts[request] == fault.nth or (fault.stays and self.counts[request] > fault.nth)):
            return ""
        self.tripped = True
        if fault.kind == "kill":
            with suppress(ProcessLookupError):
                os.kill(int(self._ground.pid_file.read_text()), signal.SIGKILL)
            # What is put may still have come whole, so both are made.
            return "cut" if request != "put" else "torn" if fault.nth % 2 else "unheard"
        if fault.kind in _OF_CLIPS:
            self.replaced, self._was = key, bucket.content(key)
            bucket.remove(key)
            if fault.kind == "replaced":
                bucket.put(key, self._another)
            return ""
        return fault.kind


def planned_requests(counts: Counter[str], most: int, seed: int, kinds: Sequence[str]) -> list[StoreFault]:
    """At most ``most`` faults of a run that makes so many requests of each class: evenly, and decided by the seed."""
    chance = random.Random(seed)
    pairs = [(kind, request) for kind in kinds for request in MEETS[kind] if counts[request]]
    chance.shuffle(pairs)
    plan: list[StoreFault] = []
    for number in range(most):
        kind, request = pairs[number % len(pairs)]
        stays = kind == "403" or (kind in _MAY_STAY and chance.random() < 0.5)
        fault = StoreFault(kind, request, chance.randint(1, counts[request]), stays)
        if fault not in plan:
            plan.append(fault)
    return plan


def faults_of_the_store(ground: Ground, stage: Stage, most: int, seed: int) -> Tally:
    """At most ``most`` faults of the server in one stage whose clips are in the store."""
    store, tally = FaultyStore(ground), Tally()
    ground.put(f"before-{stage.name}")
    with store.under(None):
        answer = ground.ask(stage.request)
    assert answer.get("success"), answer
    assert ground.state(stage) == ground.finished[stage.name], "equal runs leave equal bytes"
    for number, fault in enumerate(planned_requests(store.counts, most, seed, tuple(MEETS))):
        findings = _suffer(ground, store, stage, fault, look=number % 2 == 0)
        if findings is not None:
            tally.add(f"{stage.name}: {fault}", findings)
    return tally


def faults_beside_the_store(ground: Ground, stage: Stage, most: int, seed: int) -> Tally:
    """At most ``most`` kills and errors in the data root, and as many in the scratch, where clips are in the store."""
    tally = campaign(ground, stage, most, seed, ("kill",))
    tally.merge(campaign(ground, replace(stage, within=str(ground.scratch)), most, seed, ("kill", *ERRORS)))
    return tally


def _suffer(ground: Ground, store: FaultyStore, stage: Stage, fault: StoreFault, *, look: bool) -> list[str] | None:
    """Everything that is wrong after one fault of the store; None where the run did not come to it."""
    ground.put(f"before-{stage.name}")
    with store.under(fault):
        answer = ground.ask(stage.request)
    if not store.tripped:
        return None
    findings = list(what_was_said(answer))
    state, earlier, finished = ground.state(stage), ground.earlier[stage.name], ground.finished[stage.name]
    if answer["ended"] == "ended":
        whole = finished if answer["success"] else earlier
        if state != whole and answer["success"]:
            findings += without_some(ground, stage, answer, store.replaced.rpartition("/")[2])
        elif state != whole:
            findings.append(f"untrue: it failed ({answer['message'][:300]}), yet {differing(state, whole)}")
    else:
        if look:
            findings += what_was_said(ground.verify(stage))
            state = ground.state(stage)
        if look and state not in (finished, earlier):
            findings.append(f"torn: after {fault} stand files of two runs: {differing(state, earlier)} are new")
    store.put_back()
    findings += objects_amiss(ground, ground.objects[f"after-{stage.name}"])
    return findings + after_the_next_run(ground, stage, times=not store.replaced)


# ---- mirror ----

MIRROR = "mirror"
_BEFORE, _AFTER = f"before-{MIRROR}", f"after-{MIRROR}"


def faults_of_mirror(ground: Ground, most: int, seed: int) -> Tally:
    """At most ``most`` faults of the server, and as many kills and errors of the disk, while the root is copied."""
    ground.with_a_store()
    store, tally = FaultyStore(ground), Tally()
    if _AFTER not in ground.objects:
        _make_mirrors(ground)
    ground.put(_BEFORE)
    with store.under(None):
        counts = _mirror(ground)["counts"]
    kinds = [kind for kind in MEETS if kind not in _OF_CLIPS]
    for fault in planned_requests(store.counts, most, seed, kinds):
        ground.put(_BEFORE)
        with store.under(fault):
            answer = _mirror(ground)
        if store.tripped:
            tally.add(f"{MIRROR}: {fault}", _after_a_copy(ground, answer))
    for disk in planned(counts, most, seed, ("kill", "EIO", "EACCES")):
        ground.put(_BEFORE)
        with store.under(None):
            answer = _mirror(ground, disk.arming)
        if answer["ended"] != "ended" or answer["tripped"]:
            tally.add(f"{MIRROR}: {disk}", _after_a_copy(ground, answer))
    return tally


def _mirror(ground: Ground, fault: Any = NO_FAULT) -> dict[str, Any]:
    assert ground.bucket is not None
    arguments = [f"s3://{ground.bucket.name}/{MIRROR}", "--root", str(ground.root)]
    return ground.ask({"command": "vqa_assets.mirror", "arguments": arguments, "stored": True}, fault)


def _make_mirrors(ground: Ground) -> None:
    """A copy of what the first round published, and one of the second's in its place."""
    assert ground.bucket is not None
    ground.bucket.hold({})
    ground.put("before-corpus_jsonl")
    assert _mirror(ground)["success"]
    earlier = ground.bucket.held()
    ground.put("complete")
    ground.bucket.hold(earlier)
    ground.keep(_BEFORE)
    assert _mirror(ground)["success"]
    ground.keep(_AFTER)


def _after_a_copy(ground: Ground, answer: dict[str, Any]) -> list[str]:
    """What is wrong with a copy: each object is of one run, no manifest is before its files, the next one ends it."""
    assert ground.bucket is not None
    earlier, finished = ground.objects[_BEFORE], ground.objects[_AFTER]
    findings, held = list(_said_of_a_copy(answer)), ground.bucket.held()
    if answer.get("success") and held != finished:
        findings.append("untrue: it succeeded, and not everything is there")
    findings += [f"torn: {key}" for key in held if held[key] not in (earlier.get(key), finished.get(key))]
    for manifest, files in _named(finished).items():
        if held.get(manifest) == finished[manifest] != earlier.get(manifest):
            findings += [f"torn: {manifest} stands before {key}" for key in files if held.get(key) != finished[key]]
    again = _mirror(ground)
    findings += _said_of_a_copy(again)
    if not again.get("success"):
        findings.append(f"other bytes: the next copy fails: {again.get('message', again['ended'])[:600]}")
    ground.bucket.server.wait_until_quiet()
    held = ground.bucket.held()
    return findings + [f"other bytes: {key}" for key in finished | held if held.get(key) != finished.get(key)]


def _said_of_a_copy(answer: dict[str, Any]) -> Iterator[str]:
    yield from what_was_said(answer)
    if not answer.get("success", True) and not answer.get("raw") and "Traceback" in answer["message"]:
        yield f"raw: {answer['message'][-600:]}"


def _named(objects: dict[str, bytes]) -> dict[str, list[str]]:
    """The files that each replay manifest in the bucket names."""
    named = {}
    for key, content in objects.items():
        with suppress(ValueError, KeyError, TypeError):
            outputs = json.loads(content)["run_provenance"]["outputs"].values()
            paths = [f"{MIRROR}/{one['path']}" for one in outputs if one.get("sha256")]
            named[key] = [path for path in paths if path in objects]
    return named
