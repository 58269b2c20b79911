from collections import Counter

import pytest

from vqa_assets.corpora.contents import assign_folds, check_split_words, content_groups, fold_of, holdout, joined_groups
from vqa_assets.errors import TrainingError

GROUPS = [f"content:{i // 3}" for i in range(900)]


def test_a_group_is_its_content_id_else_its_clip():
    assert content_groups(["a", None, "", "a"], ["1", "2", "3", "4"]) == ("content:a", "clip:2", "clip:3", "content:a")


def test_a_content_and_a_clip_of_the_same_name_are_different_groups():
    one, other = content_groups(["x", None], ["1", "x"])
    assert one != other


def test_groups_with_the_same_bytes_in_them_are_one():
    groups = ("content:b", "clip:x", "content:a", "clip:y", "clip:z", "content:b")
    marks = ("1", "1", "2", None, None, "2")
    assert joined_groups(groups, marks) == (*("clip:x",) * 3, "clip:y", "clip:z", "clip:x")
    assert joined_groups(groups, (None,) * 6) == joined_groups(groups, tuple("abcdef")) == groups


@pytest.mark.parametrize(("group", "fold"), [("content:a", 4), ("content:b", 1), ("clip:a.mp4", 2)])
def test_folds_never_change_between_releases(group: str, fold: int):
    assert fold_of(group, 5, 20260508) == fold


def test_folds_do_not_move_when_rows_are_added():
    few, many = assign_folds(GROUPS, 5, 7), assign_folds(["content:new", *GROUPS, "clip:z"], 5, 7)
    assert many[1:-1] == few


def test_a_group_never_straddles_folds():
    seen = {(group, fold) for group, fold in zip(GROUPS, assign_folds(GROUPS, 5, 7), strict=True)}
    assert len(seen) == len(set(GROUPS))


def test_folds_are_of_about_equal_size_and_depend_on_the_seed():
    folds = assign_folds(GROUPS, 5, 7)
    assert all(120 <= count <= 240 for count in Counter(folds).values())
    assert folds != assign_folds(GROUPS, 5, 8)


def test_under_four_groups_are_an_error_that_names_them():
    with pytest.raises(TrainingError, match=r"3 rows of 2 contents: a, b\.mp4, expected at least 4: two folds of two"):
        assign_folds(["content:a", "clip:b.mp4", "content:a"], 5, 1)


@pytest.mark.parametrize(("groups", "folds"), [(4, 2), (5, 2), (7, 3), (9, 4), (10, 5), (13, 5), (25, 5)])
def test_a_fold_holds_two_groups_at_least_and_there_are_as_many_as_that_allows(groups: int, folds: int):
    for seed in range(20):
        names = [f"content:{n}" for n in range(groups)]
        drawn = dict(zip(names, assign_folds(names, 5, seed), strict=True))
        sizes = Counter(drawn.values())
        assert set(sizes) == set(range(folds))
        assert min(sizes.values()) >= 2


def test_few_groups_of_unequal_size_are_dealt_evenly():
    groups = [*["a"] * 90, *["b"] * 30, *"cd"]
    of = dict(zip(groups, assign_folds(groups, 5, 1), strict=True))
    assert of["a"] == of["d"] != of["b"] == of["c"] or of["a"] == of["c"] != of["b"] == of["d"]


def test_the_holdout_takes_its_share_of_whole_groups_whatever_the_fold():
    held = holdout(GROUPS, 0.1, 7)
    assert 0.05 < sum(held) / len(held) < 0.15
    assert len(set(zip(GROUPS, held, strict=True))) == len(set(GROUPS))
    folds = {fold for fold, out in zip(assign_folds(GROUPS, 5, 7), held, strict=True) if out}
    assert folds == {0, 1, 2, 3, 4}


def test_the_holdout_does_not_move_when_rows_are_added():
    assert holdout(["clip:z", *GROUPS], 0.1, 7)[1:] == holdout(GROUPS, 0.1, 7)


def test_known_split_words_pass():
    check_split_words(["train", "val", "test"])


def test_unknown_split_words_are_listed():
    with pytest.raises(TrainingError, match=r"'Train', 'dev', \(empty\), expected train, val, test"):
        check_split_words(["train", "dev", "Train", None])


def test_very_many_unknown_split_words_are_counted():
    with pytest.raises(TrainingError, match="and 990 more, expected train, val, test"):
        check_split_words([f"w{i:04d}" for i in range(1000)])
