"""The page on using a head, and the one on its architecture, say what is so."""

import re
import shlex
from pathlib import Path

from benchmarks.head_architecture import WAYS
from benchmarks.head_laws import LAWS
from vqa_assets import judge
from vqa_assets.clip_list import CLIP_COLUMNS, KEY_COLUMNS
from vqa_assets.corpora.contents import ENOUGH_CONTENTS
from vqa_assets.heads.judging.baselines import KERNEL_CHOICE_ROWS, KERNEL_FIT_ROWS, KERNEL_JUDGED_ROWS
from vqa_assets.heads.judging.evaluation import PROPOSED, TEST_SHARE
from vqa_assets.heads.judging.intervals import LEVEL
from vqa_assets.heads.judging.judgement import VERSION as JUDGEMENT_VERSION
from vqa_assets.heads.members.export import MEMBERS
from vqa_assets.heads.members.feature_map import KNOTS
from vqa_assets.heads.members.method import SHIPPED
from vqa_assets.heads.members.random_features import FEATURES
from vqa_assets.heads.members.weights import CLIP, HIDDEN
from vqa_assets.heads.recipe import HOLDOUT_SHARE
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.heads.using import BEYOND
from vqa_assets.list_scores import SUFFIXES, WINDOW_ROWS
from vqa_assets.predict import VERSION, csv_columns, parser

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs/features-and-heads.md").read_text(encoding="utf-8")
USING = PAGE.split("## Using a head\n")[1].split("\n## ")[0]
ARCHITECTURE = (REPOSITORY / "docs/head-architecture.md").read_text(encoding="utf-8")


def test_the_commands_are_what_the_command_takes() -> None:
    commands = re.findall(r"^\.venv/bin/vqa-assets predict (.*)$", USING, re.MULTILINE)
    assert len(commands) == 6
    for command in commands:
        asked = parser().parse_args(shlex.split(command))
        assert asked.sources or asked.listed
    assert f"`{VERSION}`" in USING


def test_the_columns_of_a_list_and_of_its_scores_are_those_that_are_read_and_written() -> None:
    names = (*CLIP_COLUMNS, *KEY_COLUMNS, *csv_columns("mos"), *SUFFIXES, *(f"{scheme}://…" for scheme in ("gs", "az")))
    assert not [name for name in names if f"`{name}`" not in USING]
    assert f"{WINDOW_ROWS:,} rows".replace(",", " ") in USING


def test_the_commands_of_judging_are_what_the_command_takes() -> None:
    page = (REPOSITORY / "docs/judging.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\.venv/bin/vqa-assets judge (.*)$", page, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        assert judge.parser().parse_args(shlex.split(command)).table
    assert all(f"`{name}`" in page for name in (judge.JUDGEMENT, judge.PICTURE, JUDGEMENT_VERSION))


def test_the_numbers_of_the_evaluation_are_the_codes() -> None:
    assert f"`protocol_splits` ({TrainingSettings().protocol_splits})" in USING
    assert TEST_SHARE == 0.2
    assert "80 % of the contents to train and 20 % to judge" in USING
    assert HOLDOUT_SHARE == 0.1
    fit, choice, judged = (
        f"{rows:,}".replace(",", " ") for rows in (KERNEL_FIT_ROWS, KERNEL_CHOICE_ROWS, KERNEL_JUDGED_ROWS)
    )
    assert f"fitted on at most {fit} rows, chosen on at most {choice} and judged on at most {judged}," in USING
    assert f"`{PROPOSED}`" in USING


def test_what_the_page_says_of_intervals_is_so() -> None:
    assert (LEVEL, ENOUGH_CONTENTS, BEYOND) == (0.9, 10, 0.1)
    assert "nine of ten clips" in USING
    assert "under ten contents" in USING
    assert "by more than a tenth of that range" in USING
    assert f"inner tensor `{MEMBERS}` (N, M)" in USING


def test_the_architecture_is_the_shipped_one_and_every_other_way_has_its_row() -> None:
    assert (SHIPPED.members, SHIPPED.parts, SHIPPED.dropout, SHIPPED.loss, SHIPPED.start) == (5, 5, 0.1, "mse", "ridge")
    assert "mean of five networks" in ARCHITECTURE
    assert f"{KNOTS} quantiles" in ARCHITECTURE
    assert f"{FEATURES:,}".replace(",", " ") + " random features" in ARCHITECTURE
    assert f"(2 × {HIDDEN}, dropout {SHIPPED.dropout:g})" in ARCHITECTURE
    assert f"clipped to ±{CLIP:g} SD" in ARCHITECTURE
    table = ARCHITECTURE[ARCHITECTURE.index("| mean PLCC") :].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert rows[0][1:] == list(LAWS)
    assert [row[0] for row in rows[2:]] == ["shipped", "ridge regression", "RBF-SVR", *list(WAYS)[1:]]


def test_the_table_shows_the_head_no_worse_than_its_baselines() -> None:
    for name in ("ridge regression", "RBF-SVR"):
        (row,) = (line for line in ARCHITECTURE.splitlines() if line.startswith(f"| {name} |"))
        found = re.findall(r"([+-][0-9.]+) ± ([0-9.]+)", row)
        assert len(found) == len(LAWS)
        assert all(float(apart) <= float(half) for apart, half in found)
