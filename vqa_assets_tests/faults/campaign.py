"""Faults by the hundred: each is made in one run of one stage, and judged by what that run and the next ones leave.

After each fault three things are looked at. What the run itself said: a run that failed leaves its earlier output, one
that succeeded its new one. What the next command finds, whichever it is: the output of one run, never of two. And what
the next run of the stage leaves: the bytes of a run that nothing disturbed. Where and when faults come is decided by a
seed. What is done to files between runs is in ``damage``; the root and its stages are in ``ground``.
"""

import errno
import os
import random
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vqa_assets.clips.scratch import PREFIX
from vqa_assets_tests.faults.ground import NO_FAULT, UNFINISHED, Ground, Stage, keys, rows_of

CALLS = ("rename", "fsync", "open", "write", "unlink", "read")
"""The classes of calls, by the numbers that ``preload.c`` gives them."""
KILL = -1
POWER = "power cut"
ERRORS = ("ENOSPC", "EIO", "EACCES", "EDQUOT")
_FULL, _ALL = ("rename", "fsync", "open", "write"), CALLS
MEETS = {
    "kill": _ALL,
    POWER: ("rename", "fsync", "open", "write", "unlink"),
    "ENOSPC": _FULL,
    "EDQUOT": _FULL,
    "EIO": _ALL,
    "EACCES": ("rename", "open", "unlink"),
}
"""What can meet which call: no write asks for permission, and a full disk lets files be removed."""
FINDINGS = ("lost", "doubled", "torn", "untrue", "raw", "hangs", "other bytes", "left over")


@dataclass(frozen=True)
class Fault:
    """What happens at the ``nth`` call of a class: a kill, a power cut, or an error, which may stay until the end."""

    kind: str
    call: str
    nth: int
    stays: bool = False

    @property
    def arming(self) -> dict[str, int]:
        """The same for the preload library."""
        error = KILL if self.kind in ("kill", POWER) else getattr(errno, self.kind)
        return {"call": CALLS.index(self.call), "nth": self.nth, "error": error, "stays": int(self.stays)}

    def __str__(self) -> str:
        return f"{self.kind} at {self.call} {self.nth}{' and after' if self.stays else ''}"


@dataclass
class Tally:
    """How many faults there were, and what was found of each kind, with its first examples."""

    faults: int = 0
    found: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, what: str, findings: Iterable[str]) -> None:
        """Count one fault and what it led to."""
        self.faults += 1
        for finding in findings:
            self.found[finding.partition(":")[0]] += 1
            self.examples.append(f"{what}: {finding}")

    def merge(self, other: "Tally") -> None:
        """Count another's, too."""
        self.faults += other.faults
        self.found += other.found
        self.examples += other.examples

    @property
    def good(self) -> bool:
        """Whether nothing was found."""
        return not self.examples

    def __str__(self) -> str:
        bytes_ = "the same final bytes" if not self.found["other bytes"] else f"{self.found['other bytes']} other bytes"
        rest = "".join(f", {self.found[n]} {n}" for n in ("untrue", "raw", "hangs", "left over") if self.found[n])
        lost, doubled, torn = (self.found[name] for name in ("lost", "doubled", "torn"))
        return f"{self.faults} faults, {lost} lost, {doubled} doubled, {torn} torn, {bytes_}{rest}"


def planned(counts: list[int], most: int, seed: int, kinds: Iterable[str] = ("kill", *ERRORS)) -> list[Fault]:
    """At most ``most`` faults of a run that makes ``counts`` calls of each class, evenly over kinds and classes.

    Within a class they are spread over the run by the seed: the first and the last call are always among them.
    """
    chance = random.Random(seed)
    pairs = [
        (kind, call)
        for kind in kinds
        for call, count in zip(CALLS, counts, strict=True)
        if count and call in MEETS[kind]
    ]
    plan: list[Fault] = []
    each = max(1, most // max(1, len(pairs)))
    for kind, call in pairs:
        count = counts[CALLS.index(call)]
        numbers = {1, count} if each > 1 else {chance.randint(1, count)}
        numbers |= set(chance.sample(range(1, count + 1), min(count, each)))
        chosen = sorted(numbers if len(numbers) <= each else [1, count, *sorted(numbers - {1, count})][:each])
        # A full disk stays full; a broken sector may be met once.
        stays = kind in ("ENOSPC", "EDQUOT")
        plan += [Fault(kind, call, number, stays) for number in chosen]
    chance.shuffle(plan)
    return sorted(plan[:most], key=lambda fault: (fault.kind, fault.call, fault.nth))


def calls_of(ground: Ground, stage: Stage) -> list[int]:
    """How many calls of each class an undisturbed run of the stage makes."""
    ground.put(f"before-{stage.name}")
    counts: list[int] = ground.ask(stage.request)["counts"]
    return counts


def suffer(ground: Ground, stage: Stage, fault: Fault, *, look: bool) -> list[str] | None:
    """Everything that is wrong after one fault; None where the run did not come to it.

    ``look``: another command than the stage's own comes next, and finds the output of one run.
    """
    ground.put(f"before-{stage.name}")
    power = fault.kind == POWER
    if power:
        shutil.rmtree(ground.shadow, ignore_errors=True)
        ground.shadow.mkdir()
    answer = ground.ask(stage.request, fault.arming, shadow=str(ground.shadow) if power else "")
    ended = str(answer["ended"])
    if ended == "ended" and not answer.get("tripped"):
        return None
    if power:
        cut_the_power(ground.root, ground.shadow)
    findings = list(what_was_said(answer))
    # Where what was replaced could not be put back either, the run says so, and the next command does it.
    if ended == "ended" and f"the files of {stage.asset} are of two runs" not in answer["message"]:
        state = ground.state(stage)
        whole = ground.finished[stage.name] if answer["success"] else ground.earlier[stage.name]
        if state != whole and answer["success"] and stage.stored:
            findings += without_some(ground, stage, answer)
        elif state != whole:
            said = "succeeded" if answer["success"] else f"failed ({answer['message'][:300]})"
            findings.append(f"untrue: it {said}, yet {differing(state, whole)}")
    elif look or ended == "ended":
        seen = ground.verify(stage)
        findings += what_was_said(seen)
        state = ground.state(stage)
        if state not in (ground.finished[stage.name], ground.earlier[stage.name]):
            findings.append(
                f"torn: after {fault} stand files of two runs: {differing(state, ground.earlier[stage.name])} are new"
            )
    return findings + after_the_next_run(ground, stage)


def without_some(ground: Ground, stage: Stage, answer: Mapping[str, Any], replaced: str = "") -> Iterator[str]:
    """What is wrong with a published table that lacks clips which the run could not have this time.

    It says so, has every row that it had before, and of each row the state of an undisturbed run. ``replaced`` is the
    name of a clip that was another one meanwhile: nothing is said of its values here.
    """
    earlier, finished = (rows_of(ground.folder / f"{state}-{stage.name}" / stage.rows) for state in ("before", "after"))
    rows = rows_of(ground.root / stage.rows)
    names = [row[stage.key] for row in rows]
    if not answer["told"] and (not replaced or len(rows) < len(finished)):
        yield "untrue: it succeeded without a word, and not as an undisturbed run does"
    yield from (f"doubled: {name}" for name, times in Counter(names).items() if times > 1)
    # A feature row is of the clip of a JSONL's row: of one that is another, there is none until the next ingest.
    kept = {row[stage.key] for row in earlier} - {replaced}
    yield from (f"lost: {name}, until the next run" for name in sorted(kept - set(names)))
    for row in rows:
        if row not in earlier and row not in finished and row[stage.key] != replaced:
            yield f"other bytes: {row[stage.key]} has a row of neither run"


def after_the_next_run(ground: Ground, stage: Stage, *, times: bool = True) -> list[str]:
    """What the stage's next run, undisturbed, does not mend.

    Without ``times`` a row may have been ingested later: where its clip was another in between.
    """
    answer = ground.ask(stage.request)
    findings = list(what_was_said(answer))
    if not answer.get("success"):
        findings.append(f"other bytes: the next run fails: {answer.get('message', answer['ended'])[:600]}")
    rows, wanted = (
        keys(ground.root / stage.rows, stage.key),
        keys(ground.folder / f"after-{stage.name}" / stage.rows, stage.key),
    )
    if rows is None:
        findings.append(f"torn: {stage.rows} cannot be read")
    else:
        findings += [f"lost: {key}" for key in sorted((Counter(wanted) - Counter(rows)).elements())]
        findings += [f"doubled: {key}" for key in sorted((Counter(rows) - Counter(wanted)).elements())]
    if answer.get("success"):
        state = ground.state(stage) if times else ground.values(stage)
        finished = ground.finished[stage.name] if times else ground.values(stage, f"after-{stage.name}")
        if state != finished:
            findings.append(f"other bytes: {differing(state, finished)}")
    findings += [f"left over: {path.relative_to(ground.root)}" for path in unfinished(ground.root)]
    if stage.stored:
        findings += ["left over: a scratch" for _ in ground.scratch.glob(f"{PREFIX}*")]
        findings += objects_amiss(ground, ground.objects[f"after-{stage.name}"], whole=True)
    return findings


def objects_amiss(ground: Ground, wanted: Mapping[str, bytes], *, whole: bool = False) -> Iterator[str]:
    """What is wrong with the bucket: each object is one of ``wanted``, and with ``whole`` each of those is there."""
    assert ground.bucket is not None
    ground.bucket.server.wait_until_quiet()
    held = ground.bucket.held()
    yield from (f"torn: the object {key}" for key in sorted(held) if held[key] != wanted.get(key))
    if whole:
        yield from (f"lost: the object {key}" for key in sorted(wanted.keys() - held.keys()))


def what_was_said(answer: dict[str, Any]) -> Iterator[str]:
    if answer.get("raw"):
        yield f"raw: {answer['message'][-600:]}"
    if answer["ended"] == "hangs":
        yield "hangs: past its limit"
    elif answer["ended"] not in ("ended", "signal 9"):
        yield f"raw: ended by {answer['ended']}"


def differing(state: dict[str, str], other: dict[str, str]) -> str:
    """The files in which two states differ."""
    return ", ".join(
        Path(name).name + ("" if state[name] else " (gone)") for name in state if state[name] != other[name]
    )


def unfinished(root: Path) -> list[Path]:
    """What only a run at work has."""
    return sorted(path for path in root.rglob("*") if path.name.endswith(UNFINISHED))


def cut_the_power(root: Path, shadow: Path) -> None:
    """Let each file that was written in the run hold what it held when it was last synced; names stand as they were.

    That is the harshest that a journalling file system does: it keeps the order of names, not the bytes behind them.
    """
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            file = path.stat()
            kept = shadow / f"{file.st_dev}-{file.st_ino}"
            if kept.exists() and kept.read_bytes() != path.read_bytes():
                path.write_bytes(kept.read_bytes())
                os.utime(path, ns=(file.st_atime_ns, file.st_mtime_ns))


def campaign(ground: Ground, stage: Stage, most: int, seed: int, kinds: Iterable[str] = ("kill", *ERRORS)) -> Tally:
    """At most ``most`` faults of these kinds in one stage."""
    tally = Tally()
    for number, fault in enumerate(planned(calls_of(ground, stage), most, seed, kinds)):
        findings = suffer(ground, stage, fault, look=number % 2 == 0)
        if findings is not None:
            tally.add(f"{stage.name}: {fault}", findings)
    return tally


def jumping_clock(ground: Ground, stage: Stage) -> Tally:
    """The clock goes back a year, or on by one, between two runs: each leaves what an undisturbed one does."""
    tally = Tally()
    for days in (-365, 365):
        ground.put(f"after-{stage.name}")
        answer = ground.ask(stage.request, NO_FAULT, clock=(ground.clock, days * 86_400))
        findings = list(what_was_said(answer))
        if not answer.get("success"):
            findings.append(f"other bytes: the run fails: {answer['message'][:600]}")
        tally.add(f"{stage.name}: the clock jumps by {days} days", findings + after_the_next_run(ground, stage))
    return tally
