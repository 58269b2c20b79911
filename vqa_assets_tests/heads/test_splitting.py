from dataclasses import replace

import numpy as np
import pytest

from vqa_assets.errors import TrainingError
from vqa_assets.feature_names import KONVID_V1
from vqa_assets.heads.judging.seen import KnownRows, Training
from vqa_assets.heads.rows.reading import TrainingTable
from vqa_assets.heads.rows.splitting import plan_sources, plan_splits
from vqa_assets.heads.rows.synthetic import synthetic_table
from vqa_assets.heads.settings import TrainingSettings

TABLE = synthetic_table(KONVID_V1, rows=300, seed=1)
SETTINGS = TrainingSettings()
WORDS = ("train",) * 180 + ("val",) * 60 + ("test",) * 60


def groups(rows) -> set[str]:
    return {TABLE.groups[row] for row in rows}


def test_folds_and_holdout_share_no_row_and_no_content():
    plan = plan_splits(TABLE, SETTINGS)
    tests = [part.test for part in plan.parts]
    assert sorted(np.concatenate([plan.holdout, *tests])) == list(range(300))
    assert sorted(plan.final) == sorted(np.concatenate(tests))
    for part in plan.parts:
        assert not groups(part.train) & groups(part.test)
        assert not groups(part.train) & groups(plan.holdout)
        assert len(part.train) + len(part.test) == len(plan.final)
    assert 0 < len(plan.holdout) < 60


def test_whose_content_was_trained_on_is_seen_too_be_it_of_another_part_or_corpus():
    def seen(kind: str, *of: tuple[str, str, str | None], given_tests: tuple[str, ...] = ()) -> list[bool]:
        corpora, contents, words = zip(*of, strict=True)
        rows = KnownRows([f"{n}.mp4" for n in range(len(of))], corpora, [f"content:{c}" for c in contents], words)
        found = Training(kind, 0, 0.0, ("lsvq",), given_tests, {}, False, None).seen(rows)
        assert found is not None
        return found.rows.tolist()

    torn = [("lsvq", "a", "train"), ("lsvq", "a", "test"), ("lsvq", "b", "test"), ("kvq", "a", "test")]
    assert seen("split", *torn) == [True, True, False, True]
    assert seen("folds", ("lsvq", "a", None), ("kvq", "a", None), ("kvq", "b", None)) == [True, True, False]
    # A content that a given test has is in no training, with none of its clips.
    given = [("lsvq", "a", "test"), ("lsvq", "a", "train"), ("lsvq", "b", "train")]
    assert seen("folds", *given, given_tests=("lsvq",)) == [False, False, True]


def test_the_holdout_does_not_depend_on_the_number_of_folds():
    ten = plan_splits(TABLE, TrainingSettings(k_folds=10))
    assert len(ten.parts) == 10
    assert np.array_equal(ten.holdout, plan_splits(TABLE, SETTINGS).holdout)


def test_a_given_split_is_used_as_it_is():
    plan = plan_splits(replace(TABLE, split=WORDS), SETTINGS)
    (part,) = plan.parts
    assert (plan.kind, part.name) == ("split", "test")
    assert list(part.train) == list(plan.final) == list(range(180))
    assert list(part.test) == list(range(240, 300))
    assert len(plan.holdout) == plan.leaking_groups == 0


def test_val_judges_where_there_is_no_test():
    (part,) = plan_splits(replace(TABLE, split=("train",) * 180 + ("val",) * 120), SETTINGS).parts
    assert (part.name, len(part.test)) == ("val", 120)


def test_a_split_that_tears_contents_apart_is_counted():
    torn = plan_splits(replace(TABLE, split=("train",) * 181 + ("test",) * 119), SETTINGS)
    assert torn.leaking_groups == 1


@pytest.mark.parametrize("words", [("train",) * 300, ("test",) * 300])
def test_a_split_without_train_or_test_is_an_error(words):
    with pytest.raises(TrainingError, match="expected both"):
        plan_splits(replace(TABLE, split=words), SETTINGS)


@pytest.mark.parametrize("word", ["dev", None, "Train"])
def test_an_unknown_split_word_is_an_error(word):
    with pytest.raises(TrainingError, match="unknown words in the split column"):
        plan_splits(replace(TABLE, split=(word, *WORDS[1:])), SETTINGS)


def test_where_some_corpora_have_a_split_their_test_rows_are_held_out_and_the_rest_is_folded():
    mixed = replace(TABLE, corpora=("a",) * 150 + ("b",) * 150, split=WORDS[150:] + (None,) * 150)
    plan = plan_splits(mixed, SETTINGS)
    assert plan.kind == "folds"
    assert list(plan.given_tests) == ["a"]
    assert list(plan.given_tests["a"]) == list(range(90, 150))
    used = {*plan.final, *plan.holdout}
    assert not used & set(range(90, 150))
    assert len(used) == 240
    assert any(row < 30 for row in plan.final)  # the first corpus's train rows
    assert any(30 <= row < 90 for row in plan.final)  # its val rows


def test_contents_of_a_given_test_never_train():
    shared = TABLE.groups[:295] + (TABLE.groups[90],) * 5
    mixed = replace(TABLE, corpora=("a",) * 150 + ("b",) * 150, split=WORDS[150:] + (None,) * 150, groups=shared)
    plan = plan_splits(mixed, SETTINGS)
    assert plan.left_out == 5
    assert not {*plan.final, *plan.holdout} & set(range(295, 300))


def of_contents(count: int) -> TrainingTable:
    return replace(TABLE, groups=tuple(f"content:c{i % count}" for i in range(300)))


@pytest.mark.parametrize(("contents", "folds"), [(4, 2), (5, 2), (6, 3), (7, 3), (8, 4), (9, 4)])
def test_under_ten_contents_folds_are_as_many_as_two_contents_each_fill_and_nothing_is_held_out(contents, folds):
    table = of_contents(contents)
    plan = plan_splits(table, SETTINGS)
    assert (plan.kind, len(plan.parts), len(plan.holdout), plan.holdout_share) == ("folds", folds, 0, 0.0)
    assert sorted(row for part in plan.parts for row in part.test) == list(range(300)) == list(plan.final)
    for part in plan.parts:
        tested = {table.groups[row] for row in part.test}
        assert len(tested) >= 2
        assert not tested & {table.groups[row] for row in part.train}
    assert plan.not_measured == f"not measured: {contents} contents fill {folds} folds, not 5"
    assert plan.warnings == (
        f"{contents} contents fill {folds} folds, not 5: the gate is not measured",
        f"{contents} contents: nothing is held out, and nothing has an interval (10 are needed)",
    )


def test_from_ten_contents_on_some_are_held_out_and_folds_that_are_full_are_measured():
    plan = plan_splits(of_contents(40), SETTINGS)
    assert (len(plan.parts), plan.holdout_share, plan.not_measured, plan.warnings) == (5, 0.1, "", ())
    assert len(plan.holdout)


def test_of_ten_contents_one_is_held_out_and_who_counts_the_others_is_told_so():
    plan = plan_splits(of_contents(10), SETTINGS.but(seed=0))
    held = len({f"c{row % 10}" for row in plan.holdout})
    assert held > 0
    filled = f"{10 - held} contents (of 10; {held} held out) fill {len(plan.parts)} folds, not 5"
    assert plan.not_measured == f"not measured: {filled}"
    assert plan.warnings == (f"{filled}: the gate is not measured",)


@pytest.mark.parametrize("split", [(None,) * 300, WORDS])
def test_under_four_contents_are_an_error_that_names_them(split):
    with pytest.raises(TrainingError, match=r"contents: c0, c1, c2, expected at least 4: two folds of two contents"):
        plan_splits(replace(of_contents(3), split=split), SETTINGS)


def grid(*contents: tuple[str, int, int]) -> TrainingTable:
    """An encode grid's table: per content its rows, and of how many kinds of encodes."""
    groups = tuple(f"content:{name}" for name, rows, _ in contents for _ in range(rows))
    encodes = tuple(f"x264 {row % kinds}" for _, rows, kinds in contents for row in range(rows))
    return replace(TABLE, groups=groups, encodes=encodes)


def alike(count: int, rows: int, kinds: int) -> tuple[tuple[str, int, int], ...]:
    return tuple((f"c{number}", rows, kinds) for number in range(count))


@pytest.mark.parametrize(
    ("table", "rows"),
    [
        (grid(*alike(5, 4, 4)), [4, 4, 4, 4, 4]),
        (grid(*alike(20, 4, 4)), [16, 16, 16, 16, 16]),
        (grid(*alike(9, 30, 30)), [60, 60, 60, 60, 30]),
        # less than three rows or two encodes are no fold: fewer folds hold more
        (grid(*alike(6, 2, 2)), [4, 4, 4]),
        (grid(*alike(4, 4, 4), ("few", 2, 2)), [6, 4, 4, 4]),
        (grid(*alike(4, 4, 4), ("one kind", 5, 1)), [9, 4, 4, 4]),
        (grid(*alike(4, 9, 3)), None),
        (grid(*alike(5, 1, 1)), None),
        (grid(*alike(30, 4, 1)), None),
    ],
)
def test_a_grid_is_folded_by_content_into_up_to_five_folds_that_can_judge(table, rows):
    plan = plan_sources(table, 5, 7)
    assert (plan.kind, plan.sources) == ("sources" if rows else "insufficient-sources", len(set(table.groups)))
    assert sorted((len(part.test) for part in plan.parts), reverse=True) == (rows or [])
    tested = [row for part in plan.parts for row in part.test]
    assert sorted(tested) == (list(range(len(table.groups))) if rows else [])
    for part in plan.parts:
        assert not {table.groups[row] for row in part.train} & {table.groups[row] for row in part.test}
        assert len(part.train) + len(part.test) == len(table.groups)


def test_the_folds_of_a_grid_follow_the_seed_and_nothing_else():
    table = grid(*alike(12, 4, 4))
    first, again, other = (plan_sources(table, 5, seed).parts for seed in (7, 7, 8))
    assert [list(part.test) for part in first] == [list(part.test) for part in again]
    assert [list(part.test) for part in first] != [list(part.test) for part in other]
