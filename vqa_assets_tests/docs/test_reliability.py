"""The page on reliability shows the last campaign of today's stages, and it found nothing."""

import re

from vqa_assets_tests.faults.__main__ import BEGIN, COLUMNS, DEATHS, END, PAGE, table
from vqa_assets_tests.faults.campaign import CALLS, ERRORS, Tally
from vqa_assets_tests.faults.ground import STAGES

TEXT = PAGE.read_text(encoding="utf-8")


def test_its_table_is_of_every_stage_and_every_kind_and_its_sentence_says_nothing_was_found() -> None:
    shown = TEXT.partition(BEGIN)[2].partition(END)[0]
    assert re.findall(r"^\| `(\w+)` \|", shown, re.MULTILINE) == [stage.asset for stage in STAGES]
    assert f"| stage | {' | '.join(COLUMNS)} |" in shown
    assert re.search(r"\*\*\d+ faults, 0 lost, 0 doubled, 0 torn, the same final bytes\*\*", shown)


def test_it_names_every_class_of_calls_and_every_error() -> None:
    assert [call for call in CALLS if call not in TEXT] == []
    assert [error for error in ERRORS if error not in TEXT] == []


def test_the_table_counts_what_was_found() -> None:
    tallies = {("mos_head", "kills"): Tally()}
    tallies["mos_head", "kills"].add("mos_head: kill at open 1", ["torn: two runs"])
    tallies["clip_features", DEATHS] = Tally(faults=3)
    text = table(tallies, seed=1, rounds=1)
    assert "| `mos_head` | 1, 1 found | 0 | 0 | 0 | 0 | 0 |" in text
    assert "were killed on Dask: 3 in `clip_features`." in text
    assert "**4 faults, 0 lost, 0 doubled, 1 torn, the same final bytes**" in text
