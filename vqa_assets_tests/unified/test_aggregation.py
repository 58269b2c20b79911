"""Many corpora become one: scales, duplicates, dropped rows, and what aborts."""

import json
import logging
import math
import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from vqa_assets.corpora.konvid_150k import KONVID_150K
from vqa_assets.corpora.scales import ACR_1_5, CONTINUOUS_0_100, VMAF_0_100, MosScale
from vqa_assets.errors import AggregateError, ScaleError, SchemaError, VqaError
from vqa_assets.provenance import RunContext
from vqa_assets.tables.files import json_line, read_json_lines
from vqa_assets.tables.paths import DataRoot
from vqa_assets.unified import aggregation as module
from vqa_assets.unified.aggregation import UnifiedSettings, aggregate, make_unified_corpus
from vqa_assets.unified.index import AggregateReport
from vqa_assets.unified.shards import Shard
from vqa_assets.unified.unifying import write_block
from vqa_assets_tests.shared.unified_corpora import clip, unify

NOW = "2026-05-08T12:00:00+00:00"


def corpus(name, *scales):
    return KONVID_150K.but(name=name, scales=scales)


CORPORA = {
    c.name: c
    for c in (
        corpus("acr", ACR_1_5),
        corpus("hundred", CONTINUOUS_0_100),
        corpus("lsvq", ACR_1_5, CONTINUOUS_0_100),
        corpus("proxy", VMAF_0_100),
        corpus("chug", ACR_1_5),
        corpus("own", MosScale("0-10", 0, 10)),
        corpus("worse", MosScale("0-10", 0, 5), CONTINUOUS_0_100).but(polarity="dmos"),
    )
}


def sha(text):
    return f"{sum(ord(c) * 31**i for i, c in enumerate(text)):064x}"[-64:]


def row(src, mos, corpus="acr", **changes):
    found = {
        "src": f"{src}.mp4",
        "src_sha256": sha(src),
        "src_size_bytes": 1000,
        "width": 960,
        "height": 540,
        "framerate": 25.0,
        "duration_s": 8.0,
        "pix_fmt": "yuv420p",
        "encoder_upstream": "h264",
        "mos": mos,
        "mos_scale": CORPORA[corpus].scales[0].name if corpus in CORPORA else "1-5-acr",
        "mos_std_dev": 0.0,
        "n_ratings": 5,
        "corpus": corpus,
        "corpus_version": "1",
        "ingested_at_utc": NOW,
    } | changes
    return {name: value for name, value in found.items() if value is not ...}


@pytest.fixture
def shard(tmp_path):
    """Write rows (mappings, or raw lines as bytes) as a shard."""

    def write(name, *rows, corpus=None):
        path = tmp_path / f"{name}.jsonl"
        path.write_bytes(b"".join(r if isinstance(r, bytes) else json.dumps(r).encode() + b"\n" for r in rows))
        return Shard(path, corpus)

    return write


def unified(*shards, corpora=CORPORA):
    """The rows, as they are written, and the report."""
    found = aggregate(shards, corpora, NOW)
    return [json.loads(line) for line in write_block(found.rows).lines.splitlines()], found.report


def only(*shards):
    rows, _ = unified(*shards)
    assert len(rows) == 1
    return rows[0]


class TestScales:
    """Native values onto 0–100."""

    @pytest.mark.parametrize(
        ("given", "unified"),
        [
            (("acr", "1-5-acr", 1.0, 0.0), (0.0, 0.0)),
            (("acr", "1-5-acr", 3.2, 0.8), (55.0, 20.0)),
            (("acr", "1-5-acr", 5, 1), (100.0, 25.0)),
            (("acr", "1-5-acr", 5.05, 0.0), (101.25, 0.0)),
            (("hundred", "0-100-continuous", 61.5, 12.0), (61.5, 12.0)),
            (("lsvq", "0-100-continuous", 3.2, 12.0), (3.2, 12.0)),
            (("proxy", "vmaf", 93.25, 0.0), (93.25, 0.0)),
            (("own", "0-10", 7.5, 0.5), (75.0, 5.0)),
            (("own", "1-5-acr", 3.2, 0.8), (55.0, 20.0)),
            (("worse", "0-10", 4.5, 0.5), (10.0, 10.0)),
            (("worse", "0-100-continuous", 30.0, 4.0), (70.0, 4.0)),
        ],
    )
    def test_a_score_and_its_sd_are_mapped_and_the_native_ones_kept(self, given, unified, shard):
        name, scale, mos, sd = given
        found = only(shard("s", row("a", mos, name, mos_scale=scale, mos_std_dev=sd)))
        assert (found["mos"], found["mos_std_dev_unified"]) == pytest.approx(unified)
        assert found["mos_scale"] == "0-100-continuous"
        assert (found["mos_native"], found["mos_native_scale"], found["mos_std_dev"]) == (mos, scale, sd)
        assert (found["corpus_source"], found["aggregated_at_utc"]) == (name, NOW)

    @pytest.mark.parametrize(
        ("name", "said", "unified", "native"),
        [
            ("worse", "dmos", 70.0, "dmos"),
            ("worse", ..., 70.0, "dmos"),
            ("worse", "mos", 30.0, None),
            ("hundred", "dmos", 70.0, "dmos"),
            ("hundred", None, 30.0, None),
        ],
    )
    def test_which_end_is_the_better_one_a_row_says_else_its_corpus(self, name, said, unified, native, shard):
        found = only(shard("s", row("a", 30.0, name, mos_scale="0-100-continuous", mos_polarity=said)))
        assert (found["mos"], found["mos_native"]) == (unified, 30.0)
        assert found.get("mos_native_polarity") == native
        assert (found.get("mos_polarity") or "mos") == "mos"

    def test_the_smallest_sd_wins_whichever_end_is_the_better_one(self, shard):
        rows = [
            row("a", 30.0, "worse", mos_scale="0-100-continuous", mos_std_dev=4.0),
            row("a", 3.0, "acr", mos_std_dev=0.5),
        ]
        assert only(shard("s", *rows))["corpus_source"] == "worse"

    def test_scores_of_shards_that_name_no_scale_are_detected_on_the_corpuss_own(self, shard):
        rows, report = unified(shard("s", *(row(f"{i}", i / 4, "own", mos_scale=...) for i in range(41))))
        assert {one["mos_native_scale"] for one in rows} == {"0-10"}
        assert report.scales["own"] == {"native": "0-10", "unified": "0-100-continuous", "slope": 10, "intercept": 0}
        _, report = unified(shard("t", *(row(f"{i}", i / 8, "worse", mos_scale=...) for i in range(41))))
        assert report.scales["worse"] == {
            "native": "0-10",
            "unified": "0-100-continuous",
            "slope": -20,
            "intercept": 100,
            "polarity": "dmos",
        }

    @pytest.mark.parametrize(
        ("field", "value", "told"),
        [
            ("mos_scale", "0-11", "one of 1-5-acr, 0-100-continuous, vmaf, 0-10"),
            ("mos_polarity", "down", "one of mos, dmos, or nothing"),
            ("mos_polarity", 3, "one of mos, dmos, or nothing"),
        ],
    )
    def test_a_scale_that_no_declaration_knows_names_file_and_line(self, field, value, told, shard):
        given = shard("s", row("a", 3.0, "own"), row("b", 3.0, "own", **{field: value}))
        with pytest.raises(AggregateError) as caught:
            unified(given)
        assert caught.value.what == f"{given.path}:2: {field}"
        assert (caught.value.found, caught.value.expected) == (repr(value), told)

    def test_the_name_of_another_corpuss_own_scale_is_unknown(self, shard):
        with pytest.raises(AggregateError, match="mos_scale: '0-10', expected one of"):
            unified(shard("s", row("a", 3.0, "acr", mos_scale="0-10")))

    def test_further_scores_are_unified_with_the_first_and_what_cannot_be_is_counted(self, shard, tmp_path):
        scores = {"technical": "T", "colour": {"column": "C", "scale": MosScale("0-20", 0, 20), "polarity": "dmos"}}
        corpora = {"own": CORPORA["own"].but(scores=scores), "acr": CORPORA["acr"]}
        said = {"mos_colour_scale": "0-20", "mos_colour_polarity": "dmos"}
        given = shard(
            "s",
            row("a", 5.0, "own", mos_technical=7, mos_colour=5, **said),
            row("b", 6.0, "own", mos_technical=11, mos_colour=5, **said | {"mos_colour_scale": "0-30"}),
            row("c", 3.0, "acr", mos_technical=4),
        )
        root = DataRoot(tmp_path)
        settings = UnifiedSettings((given,), root.unified_corpus())
        made = make_unified_corpus(settings, corpora, RunContext(root, {}, Path(__file__), started=0.0))
        found = {one.row["src"]: one.row for one in read_json_lines(made.jsonl)}
        assert (found["a.mp4"]["mos_technical"], found["a.mp4"]["mos_colour"]) == pytest.approx((70, 75))
        assert not {"mos_colour_scale", "mos_colour_polarity"} & found["a.mp4"].keys()
        assert not {"mos_technical", "mos_colour"} & found["b.mp4"].keys()
        assert made.manifest["further_scores_refused"] == {"mos_technical": 1, "mos_colour": 1}
        # a field that its corpus does not declare is no score of it
        assert found["c.mp4"]["mos_technical"] == 4
        table = pq.read_table(made.parquet)
        assert table["mos_native_scale"].to_pylist() == ["1-5-acr", "0-10", "0-10"]

    def test_a_row_keeps_its_other_fields(self, shard):
        given = row("a", 3.0, content_id="c1", split="train")
        found = only(shard("s", given))
        changed = {"mos", "mos_scale", "mos_std_dev"}
        assert {k: v for k, v in found.items() if k in given and k not in changed} == {
            k: v for k, v in given.items() if k not in changed
        }

    def test_chugs_native_score_is_its_raw_one_with_an_sd_to_match(self, shard):
        found = only(shard("s", row("a", 1 + 4 * 62.3 / 100, "chug", mos_raw_0_100=62.3, mos_std_dev=0.4)))
        assert (found["mos_native"], found["mos_native_scale"]) == (62.3, "0-100-continuous")
        assert found["mos"] == 62.3
        assert found["mos_std_dev"] == pytest.approx(10.0)
        assert found["mos_std_dev_unified"] == pytest.approx(10.0)

    def test_the_conversions_that_were_used_are_told(self, shard):
        chug = row("d", 3.0, "chug", mos_raw_0_100=50.0)
        _, report = unified(shard("s", row("a", 3.0), row("b", 50.0, "hundred"), row("c", 90.0, "proxy"), chug))
        told = {name: (s["native"], s["unified"], s["slope"], s["intercept"]) for name, s in report.scales.items()}
        assert told == {
            "acr": ("1-5-acr", "0-100-continuous", 25.0, -25.0),
            "hundred": ("0-100-continuous", "0-100-continuous", 1.0, 0.0),
            "proxy": ("vmaf", "0-100-continuous", 1.0, 0.0),
            "chug": ("0-100-continuous", "0-100-continuous", 1.0, 0.0),
        }


class TestOlderShards:
    """Rows without ``mos_scale``: the whole shard decides."""

    @pytest.mark.parametrize("absent", [..., None])
    def test_a_low_score_follows_the_shard_it_stands_in(self, absent, shard):
        rows = [row(str(i), 20.0 + i, "lsvq", mos_scale=absent) for i in range(60)]
        found, _ = unified(shard("s", row("low", 3.2, "lsvq", mos_scale=absent), *rows))
        assert {r["mos_native_scale"] for r in found} == {"0-100-continuous"}
        assert next(r["mos"] for r in found if r["src"] == "low.mp4") == 3.2

    def test_an_acr_shard_is_found_to_be_one(self, shard):
        found = only(shard("s", row("a", 3.0, "lsvq", mos_scale=...)))
        assert (found["mos"], found["mos_native_scale"]) == (50.0, "1-5-acr")

    def test_rows_that_say_their_scale_count_in_what_the_others_are_on(self, shard):
        declared = [row(str(i), 20.0 + i, "lsvq", mos_scale="0-100-continuous") for i in range(60)]
        found, _ = unified(shard("s", *declared, row("old", 3.0, "lsvq", mos_scale=...)))
        assert {(r["mos"], r["mos_native_scale"]) for r in found if r["src"] == "old.mp4"} == {
            (3.0, "0-100-continuous")
        }

    @pytest.mark.parametrize("rows", [3, 60])
    def test_scores_that_were_mapped_at_ingest_are_on_the_scale_they_were_mapped_to(self, rows, tmp_path):
        raw = [20.0 + i for i in range(rows)]
        given = [clip(f"{i}", 1 + r / 25, "chug", mos_raw_0_100=r, mos_std_dev=0.1) for i, r in enumerate(raw)]
        for one in given:
            one.pop("mos_scale")
        done = unify(tmp_path, given)
        found = [line.row for line in read_json_lines(DataRoot(tmp_path).unified_corpus())]
        assert sorted(r["mos_native"] for r in found) == raw
        assert {r["mos_std_dev_unified"] for r in found} == {2.5}
        assert done.report.losses.raw_scores == 0

    def test_each_corpus_of_a_mixed_shard_is_judged_by_itself(self, shard):
        rows = [row("a", 3.0, mos_scale=...), row("b", 60.0, "hundred", mos_scale=...)]
        found, _ = unified(shard("s", *rows))
        assert [(r["corpus_source"], r["mos"]) for r in found] == [("acr", 50.0), ("hundred", 60.0)]

    def test_a_shard_on_no_declared_scale_aborts_by_its_path_and_line(self, shard):
        given = shard("s", *(row(str(i), 20.0 + i, mos_scale=...) for i in range(60)))
        with pytest.raises(AggregateError) as caught:
            unified(given)
        assert str(caught.value).startswith(f"{given.path}:1: mos 20.0, the first of 60 of 60 rows outside their scale")

    def test_a_scale_that_a_run_states_stands_before_what_rows_say_and_what_they_look_like(self, shard):
        given = shard("s", *(row(str(i), 3.0, "hundred", mos_scale=...) for i in range(25)))
        with pytest.raises(ScaleError, match=f"^{given.path}: hundred: 25 scores .* none is above 30") as caught:
            unified(given)
        # the remedy is a setting of this asset: ingest.toml says nothing to a shard that is there
        assert "set mos_scales of unified_corpus" in caught.value.next_step
        assert "ingest.toml" not in caught.value.next_step
        found, _ = unified(Shard(given.path, scales={"hundred": CONTINUOUS_0_100}))
        assert {r["mos"] for r in found} == {3.0}
        wrong = shard("t", *(row(str(i), 60.0, "hundred", mos_scale="1-5-acr") for i in range(25)))
        with pytest.raises(AggregateError, match="set mos_scales of unified_corpus"):
            unified(wrong)
        found, _ = unified(Shard(wrong.path, scales={"hundred": CONTINUOUS_0_100}))
        assert {(r["mos"], r["mos_native_scale"]) for r in found} == {(60.0, "0-100-continuous")}

    def test_a_few_scores_off_the_only_scale_of_a_corpus_cost_their_rows_only(self, shard):
        rows = [row(str(i), 1.0 + i % 4, mos_scale=...) for i in range(1187)]
        found, report = unified(shard("s", *rows, *(row(f"x{i}", 6.0, mos_scale=...) for i in range(13))))
        assert (len(found), report.dropped_bad_scale) == (1187, 13)

    @pytest.mark.parametrize("scale", ["1-10", "", 5, ["1-5-acr"]])
    def test_a_scale_nobody_knows_aborts_by_file_and_line(self, scale, shard):
        given = shard("s", row("a", 3.0), row("b", 3.0, mos_scale=scale))
        with pytest.raises(AggregateError) as caught:
            unified(given)
        assert str(caught.value).startswith(f"{given.path}:2: mos_scale: {scale!r}, expected one of 1-5-acr, ")
        assert "set mos_scales of unified_corpus" in caught.value.next_step
        found, _ = unified(Shard(given.path, scales={"acr": ACR_1_5}))
        assert [r["mos"] for r in found] == [50.0, 50.0]


class TestDuplicates:
    """Each clip once."""

    @pytest.mark.parametrize(
        ("case", "acr_sd", "hundred_sd", "winner"),
        [
            ("0.8 on 1–5 is 20 on 0–100, more than 12", 0.8, 12.0, "hundred"),
            ("0.8 on 1–5 is 20 on 0–100, less than 21", 0.8, 21.0, "acr"),
            ("unknown loses to known", 0.0, 30.0, "hundred"),
            ("known wins over unknown", 1.5, 0.0, "acr"),
            ("missing is unknown", ..., 30.0, "hundred"),
            ("null is unknown", None, 30.0, "hundred"),
            ("negative is unknown", -0.1, 30.0, "hundred"),
            ("both unknown: the first input", 0.0, 0.0, "acr"),
            ("a tie on 0–100: the first input", 0.8, 20.0, "acr"),
        ],
    )
    def test_across_corpora_the_smallest_known_sd_on_0_to_100_wins(self, case, acr_sd, hundred_sd, winner, shard):
        acr = shard("acr", row("a", 3.0, mos_std_dev=acr_sd))
        hundred = shard("hundred", row("a", 60.0, "hundred", mos_std_dev=hundred_sd))
        rows, report = unified(acr, hundred)
        assert [r["corpus_source"] for r in rows] == [winner], case
        assert report.cross_corpus_dedups == 1
        assert report.same_corpus_dedups == 0

    def test_nan_is_an_unknown_sd_and_is_written_as_one(self, shard):
        nan = shard("acr", json.dumps(row("a", 3.0, mos_std_dev=math.nan)).encode() + b"\n")
        known = shard("hundred", row("a", 60.0, "hundred", mos_std_dev=30.0))
        assert only(nan, known)["corpus_source"] == "hundred"
        assert only(nan)["mos_std_dev"] == 0.0

    def test_a_tie_goes_to_the_first_of_the_inputs_in_whatever_order_they_are_given(self, shard):
        acr = shard("acr", row("a", 3.0, mos_std_dev=0.8))
        hundred = shard("hundred", row("a", 60.0, "hundred", mos_std_dev=20.0))
        assert only(acr, hundred)["corpus_source"] == "acr"
        assert only(hundred, acr)["corpus_source"] == "hundred"

    def test_of_three_the_best_stays_and_two_are_counted(self, shard):
        shards = [
            shard("acr", row("a", 3.0, mos_std_dev=0.8)),
            shard("hundred", row("a", 60.0, "hundred", mos_std_dev=10.0)),
            shard("proxy", row("a", 70.0, "proxy")),
        ]
        rows, report = unified(*shards)
        assert [r["corpus_source"] for r in rows] == ["hundred"]
        assert report.cross_corpus_dedups == 2

    def test_within_a_corpus_the_first_row_of_the_first_file_wins_whatever_its_sd(self, shard):
        first = shard("one", row("a", 3.0, mos_std_dev=1.5), row("a", 4.0, mos_std_dev=0.1))
        second = shard("two", row("a", 2.0, mos_std_dev=0.01))
        rows, report = unified(first, second)
        assert [r["mos_native"] for r in rows] == [3.0]
        assert (report.same_corpus_dedups, report.cross_corpus_dedups) == (2, 0)

    def test_a_later_row_of_a_corpus_cannot_win_a_clip_back(self, shard):
        acr = shard("acr", row("a", 3.0, mos_std_dev=0.8), row("a", 4.0, mos_std_dev=0.01))
        hundred = shard("hundred", row("a", 60.0, "hundred", mos_std_dev=10.0))
        rows, report = unified(acr, hundred)
        assert [r["corpus_source"] for r in rows] == ["hundred"]
        assert (report.same_corpus_dedups, report.cross_corpus_dedups) == (1, 1)

    def test_an_override_makes_a_shard_another_corpus(self, shard):
        given = shard("s", row("a", 3.0, "foo"), corpus="acr")
        found = only(given)
        assert (found["corpus"], found["corpus_source"]) == ("foo", "acr")


class TestOrder:
    """The result is that of the inputs' order, not of the rows'."""

    def test_rows_are_sorted_by_corpus_hash_and_name(self, shard):
        rows = [row(str(i), 3.0) for i in range(20)] + [row(f"h{i}", 50.0, "hundred") for i in range(20)]
        random.Random(1).shuffle(rows)
        found, _ = unified(shard("s", *rows))
        keys = [(r["corpus_source"], r["src_sha256"], r["src"]) for r in found]
        assert keys == sorted(keys)

    @pytest.mark.parametrize("seed", range(5))
    def test_the_order_of_rows_in_a_shard_of_distinct_clips_changes_nothing(self, seed, shard):
        acr = [row(str(i), 1 + i / 10, mos_std_dev=i / 20) for i in range(30)]
        hundred = [row(str(i), 2.0 * i, "hundred", mos_std_dev=15 - i / 3) for i in range(10, 40)]
        expected, _ = unified(shard("a", *acr), shard("h", *hundred))
        random.Random(seed).shuffle(acr)
        random.Random(seed + 1).shuffle(hundred)
        assert unified(shard("a", *acr), shard("h", *hundred))[0] == expected

    @pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
    def test_distinct_spreads_give_one_result_in_every_order_of_inputs(self, order, shard):
        shards = [
            shard("acr", row("a", 3.0, mos_std_dev=0.7), row("b", 2.0)),
            shard("hundred", row("a", 60.0, "hundred", mos_std_dev=10.0), row("c", 70.0, "hundred")),
            shard("lsvq", row("a", 3.3, "lsvq", mos_std_dev=0.5), row("d", 2.5, "lsvq")),
        ]
        assert unified(*(shards[i] for i in order))[0] == unified(*shards)[0]


class TestDropped:
    """Bad rows are dropped with file and line, and counted."""

    @pytest.mark.parametrize(
        ("name", "mos", "interval"),
        [
            ("acr", 5.06, "[1, 5]"),
            ("acr", 0.94, "[1, 5]"),
            ("hundred", 100.06, "[0, 100]"),
            ("acr", math.nan, "[1, 5]"),
            ("acr", math.inf, "[1, 5]"),
        ],
    )
    def test_a_score_outside_its_scale_is_dropped_with_the_contracts_words(self, name, mos, interval, shard, caplog):
        given = shard("s", row("good", 3.0), row("bad", mos, name))
        rows, report = unified(given)
        assert [r["src"] for r in rows] == ["good.mp4"]
        assert report.dropped_bad_scale == 1
        record = next(r for r in caplog.records if "dropped" in r.message)
        assert record.levelno == logging.WARNING
        assert record.message == (f"{given.path}:2: mos {mos} is outside the published {interval} range; row dropped")

    @pytest.mark.parametrize(("mos", "shown"), [(None, "null"), ("3.5", "'3.5'"), ("n/a", "'n/a'"), ("", "''")])
    def test_a_score_that_is_null_or_a_text_costs_its_row_alone(self, mos, shown, shard, caplog):
        given = shard("s", row("good", 3.0), row("bad", mos))
        rows, report = unified(given)
        assert [r["src"] for r in rows] == ["good.mp4"]
        assert report.dropped_bad_scale == 1
        assert f"{given.path}:2: mos {shown} is no number; row dropped" in caplog.text
        assert report.losses.dropped_rows()[0]["found"] == f"mos {shown} is no number"

    def test_a_shard_without_a_scale_is_judged_by_the_scores_that_are_numbers(self, shard):
        given = [row("x", None, mos_scale=...), *(row(f"{i}", 3.0, mos_scale=...) for i in range(5))]
        assert {r["mos_native"] for r in unified(shard("s", *given))[0]} == {3.0}

    def test_twenty_scores_that_are_null_are_no_way_to_lose_a_corpus(self, shard):
        given = shard("s", row("good", 3.0), *(row(f"bad{i}", None) for i in range(20)))
        with pytest.raises(AggregateError) as caught:
            unified(given)
        assert str(caught.value).startswith(f"{given.path}:2: mos null, the first of 20 of 21 rows outside their scale")

    @pytest.mark.parametrize("mos", [0.95, 5.05])
    def test_a_score_within_the_slack_stays(self, mos, shard):
        assert only(shard("s", row("a", mos)))["mos_native"] == mos

    def test_an_unknown_corpus_is_dropped_with_the_setting_that_names_the_right_one(self, shard, caplog):
        given = shard("s", row("good", 3.0), row("bad", 3.0, "foo"))
        rows, report = unified(given)
        assert [r["src"] for r in rows] == ["good.mp4"]
        assert report.dropped_unknown_corpus == 1
        assert f"{given.path}:2: unknown corpus label 'foo'; row dropped (corpus_source_overrides" in caplog.text

    @pytest.mark.parametrize(
        ("corpus", "source", "taken"),
        [
            ("foo", "acr", "acr"),
            ("hundred", "acr", "hundred"),
            ("foo", "bar", None),
            ("foo", 7, None),
            ("foo", None, None),
        ],
    )
    def test_a_known_corpus_source_stands_for_an_unknown_corpus_and_for_no_other(self, corpus, source, taken, shard):
        given = shard("s", row("good", 3.0), row("other", 3.0, corpus, mos_scale="1-5-acr", corpus_source=source))
        rows, report = unified(given)
        assert {r["src"]: r["corpus_source"] for r in rows}.get("other.mp4") == taken
        assert report.dropped_unknown_corpus == (taken is None)
        told = [{"path": given.path, "corpus": "foo", "corpus_source": "acr", "rows": 1}] if taken == "acr" else []
        assert report.corpus_source_rows == told

    def test_an_override_of_the_file_beats_the_corpus_source_of_its_rows(self, shard):
        given = shard("s", row("a", 3.0, "foo", mos_scale="1-5-acr", corpus_source="hundred"))
        assert only(Shard(given.path, "acr"))["corpus_source"] == "acr"

    def test_a_dropped_row_takes_no_clip_from_another(self, shard):
        bad = shard("acr", row("a", 9.0, mos_std_dev=0.01))
        good = shard("hundred", row("a", 60.0, "hundred", mos_std_dev=30.0))
        assert only(bad, good)["corpus_source"] == "hundred"

    @pytest.mark.parametrize(
        ("outside", "rows", "aborts"),
        [(19, 20, False), (20, 20, True), (20, 1_999, True), (20, 2_000, False), (21, 2_000, True)],
    )
    def test_more_than_one_percent_and_at_least_twenty_are_the_scales_fault(self, outside, rows, aborts, shard):
        bad = [row(f"bad{i}", 60.0) for i in range(outside)]
        given = shard("s", *bad, *(row(f"good{i}", 3.0) for i in range(rows - outside)))
        if not aborts:
            assert unified(given)[1].dropped_bad_scale == outside
            return
        with pytest.raises(AggregateError) as caught:
            unified(given)
        assert str(caught.value).startswith(
            f"{given.path}:1: mos 60.0, the first of {outside} of {rows} rows outside their scale, expected "
        )
        assert "mos_scale" in caught.value.next_step

    def test_the_rows_outside_are_counted_by_shard_and_not_together(self, shard):
        shards = [shard(name, *(row(f"{name}{i}", 60.0) for i in range(15))) for name in ("a", "b", "c")]
        assert unified(*shards, shard("d", row("good", 3.0)))[1].dropped_bad_scale == 45

    def test_dropping_every_row_is_an_error_and_no_empty_corpus(self, shard):
        with pytest.raises(AggregateError, match="no row is left: 2 rows in, 0 of an unknown corpus, 2 outside"):
            unified(shard("a", row("x", 60.0), row("y", 70.0)))


class TestAborts:
    """What is no corpus JSONL."""

    def aborted(self, *shards):
        with pytest.raises(AggregateError) as caught:
            unified(*shards)
        assert caught.value.next_step
        return str(caught.value)

    def test_no_shard_at_all_says_where_was_looked(self, tmp_path):
        told = self.aborted(Shard(tmp_path / "a.jsonl"), Shard(tmp_path / "b.jsonl"))
        assert told.startswith(f"no input JSONL files exist: looked at {tmp_path / 'a.jsonl'}, {tmp_path / 'b.jsonl'},")

    def test_no_input_at_all_is_told_too(self):
        assert self.aborted().startswith("no input JSONL files exist: looked at nothing")

    @pytest.mark.parametrize("missing", [["src"], ["src_sha256"], ["mos"], ["corpus"], ["src_sha256", "corpus"]])
    @pytest.mark.parametrize("null", [True, False])
    def test_missing_keys_are_named_with_file_and_line(self, missing, null, shard):
        last = {k: None if k in missing else v for k, v in row("x", 3.0).items() if null or k not in missing}
        if "mos" in missing:  # a null score costs its row alone
            last.pop("mos", None)
        given = shard("lsvq", *(row(str(i), 3.0) for i in range(16)), last)
        assert self.aborted(given) == (
            f"{given.path}:17: missing required keys: {missing}; re-run the adapter (corpus_jsonl)"
        )

    @pytest.mark.parametrize(
        ("key", "value", "expected"),
        [
            ("mos", True, "a number"),
            ("mos", [3.5], "a number"),
            ("mos_std_dev", "0.5", "a number"),
            ("mos_raw_0_100", "50", "a number"),
            ("src", 17, "a text"),
            ("src_sha256", 17, "a text"),
            ("corpus", ["acr"], "a text"),
        ],
    )
    def test_a_value_of_another_kind_is_named_with_file_and_line(self, key, value, expected, shard):
        given = shard("s", row("a", 3.0), row("b", 3.0) | {key: value})
        assert self.aborted(given).startswith(f"{given.path}:2: {key}: {value!r}, expected {expected}; re-run ")

    @pytest.mark.parametrize(
        ("line", "found"),
        [
            (b'{"src": "a', "not JSON ("),
            (b"[1, 2]\n", "a JSON list"),
            (b"version https://git-lfs.github.com/spec/v1\n", "a Git-LFS pointer"),
        ],
    )
    def test_a_line_that_is_no_object_is_named_with_file_and_line(self, line, found, shard):
        given = shard("s", row("a", 3.0), line)
        assert self.aborted(given).startswith(f"{given.path}:2: {found}")

    def test_an_encode_grid_row_is_sent_to_its_asset(self, shard):
        grid = {"vmaf_score": 90.0, "encoder": "libx264", "preset": "fast", "crf": 35}
        told = self.aborted(shard("s", row("a", 3.0) | grid))
        assert ":1: an encode-grid row, expected a row with opinions; it belongs to fr_training_corpus" in told

    def test_a_unified_row_is_sent_back_to_its_sources(self, shard):
        rows, _ = unified(shard("s", row("a", 3.0)))
        told = self.aborted(shard("again", *rows))
        assert ":1: a unified row, expected a row of one corpus; give the corpus_jsonl files instead" in told


class TestCounters:
    """Every row is accounted for."""

    def test_rows_in_are_rows_out_and_every_loss(self, shard, tmp_path):
        acr = shard("acr", row("a", 3.0), row("a", 3.0), row("b", 9.0), row("c", 3.0, "foo"), row("d", 2.0))
        hundred = shard("hundred", row("a", 60.0, "hundred", mos_std_dev=1.0), row("e", 10.0, "hundred"))
        _, report = unified(acr, hundred, Shard(tmp_path / "absent.jsonl"))
        assert report.counters() == {
            "inputs_seen": 2,
            "inputs_missing": 1,
            "rows_in": 7,
            "rows_out": 3,
            "cross_corpus_dedups": 1,
            "same_corpus_dedups": 1,
            "dropped_unknown_corpus": 1,
            "dropped_bad_scale": 1,
        }
        assert report.rows_per_corpus == {"acr": 1, "hundred": 2}

    def test_a_row_that_vanished_is_an_error_with_both_sums(self):
        AggregateReport(rows_in=10, rows_out=7, same_corpus_dedups=2, dropped_bad_scale=1).reconcile()
        with pytest.raises(AggregateError, match=r"10 rows in, expected 7 out \+ 2 dropped or duplicate; the earlier"):
            AggregateReport(rows_in=10, rows_out=7, same_corpus_dedups=2).reconcile()

    def test_absent_shards_are_one_line_of_corpora_or_paths_and_no_warning(self, shard, tmp_path, caplog):
        caplog.set_level(logging.INFO, logger="vqa_assets")
        gone, lost = tmp_path / "gone.jsonl", tmp_path / "live-vqc" / "live_vqc.jsonl"
        unified(shard("acr", row("a", 3.0)), Shard(gone), Shard(lost))
        told = [(r.levelno, r.message) for r in caplog.records if "absent" in r.message or r.levelno > logging.INFO]
        where = "(vqa-assets status --all says what each needs)"
        assert told == [(logging.INFO, f"unified_corpus: absent: {gone}, live-vqc {where}")]
        caplog.clear()
        unified(shard("acr", row("a", 3.0)), *(Shard(tmp_path / f"gone-{n}.jsonl") for n in range(17)))
        assert f"unified_corpus: absent: 17 corpora {where}" in [r.message for r in caplog.records]


class TestPublishing:
    """The files that stand in the end."""

    @pytest.fixture
    def context(self, root_path):
        return RunContext(DataRoot(root_path), {}, Path(__file__), started=0.0)

    @pytest.fixture
    def make(self, context):
        def made(*shards):
            output = context.root.unified_corpus()
            return make_unified_corpus(UnifiedSettings(shards, output), CORPORA, context)

        return made

    @pytest.fixture
    def shards(self, shard):
        extra = {"chug_ref": 1, "split": "train"}
        return (
            shard("acr", row("a", 3.0, mos_std_dev=0.5), row("b", 2.0, note=["x", 1])),
            shard("hundred", row("a", 60.0, "hundred"), row("c", 70.5, "hundred", **extra), row("d", 1.0, "hundred")),
        )

    def contents(self, root_path):
        folder = root_path / "aggregated"
        return {p.name: (p.read_bytes(), p.stat().st_mtime_ns, p.stat().st_ino) for p in folder.iterdir()}

    def test_the_two_files_hold_the_same_rows_and_the_manifest_tells_of_them(self, make, shards, root_path):
        done = make(*shards)
        assert sorted(p.name for p in done.jsonl.parent.iterdir()) == [
            ".unified_corpus.jsonl.published.json",
            "related_clips.json",
            "unified_corpus.croissant.json",
            "unified_corpus.jsonl",
            "unified_corpus.manifest.json",
            "unified_corpus.parquet",
        ]
        lines = [line.row for line in read_json_lines(done.jsonl)]
        table = pq.read_table(done.parquet).to_pylist()
        assert len(lines) == len(table) == 4
        for line, found in zip(lines, table, strict=True):
            expected = dict.fromkeys(found) | line
            expected["note"] = None if expected["note"] is None else json.dumps(expected["note"])
            assert found == expected

    def test_a_table_made_in_many_pieces_of_rows_longer_than_a_block_is_the_same(self, make, shards, monkeypatch):
        whole = make(*shards)
        rows = pq.read_table(whole.parquet)
        whole.parquet.unlink()
        monkeypatch.setattr("vqa_assets.unified.table._PIECE_BYTES", 700)
        monkeypatch.setattr("vqa_assets.unified.table._BLOCK_BYTES", 100)
        again = make(*shards)
        assert pq.ParquetFile(again.parquet).num_row_groups > 1
        stamp = ["aggregated_at_utc"]
        assert pq.read_table(again.parquet).drop(stamp).equals(rows.drop(stamp))
        assert again.data_version == whole.data_version

    def test_lines_have_sorted_keys_and_a_newline(self, make, shards):
        raw = make(*shards).jsonl.read_bytes()
        assert raw == b"".join(json_line(json.loads(line)) for line in raw.splitlines())

    def test_the_manifest_holds_hashes_conversions_overrides_and_counters(self, make, shard, tmp_path, root_path):
        inside = root_path / "acr" / "acr.jsonl"
        inside.parent.mkdir()
        inside.write_bytes(json_line(row("a", 3.0, "foo")))
        done = make(Shard(inside, "acr"), Shard(root_path / "gone.jsonl"))
        shown = done.manifest
        assert shown["schema"] == "unified-corpus-manifest-v1"
        assert shown["counters"] == done.report.counters()
        assert shown["absent"] == ["gone.jsonl"]
        assert shown["corpus_source_overrides"] == {"acr/acr.jsonl": "acr"}
        assert shown["scale_conversions"]["acr"]["slope"] == 25.0
        assert shown["rows_per_corpus"] == {"acr": 1}
        run = shown["run_provenance"]
        assert len(run["inputs"]["acr/acr.jsonl"]["sha256"]) == 64
        assert run["inputs"]["gone.jsonl"]["exists"] is False
        assert run["outputs"]["unified_corpus"]["path"] == "aggregated/unified_corpus.jsonl"
        assert run["args"]["inputs"] == {"value": ["acr/acr.jsonl", "gone.jsonl"], "from": "run config"}
        assert run["args"]["corpus_source_overrides"]["value"] == {"acr/acr.jsonl": "acr"}
        assert run["args"]["manifest_out"] == {"value": "aggregated/unified_corpus.manifest.json", "from": "default"}
        assert json.loads((root_path / "aggregated/unified_corpus.manifest.json").read_text()) == shown

    def test_the_counters_are_logged_in_one_line(self, make, shards, caplog):
        with caplog.at_level(logging.INFO):
            make(*shards)
        line = next(r.message for r in caplog.records if r.message.startswith("[unified-corpus] "))
        assert "rows_in 5, rows_out 4, cross_corpus_dedups 1, same_corpus_dedups 0" in line

    def test_unchanged_inputs_leave_the_files_untouched(self, make, shards, root_path, monkeypatch):
        first = make(*shards)
        before = self.contents(root_path)
        monkeypatch.setattr(module, "utc_text", lambda: "2030-01-01T00:00:00+00:00")
        again = make(*shards)
        after = self.contents(root_path)
        assert again.data_version == first.data_version
        unchanged = sorted(set(before) - {"unified_corpus.manifest.json", ".unified_corpus.jsonl.published.json"})
        assert len(unchanged) == 4
        for name in unchanged:
            assert after[name] == before[name]

    @pytest.mark.parametrize("damage", [b"", b"PAR1 cut short", b"version https://git-lfs.github.com/spec/v1"])
    def test_a_damaged_parquet_file_is_written_again_beside_a_jsonl_that_stands(self, damage, make, shards):
        done = make(*shards)
        before = done.jsonl.stat().st_ino
        done.parquet.write_bytes(damage)
        make(*shards)
        assert pq.read_table(done.parquet).num_rows == 4
        assert done.jsonl.stat().st_ino != before

    def test_a_page_that_rots_behind_a_whole_footer_is_told_and_written_again(self, make, shards, caplog):
        done = make(*shards)
        held = bytearray(done.parquet.read_bytes())
        held[4] ^= 0xFF  # the header of the first page, just behind the magic number
        done.parquet.write_bytes(held)
        with pytest.raises(OSError, match="deserialize"):
            pq.read_table(done.parquet)
        make(*shards)
        assert pq.read_table(done.parquet).num_rows == 4
        assert f"{done.parquet} is not what was published (damaged, or edited since) and is made again" in caplog.text

    @pytest.mark.parametrize("name", ["unified_corpus.croissant.json", "related_clips.json"])
    def test_a_sidecar_that_lost_its_last_byte_is_told_and_written_again(self, name, make, shards, root_path, caplog):
        make(*shards)
        path = root_path / "aggregated" / name
        held = path.read_bytes()
        path.write_bytes(held[:-1])  # the same document still
        make(*shards)
        assert path.read_bytes() == held
        assert f"{path} is not what was published" in caplog.text

    def test_equal_inputs_give_equal_bytes_but_for_the_time_stamp(self, make, shards, root_path, monkeypatch):
        make(*shards)
        before = self.contents(root_path)["unified_corpus.jsonl"][0]
        (root_path / "aggregated" / "unified_corpus.parquet").unlink()
        later = "2030-01-01T00:00:00+00:00"
        monkeypatch.setattr(module, "utc_text", lambda: later)
        make(*shards)
        after = self.contents(root_path)["unified_corpus.jsonl"][0]
        stamp = json.loads(before.splitlines()[0])["aggregated_at_utc"]
        assert after != before
        assert after.replace(later.encode(), stamp.encode()) == before

    def test_a_change_in_one_label_changes_files_and_data_version(self, make, shard, shards, root_path):
        first = make(*shards)
        changed = make(shard("acr", row("a", 3.1, mos_std_dev=0.5), row("b", 2.0, note=["x", 1])), shards[1])
        assert changed.data_version != first.data_version
        assert b'"mos_native":3.1' in self.contents(root_path)["unified_corpus.jsonl"][0]

    @pytest.mark.parametrize("torn", [b'{"src": "a', b"", b"[]\n"])
    def test_a_torn_earlier_output_is_made_again(self, torn, make, shards, root_path):
        first = make(*shards)
        first.jsonl.write_bytes(torn)
        make(*shards)
        assert len(list(read_json_lines(first.jsonl))) == 4

    @pytest.mark.parametrize(
        "bad",
        [
            [b'{"src": "a'],
            [row("a", 3.0, src_sha256=...)],
            [row(f"x{i}", 60.0) for i in range(20)],
            [row("a", 3.0, width=0)],
        ],
        ids=["torn", "missing keys", "wrong scale", "schema"],
    )
    def test_an_error_leaves_the_earlier_output_whole(self, bad, make, shards, shard, root_path):
        make(*shards)
        before = self.contents(root_path)
        with pytest.raises(VqaError) as caught:
            make(shard("acr", *bad), shards[1])
        assert isinstance(caught.value, (AggregateError, SchemaError))
        assert self.contents(root_path) == before

    def test_a_crash_while_publishing_is_repaired_by_the_next_run(self, make, shard, shards, root_path, monkeypatch):
        make(*shards)
        before = self.contents(root_path)
        changed = (shard("acr", row("a", 3.1, mos_std_dev=0.5), row("b", 2.0)), shards[1])

        def killed(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(module, "write_block", killed)
        with pytest.raises(KeyboardInterrupt):
            make(*changed)
        assert self.contents(root_path) == before
        monkeypatch.undo()
        assert make(*changed).report.rows_out == 4

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"width": 0}, "width: 1 break"),
            ({"src_sha256": "A" * 64}, "src_sha256: 1 break"),
            ({"width": "wide"}, "width"),
        ],
    )
    def test_a_row_that_breaks_the_column_specs_is_named_with_its_shard_and_line(
        self, changes, told, make, shard, shards
    ):
        good = [row(f"{i}", 3.0) for i in range(8)]
        given = shard("acr", *good[:5], b"\n", row("bad", 3.0, **changes), *good[5:])
        with pytest.raises(SchemaError) as caught:
            make(given, shards[1])
        assert str(caught.value).startswith(f"{given.path}:7: {told}")
        assert "in rows [7]" in str(caught.value)

    def test_related_clips_of_another_output_do_not_replace_those_of_this_one(self, shards, context, tmp_path):
        for name in ("unified_corpus", "half"):
            make_unified_corpus(UnifiedSettings(shards, tmp_path / f"{name}.jsonl"), CORPORA, context)
        assert sorted(p.name for p in tmp_path.glob("*related*")) == ["half.related_clips.json", "related_clips.json"]

    def test_output_and_manifest_may_go_elsewhere(self, shards, context, tmp_path):
        settings = UnifiedSettings(shards, tmp_path / "o" / "all.jsonl", tmp_path / "m.json")
        done = make_unified_corpus(settings, CORPORA, context)
        assert done.parquet == tmp_path / "o" / "all.parquet"
        assert (tmp_path / "m.json").is_file()
        assert sorted(p.name for p in (tmp_path / "o").iterdir()) == [
            ".all.jsonl.published.json",
            "all.croissant.json",
            "all.jsonl",
            "all.parquet",
            "all.related_clips.json",
        ]


@pytest.mark.parametrize(
    "lacking",
    ["n_ratings", "src_size_bytes", "framerate", "pix_fmt", "corpus_version", "ingested_at_utc", "mos_std_dev"],
)
def test_a_row_from_elsewhere_may_lack_what_no_one_needs(lacking, tmp_path):
    given = clip("a", 3.0, "konvid-150k")
    given.pop(lacking)
    unify(tmp_path, [given, clip("b", 4.0, "konvid-150k")])
    found = [line.row for line in read_json_lines(DataRoot(tmp_path).unified_corpus())]
    assert [r["mos"] for r in found] == [50.0, 75.0]
    assert pq.read_table(DataRoot(tmp_path).unified_corpus().with_suffix(".parquet")).num_rows == 2
