"""``vqa-assets judge <head.onnx | column> <table>``: how well a head or a column predicts opinion scores.

Any ONNX head, or any column of numbers in the table, against its scores: SROCC, KROCC, PLCC and RMSE, raw and after a
logistic fit, with 95 % intervals, in all, per corpus, per split and by content, beside the ceiling that the errors of
the scores set where SD and count are known, and how often a head's own intervals hold. No Dagster, no network.
"""

import argparse
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vqa_assets.arguments import CommandParser, nearest
from vqa_assets.errors import HeadError, SettingsError, VqaError
from vqa_assets.predict import find_head
from vqa_assets.printing import plain, tell, tell_error
from vqa_assets.settings import typed_path
from vqa_assets.stages.run import faults_in_words
from vqa_assets.tables.paths import DataRoot
from vqa_assets.tables.publication import settle

if TYPE_CHECKING:
    from vqa_assets.heads.judging.judgement import Judgement
    from vqa_assets.heads.judging.predictors import Predictor
    from vqa_assets.heads.recipe import HeadRecipe
    from vqa_assets.metrics import Scores
    from vqa_assets.provenance import ReadInput

STAGE = "judge"
JUDGEMENT, PICTURE = "judgement.json", "judgement.png"
_SHOWN = {
    "srocc": "SROCC",
    "krocc": "KROCC",
    "plcc": "PLCC",
    "rmse": "RMSE",
    "plcc_fitted": "PLCC fitted",
    "rmse_fitted": "RMSE fitted",
}
_WIDTH = 13
_COLUMNS_SHOWN = 20


@dataclass(frozen=True)
class JudgeQuestion:
    """What is judged against which labelled table, and how: the command's arguments by their names.

    ``judged`` is a head's file or name, or a column of the table.
    """

    judged: str
    table: Path
    gate: str | None = None
    columns: tuple[str, ...] = ()
    target: str | None = None
    lower_is_better: bool = False
    no_baselines: bool = False
    out: Path | None = None
    resamples: int = 1000
    root: str | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit status 0, 1 for a gate that is missed, 2 for whatever could not be judged."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = JudgeQuestion(**vars(parser().parse_args(given)))
    try:
        with faults_in_words():
            judgement = judgement_of(options, ("python", "-m", "vqa_assets.judge", *given), "command line")
        tell(as_text(judgement), end="", flush=True)
        if options.out:
            tell(f"written: {options.out / JUDGEMENT}, {options.out / PICTURE}", flush=True)
    except BrokenPipeError:  # who reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except (VqaError, OSError) as error:
        tell_error(error)
        return 2
    return 1 if judgement.gate and not judgement.gate.verdict.passed else 0


def judgement_of(question: JudgeQuestion, command: Sequence[str], asked_by: str) -> "Judgement":
    """The judgement; with ``out`` it is written there too, as what ``command`` made.

    ``asked_by`` says in its manifest where arguments that are no defaults came from. HeadError, SettingsError or
    TableError where nothing can be judged.
    """
    from vqa_assets.heads.judging.judged_table import read_judged
    from vqa_assets.heads.judging.judgement import judge_table
    from vqa_assets.metrics import Bootstrap
    from vqa_assets.provenance.reading import refuse_changes

    if not isinstance(question.resamples, int) or question.resamples < 1:
        raise SettingsError("resamples", found=f"{question.resamples!r}", expected="a whole number of 1 or more")
    settle(question.table.parent, typed_path(question.judged).parent)
    recipe = _recipe(question.gate) if question.gate else None
    predictor = _predictor(question)
    table = read_judged(question.table, question.target or predictor.learned)
    judgement = judge_table(
        predictor,
        table,
        recipe,
        lower_is_better=question.lower_is_better,
        with_baselines=not question.no_baselines,
        draw=Bootstrap(question.resamples),
    )
    refuse_changes([table.as_read])
    if question.out:
        _publish(judgement, question, question.out, command, asked_by)
    return judgement


def _predictor(options: JudgeQuestion) -> "Predictor":
    """What is judged.

    A file by its suffix, else the table's column of that name, else a head by its name under the data root's models.
    """
    from vqa_assets.heads.judging.judged_table import NEXT_TABLE
    from vqa_assets.heads.judging.predictors import column_predictor, head_predictor, number_of_vector
    from vqa_assets.heads.rows.vectors import with_blocks
    from vqa_assets.tables.foreign_tables import check_present, table_at

    name, columns = options.judged, options.columns
    onnx = typed_path(name).with_suffix(".onnx") if Path(name).suffix in (".onnx", ".json") else None
    if onnx is None:
        check_present(options.table, "labelled table", NEXT_TABLE)
        names = table_at(options.table).names
        if name in names or number_of_vector(name, names):
            if columns:
                raise HeadError(
                    "columns",
                    found=f"{name}, a column of the table",
                    expected="an ONNX head that reads columns",
                    next_step="leave columns out",
                )
            return column_predictor(name)
        try:
            onnx = find_head(name, options.root)
        except (HeadError, SettingsError) as error:
            more = ", …" if len(names) > _COLUMNS_SHOWN else ""
            of_heads, of_columns = error.next_step if isinstance(error, HeadError) else "", nearest(name, names)
            meant = of_heads or (f"did you mean {of_columns}?" if of_columns else "")
            raise HeadError(
                f"{name}",
                found=f"no file of a head, no head under <root>/models, and no column of {options.table.name}"
                + ("" if meant else f", which has {', '.join(names[:_COLUMNS_SHOWN])}{more}"),
                expected="" if meant else "an .onnx file, a head's name, or a column of numbers in the table",
                next_step=meant or "name one of these",
            ) from error
    if columns:
        check_present(options.table, "labelled table", NEXT_TABLE)
        # How long vectors are, only the table says.
        columns = tuple(with_blocks(columns, table_at(options.table).rows()))
    return head_predictor(onnx, columns)


def _recipe(name: str) -> "HeadRecipe":
    """The recipe of a gate: a head's name, or a corpus's own head's, ``mos_head`` for short."""
    from vqa_assets.corpora import CORPORA
    from vqa_assets.heads.recipe import HEAD_RECIPES, corpus_head_recipe

    own = {corpus_head_recipe(corpus).name: corpus_head_recipe(corpus) for corpus in CORPORA}
    recipes = {**HEAD_RECIPES, "mos_head": next(iter(own.values())), **own}
    if name not in recipes:
        raise HeadError(
            f"gate {name}",
            found="no recipe of that name",
            expected=f"one of {', '.join(recipes)}",
            next_step="name one of these",
        )
    return recipes[name]


def _publish(
    judgement: "Judgement", question: JudgeQuestion, folder: Path, command: Sequence[str], asked_by: str
) -> None:
    """``judgement.json`` and ``judgement.png`` in the folder; an error leaves both as they were."""
    from vqa_assets.heads.judging.judgement import VERSION, judgement_png
    from vqa_assets.provenance import Manifest, RunContext, write_manifest
    from vqa_assets.tables.makers import made_by
    from vqa_assets.tables.publication import publishing, settle
    from vqa_assets.tables.targets import OwnTarget, check_targets

    if folder.exists() and not folder.is_dir():
        raise HeadError(f"{folder}", found="a file", expected="a folder for the judgement", next_step="name a folder")
    files = judgement.predictor.files
    inputs: dict[str, Path | ReadInput] = {"table": judgement.table.as_read, **files}
    read = {path.resolve() for path in (judgement.table.path, *files.values())}
    if {(folder / name).resolve() for name in (JUDGEMENT, PICTURE)} & read:
        raise HeadError(
            f"{folder}", found="a file that is read", expected="a folder of its own", next_step="name another"
        )

    def is_of_judgement(_: Path) -> bool:
        made = made_by(folder / JUDGEMENT, compare=False)
        return made is not None and made.stage == STAGE

    targets = [
        OwnTarget(JUDGEMENT, folder / JUDGEMENT, STAGE),
        OwnTarget(PICTURE, folder / PICTURE, STAGE, edited=True, is_own=is_of_judgement),
    ]
    settle(folder)
    check_targets(f"{folder}", targets, {})
    folder.mkdir(parents=True, exist_ok=True)
    defaults = vars(JudgeQuestion("", Path()))
    args = {
        name: {"value": value, "from": "default" if value == defaults[name] else asked_by}
        for name, value in vars(question).items()
    }
    described = Manifest(VERSION, judgement.as_json(), args, inputs, {"picture": folder / PICTURE})
    with publishing(STAGE, folder / JUDGEMENT, VERSION) as publication:
        publication.write(folder / PICTURE, judgement_png(judgement))
        context = RunContext(_root(question.root, folder), {}, Path(__file__), tuple(command))
        write_manifest(publication, folder / JUDGEMENT, described, context)


def _root(named: str | None, folder: Path) -> DataRoot:
    """What paths in the judgement are relative to: the data root, else the folder of the judgement."""
    try:
        return DataRoot.resolve(named)
    except SettingsError:
        if named:
            raise
        return DataRoot(folder.absolute())


def as_text(judgement: "Judgement") -> str:
    """The judgement for people: what was judged, a table with intervals under the numbers, notes, the gate."""
    from vqa_assets.heads.judging.judgement import NEVER_SEEN

    counts, table = judgement.counts, judgement.table
    left_out = {
        "without a score": counts["without_score"],
        "without a prediction": counts["without_prediction"],
        "of encodes that failed": counts["failed"],
    }
    missing = "".join(f", {rows} {why}" for why, rows in left_out.items() if rows)
    parts = {part.name if part.by in ("all", "seen") else f"{part.by} {part.name}": part for part in judgement.parts}
    judged_rows = {name: part.judged for name, part in parts.items()}
    judged_rows |= {f"baseline {one.name}": one.judged for one in judgement.baselines}
    width = max(map(len, judged_rows))
    of = "contents" if judgement.contents_known else "clips"
    lines = [
        f"{judgement.predictor.name} against {table.target} of {table.path.name}",
        f"{counts['judged']} of {counts['rows_in']} rows judged{missing}",
        "",
        f"{'':<{width}}{'rows':>8}{of:>10}" + "".join(f"{shown:>{_WIDTH}}" for shown in _SHOWN.values()),
    ]
    for name, judged in judged_rows.items():
        lines.append(f"{name:<{width}}{judged.scores.rows:>8}{judged.groups:>10}{_numbers(judged.scores)}")
        limits = "".join(f"{_limits(judged.interval.get(metric)):>{_WIDTH}}" for metric in _SHOWN)
        lines.append(f"{'':<{width + 18}}{limits}")
        if name in parts and (above := parts[name].above):
            most = {"srocc": above.srocc, "plcc": above.plcc}
            numbers = "".join(f"{f'{most[metric]:.3f}' if metric in most else '':>{_WIDTH}}" for metric in _SHOWN)
            lines.append(f"{'  ceiling':<{width + 18}}{numbers}".rstrip())
        if name in parts and (held := parts[name].coverage):
            of_level = f"{judgement.predictor.level:.0%} intervals hold {held.share:.1%} of these scores"
            lines.append(f"  {of_level} (±{held.width / 2:.2f} on average)")
    lines += ["", *(f"- {note}" for note in judgement.notes)]
    if gate := judgement.gate:
        rows = f"the {gate.rows} rows that it was not trained on" if gate.read_on == NEVER_SEEN else "all rows"
        reasons = "; ".join(gate.verdict.reasons) or "every threshold is met"
        outcome = "passed" if gate.verdict.passed else "missed"
        lines.append(f"gate of {gate.recipe}, read on {rows}: {outcome}: {reasons}")
        lines.append("the PLCC spread over folds is not measured here, and not asked for")
    return "\n".join(map(plain, lines)).rstrip("\n") + "\n"


def _numbers(scores: "Scores") -> str:
    values = (getattr(scores, metric) for metric in _SHOWN)
    return "".join(f"{'–' if math.isnan(value) else f'{value:.3f}':>{_WIDTH}}" for value in values)


def _limits(interval: tuple[float, float] | None) -> str:
    """The 95 % interval, in as many figures as fit under a number."""
    if interval is None or math.isnan(interval[0]):
        return ""
    return f"{interval[0]:.2f}…{interval[1]:.2f}"


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    command = CommandParser(
        prog="vqa-assets judge",
        description=__doc__,
        epilog="Exit status: 0 judged, 1 the gate that was named is missed, 2 nothing could be judged.",
    )
    command.add_argument("judged", metavar="head.onnx | column", help="a head's file or name, or a column of numbers")
    command.add_argument("table", type=Path, help="a labelled table (Parquet, JSON Lines, JSON, CSV)")
    command.add_argument("--gate", metavar="RECIPE", help="read a recipe's gate; exit status 1 where it is missed")
    command.add_argument(
        "--columns",
        type=names_in,
        default=(),
        metavar="A,B,…",
        help="what a head without our manifest reads, in its order",
    )
    command.add_argument("--target", help="the column of scores (default: the one that a head learned, else mos)")
    command.add_argument("--lower-is-better", action="store_true", help="turn the sign of the predictions")
    command.add_argument(
        "--no-baselines", action="store_true", help="leave out the baselines of a head's columns, which take longest"
    )
    command.add_argument("--out", type=Path, metavar="FOLDER", help=f"also write {JUDGEMENT} and {PICTURE} there")
    command.add_argument("--resamples", type=_positive, default=1000, help="resamples of an interval (default: 1000)")
    command.add_argument("--root", help="data root (default: $VQA_DATA_ROOT, else data)")
    return command


def names_in(text: str) -> tuple[str, ...]:
    """The names of columns in a text that commas part."""
    return tuple(filter(None, (name.strip() for name in text.split(","))))


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text}, expected a whole number of 1 or more")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
