"""``python -m vqa_assets_tests.faults``: the campaign's long form. ``make campaign`` runs it for at most an hour.

It goes round the stages with another seed each time until the time is over, tells how far it is, and ends with a table,
which ``--write`` puts into docs/reliability.md. Exit status 0 where nothing was found, 1 otherwise.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from vqa_assets_tests.faults.campaign import ERRORS, POWER, Tally, campaign, jumping_clock
from vqa_assets_tests.faults.damage import damaged_inputs, damaged_outputs
from vqa_assets_tests.faults.ground import REPOSITORY, STAGES, WITH_CLIPS, Ground, Stage
from vqa_assets_tests.faults.stores import MIRROR, faults_beside_the_store, faults_of_mirror, faults_of_the_store
from vqa_assets_tests.faults.workers import faults_on_dask

PAGE = REPOSITORY / "docs" / "reliability.md"
BEGIN, END = "<!-- campaign -->", "<!-- end of campaign -->"
COLUMNS = ("kills", "errors", "power cuts", "damaged outputs", "damaged inputs", "clock jumps")
DEATHS, STORE = "deaths on Dask", "an object store"
"""Told below the table: few stages have clips elsewhere."""
_ELSEWHERE = {
    DEATHS: "Workers, schedulers and runs that were killed on Dask",
    STORE: "Faults of an object store, of its scratch, and of runs that have their clips there",
}
_SHOWN = 40
Step = tuple[Stage, str, Callable[[], Tally]]


def steps(ground: Ground, stages: Sequence[Stage], seed: int, faults: int) -> Iterator[Step]:
    """One round: every kind of fault in every stage, ``faults`` kills and as many of the others as belong to them."""
    for stage in stages:
        most = stage.short(faults)
        each = max(1, most // 8)
        yield stage, "kills", partial(campaign, ground, stage, most, seed, ("kill",))
        yield stage, "errors", partial(campaign, ground, stage, 2 * most, seed, ERRORS)
        yield stage, "power cuts", partial(campaign, ground, stage, most, seed, (POWER,))
        yield stage, "damaged outputs", partial(damaged_outputs, ground, stage, each, seed)
        yield stage, "damaged inputs", partial(damaged_inputs, ground, stage, each, seed)
        yield stage, "clock jumps", partial(jumping_clock, ground, stage)
        if stage.asset in WITH_CLIPS:
            yield stage, DEATHS, partial(faults_on_dask, ground, stage, max(3, most // 2), seed)
            yield stage, STORE, partial(_of_the_store, ground, stage.asset, stage.short(faults), seed)
    if len(stages) == len(STAGES):  # what it copies is what they all publish
        yield Stage(MIRROR, "", "", ""), STORE, partial(faults_of_mirror, ground, faults, seed)


def _of_the_store(ground: Ground, asset: str, faults: int, seed: int) -> Tally:
    """Faults of the server, and of the disk beside it, in one stage whose clips are there."""
    (stage,) = [stage for stage in ground.with_a_store() if stage.asset == asset]
    tally = faults_of_the_store(ground, stage, faults, seed)
    tally.merge(faults_beside_the_store(ground, stage, faults // 2, seed))
    return tally


def table(tallies: dict[tuple[str, str], Tally], seed: int, rounds: int) -> str:
    """The counts by stage and kind, and the sentence."""
    total = Tally()
    for tally in tallies.values():
        total.merge(tally)
    lines = [f"| stage | {' | '.join(COLUMNS)} |", f"|---|{'---:|' * len(COLUMNS)}"]
    for stage in dict.fromkeys(stage for stage, kind in tallies if kind in COLUMNS):
        cells = [_cell(tallies.get((stage, column), Tally())) for column in COLUMNS]
        lines.append(f"| `{stage}` | {' | '.join(cells)} |")
    for elsewhere, what in _ELSEWHERE.items():
        cells = [f"{_cell(tally)} in `{stage}`" for (stage, kind), tally in tallies.items() if kind == elsewhere]
        if cells:
            lines += ["", f"{what}: {', '.join(cells)}."]
    return "\n".join([*lines, "", f"Seed {seed}, {rounds} round{'s' * (rounds != 1)}: **{total}**."])


def _cell(tally: Tally) -> str:
    found = sum(tally.found.values())
    return f"{tally.faults}, {found} found" if found else f"{tally.faults}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m vqa_assets_tests.faults", description=__doc__)
    parser.add_argument("--minutes", type=float, default=55, help="when to begin no more (default: 55)")
    parser.add_argument("--seed", type=int, default=1, help="where faults come (default: 1)")
    parser.add_argument("--faults", type=int, default=24, help="kills a stage and round (default: 24)")
    parser.add_argument("--rounds", type=int, default=1_000, help="at most so many rounds")
    parser.add_argument("--stage", action="append", help="only this asset; may be given several times")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}")
    options = parser.parse_args(arguments)
    stages = [stage for stage in STAGES if not options.stage or stage.asset in options.stage]
    begun, tallies, rounds, over = time.monotonic(), dict[tuple[str, str], Tally](), 0, False
    with tempfile.TemporaryDirectory(prefix="vqa-faults-") as folder, Ground(Path(folder)) as ground:
        while not over and rounds < options.rounds:
            for stage, kind, make in steps(ground, stages, options.seed + rounds, options.faults):
                if over := time.monotonic() - begun > 60 * options.minutes:
                    break
                tally = make()
                tallies.setdefault((stage.asset, kind), Tally()).merge(tally)
                _tell_progress(tallies, stage.asset, kind, tally, time.monotonic() - begun, options.minutes)
            rounds += not over
    text = table(tallies, options.seed, rounds)
    print(text)
    if options.write:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    return 0 if all(tally.good for tally in tallies.values()) else 1


def _tell_progress(
    tallies: dict[tuple[str, str], Tally], stage: str, kind: str, tally: Tally, seconds: float, minutes: float
) -> None:
    faults = sum(one.faults for one in tallies.values())
    left = max(0.0, minutes - seconds / 60)
    print(f"{faults} faults, {faults / seconds:.1f}/s, {left:.0f} minutes left: {stage}: {kind}: {tally}", flush=True)
    for example in tally.examples[:_SHOWN]:
        print(f"  ! {example}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
