"""What an aggregation lost, told with both sides and with places."""

from pathlib import Path

import pytest

from vqa_assets.unified.duplicates import DUPLICATES_SHOWN
from vqa_assets.unified.index import DROPPED_SHOWN
from vqa_assets_tests.shared.unified_corpora import clip, unify

ACR, HUNDRED = "konvid-1k", "live-vqc"


def same(src: str, mos: float, corpus: str, sd: float = 0.0) -> dict[str, object]:
    return clip(src, mos, corpus, sha="same", mos_std_dev=sd)


@pytest.mark.parametrize(
    ("first", "second", "kept", "why"),
    [
        ((ACR, 0.4), (HUNDRED, 12.0), ACR, "smaller SD on the unified scale (10 < 12)"),
        ((ACR, 0.5), (HUNDRED, 12.0), HUNDRED, "smaller SD on the unified scale (12 < 12.5)"),
        ((ACR, 0.0), (HUNDRED, 30.0), HUNDRED, "its SD is known, the other's is not"),
        ((ACR, 0.0), (HUNDRED, 0.0), ACR, "no SD is known: the earlier in the order of inputs stands"),
        ((ACR, 0.5), (HUNDRED, 12.5), ACR, "equal SDs: the earlier in the order of inputs stands"),
        ((ACR, 0.5), (ACR, 0.1), ACR, "within a corpus the first row stands"),
    ],
)
def test_a_duplicate_is_told_with_both_sides_and_why(
    first: tuple[str, float], second: tuple[str, float], kept: str, why: str, root_path: Path
) -> None:
    scores = {ACR: 3.0, HUNDRED: 61.0}
    one, two = (same(f"{n}.mp4", scores[c], c, sd) for n, (c, sd) in (("one", first), ("two", second)))
    done = unify(root_path, [one], [two])
    (found,) = done.report.duplicates
    assert (found.kept.corpus, found.why) == (kept, why)
    assert {found.kept.src, found.lost.src} == {"one.mp4", "two.mp4"}
    assert {found.kept.mos, found.lost.mos} <= {50.0, 61.0}
    assert done.manifest["duplicates"] == [found.as_row()]


def test_the_row_that_stands_in_the_end_is_shown_and_not_one_that_lost_later(root_path: Path) -> None:
    done = unify(root_path, [same("a", 3.0, ACR, 0.8)], [same("b", 60.0, HUNDRED, 15.0)], [same("c", 3.0, "lsvq", 0.1)])
    assert [(d.kept.src, d.lost.src) for d in done.report.duplicates] == [("c", "a"), ("c", "b")]


def test_a_repetition_with_a_smaller_sd_than_the_winners_lost_as_no_first_row(root_path: Path) -> None:
    done = unify(root_path, [same("a", 3.0, ACR, 0.8), same("again", 3.0, ACR, 0.1)], [same("b", 60.0, HUNDRED, 15.0)])
    told = {d.lost.src: d.why for d in done.report.duplicates}
    assert told["again"] == "the other is no first row of konvid-1k"


def test_fifty_duplicates_are_told_and_all_are_counted(root_path: Path) -> None:
    rows = [clip(f"{i}", 3.0, ACR, sha=f"{i}") for i in range(60)]
    again = [clip(f"{i}", 60.0, HUNDRED, sha=f"{i}") for i in range(60)]
    done = unify(root_path, rows, again)
    assert done.report.cross_corpus_dedups == 60
    assert [d.lost.src for d in done.report.duplicates] == [f"{i}" for i in range(DUPLICATES_SHOWN)]


def test_dropped_rows_are_told_by_reason_with_file_line_and_value(root_path: Path) -> None:
    rows = [clip("good", 3.0, ACR), clip("high", 6.5, ACR), clip("foreign", 3.0, "foo")]
    assert unify(root_path, rows).manifest["dropped_rows"] == [
        {
            "reason": "dropped_bad_scale",
            "path": "shard0.jsonl",
            "line": 2,
            "corpus": "konvid-1k",
            "found": "mos 6.5 outside [1, 5]",
        },
        {
            "reason": "dropped_unknown_corpus",
            "path": "shard0.jsonl",
            "line": 3,
            "corpus": "foo",
            "found": "unknown corpus label 'foo'",
        },
    ]


def test_examples_are_bounded_per_reason_and_the_log_names_every_line_in_few_messages(
    root_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = [clip(f"{i}", 3.0, "foo") for i in range(30)]
    done = unify(root_path, [clip("good", 3.0, ACR), *bad, clip("high", 6.5, ACR)])
    assert done.report.dropped_unknown_corpus == 30
    reasons = [row["reason"] for row in done.manifest["dropped_rows"]]
    assert reasons == ["dropped_bad_scale"] + ["dropped_unknown_corpus"] * DROPPED_SHOWN
    told = [
        record.message for record in caplog.records if "dropped" in record.message and record.levelname == "WARNING"
    ]
    assert len(told) == DROPPED_SHOWN + 2
    place, lines = "shard0.jsonl", ", ".join(map(str, range(2 + DROPPED_SHOWN, 32)))
    assert all(any(f"{place}:{line}: " in message for message in told) for line in (*range(2, 2 + DROPPED_SHOWN), 32))
    expected = f"{place}: lines of further rows that are dropped_unknown_corpus (20): {lines}"
    assert any(message.endswith(expected) for message in told)
