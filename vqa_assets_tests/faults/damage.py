"""Files that were cut short or in which bits were turned while nothing ran: a damage heals, or it is told.

An output or a cache is damaged, and the stage that writes it runs: it leaves the bytes that stood there, or says in its
own words why not. An input is damaged, and the stage that reads it runs: whatever it makes of it, it makes in its own
words, and once the input is back the bytes are those that stood there.
"""

import random
from collections.abc import Callable
from pathlib import Path

from vqa_assets_tests.faults.campaign import Tally, after_the_next_run, differing, what_was_said
from vqa_assets_tests.faults.ground import Ground, Stage

Damage = Callable[[bytes, random.Random], bytes]


def cut(held: bytes, chance: random.Random) -> bytes:
    """All but its end; sometimes nothing is left."""
    return held[: chance.choice((0, 1, len(held) // 2, max(0, len(held) - 1), chance.randrange(len(held) + 1)))]


def turned(held: bytes, chance: random.Random) -> bytes:
    """One bit is another."""
    if not held:
        return held
    damaged = bytearray(held)
    damaged[chance.randrange(len(held))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def mutated(held: bytes, chance: random.Random) -> bytes:
    """Pieces overwritten, doubled, taken out: a file that still looks like what it was."""
    damaged = bytearray(held)
    for _ in range(chance.randint(1, 8)):
        at, length = chance.randrange(len(damaged) + 1), chance.randint(1, 64)
        piece = damaged[at : at + length]
        damaged[at : at + length] = chance.choice((b"", bytes(length), piece + piece, chance.randbytes(len(piece))))
    return bytes(damaged)


DAMAGES: dict[str, Damage] = {"cut short": cut, "a bit turned": turned}


def damaged_outputs(ground: Ground, stage: Stage, each: int, seed: int) -> Tally:
    """``each`` damages of each kind to every file that the stage publishes or keeps; then it runs again."""
    tally = Tally()
    for name in (*ground.published[stage.name], *stage.caches):
        for what, damage in DAMAGES.items():
            chance = random.Random(f"{seed} {name} {what}")
            for number in range(each):
                path = _damaged(ground, stage, name, damage, chance)
                if path is not None:
                    tally.add(f"{stage.name}: {name}: {what} ({number})", _healed_or_told(ground, stage))
    return tally


def damaged_inputs(ground: Ground, stage: Stage, each: int, seed: int) -> Tally:
    """``each`` damages of each kind to every input; the stage runs on it, and again when the input is back."""
    tally = Tally()
    for name in stage.inputs:
        kinds = DAMAGES | ({"mutated": mutated} if name.endswith(".mp4") else {})
        for what, damage in kinds.items():
            chance = random.Random(f"{seed} {name} {what}")
            for number in range(each):
                held = (ground.folder / f"before-{stage.name}" / name).read_bytes()
                path = _damaged(ground, stage, name, damage, chance, before=True)
                if path is None:
                    continue
                findings = list(what_was_said(ground.ask(stage.request)))
                path.write_bytes(held)
                findings += after_the_next_run(ground, stage, times=False)
                tally.add(f"{stage.name}: {name}: {what} ({number})", findings)
    return tally


def _damaged(
    ground: Ground, stage: Stage, name: str, damage: Damage, chance: random.Random, *, before: bool = False
) -> Path | None:
    """The damaged file, in a root where all else is whole; None where the damage changes nothing."""
    ground.put(f"{'before' if before else 'after'}-{stage.name}")
    path = ground.root / name
    held = path.read_bytes()
    spoilt = damage(held, chance)
    if spoilt == held:
        return None
    path.write_bytes(spoilt)
    return path


def _healed_or_told(ground: Ground, stage: Stage) -> list[str]:
    answer = ground.ask(stage.request)
    findings = list(what_was_said(answer))
    if not answer.get("success"):
        # In its own words: an asset that cannot mend its own file says which it is and what to do, never to run itself.
        if f"materialize {stage.asset}" in answer["message"] or "make it again" in answer["message"]:
            findings.append(f"untrue: it asks for itself: {answer['message'][:400]}")
    elif not answer["told"]:
        state, finished = ground.values(stage), ground.values(stage, f"after-{stage.name}")
        if state != finished:
            findings.append(f"other bytes: without a word: {differing(state, finished)}")
    return findings
