"""Features joined with scores: nothing of the features moves, and nothing is joined that does not belong."""

import datetime
import json
import logging
import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vqa_assets.corpora.corpus import GENERAL_SPELLINGS
from vqa_assets.errors import SchemaError, TableError, VqaError
from vqa_assets.labels.labelled import make_labelled_table
from vqa_assets.labels.settings import LabelPaths, LabelSettings
from vqa_assets.provenance import RunContext
from vqa_assets.tables.parquet import table_version
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.label_tables import ADDED, Bench, label

SOME = ("a.mp4", "b.mp4")


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


@pytest.fixture
def labelled(bench):
    """Every feature row has a label."""
    bench.labels(label("a.mp4", 2.0), label("b.mp4", 3.0), label("c.mp4", 4.0))
    return bench


class TestJoin:
    """What a labelled row holds."""

    def test_a_row_gets_its_score_on_both_scales_and_where_it_came_from(self, labelled):
        rows = labelled.joined()
        assert [(r["key"], r["mos"], r["mos_raw_0_100"]) for r in rows] == [
            ("a.mp4", 2.0, 25.0),
            ("b.mp4", 3.0, 50.0),
            ("c.mp4", 4.0, 75.0),
        ]
        assert {(r["mos_label_status"], r["mos_label_source"]) for r in rows} == {("ok", "konvid_150k.jsonl")}
        assert {(r["mos_std_dev"], r["mos_n_ratings"]) for r in rows} == {(0.5, 5)}

    @pytest.mark.parametrize(
        ("scale", "published", "joined"),
        [
            ("1-5-acr", (3.2, 0.8), (3.2, 55.0, 0.8)),
            ("0-100-continuous", (55.0, 20.0), (3.2, 55.0, 0.8)),
            ("0-100-continuous", (3.2, 20.0), (1.128, 3.2, 0.8)),
            ("1-5-acr", (5.05, 0.0), (5.05, 101.25, 0.0)),
            ("0-100-continuous", (-0.05, 0.0), (0.998, -0.05, 0.0)),
        ],
    )
    def test_a_score_is_mapped_from_its_own_scale_and_its_sd_by_the_slope(self, scale, published, joined, bench):
        bench.features(key=["a.mp4"])
        bench.labels(label("a.mp4", published[0], mos_scale=scale, mos_std_dev=published[1]))
        row = bench.joined()[0]
        assert (row["mos"], row["mos_raw_0_100"], row["mos_std_dev"]) == pytest.approx(joined)

    def test_a_row_without_label_says_so_and_has_no_score(self, labelled):
        labelled.features(key=["a.mp4", "zz.mp4"])
        row = labelled.joined(min_match_rate=0.5)[1]
        assert row["mos_label_status"] == "missing-label"
        assert all(row[name] is None for name in ADDED if name != "mos_label_status")

    def test_unpublished_spread_and_count_are_zero(self, bench):
        bench.features(key=["a.mp4", "b.mp4"])
        bench.labels(label("a.mp4", 3, mos_std_dev=..., n_ratings=...), label("b.mp4", 3, mos_std_dev=None))
        assert [(r["mos_std_dev"], r["mos_n_ratings"]) for r in bench.joined()] == [(0.0, 0), (0.0, 5)]

    def test_identity_comes_along_where_the_labels_have_it_and_the_features_have_not(self, bench):
        bench.features(key=["a.mp4", "b.mp4"], corpus=["k", "k"])
        bench.labels(
            label("a.mp4", 3, corpus="k", content_id="c1", split="train", src_sha256="aa", width=9),
            label("b.mp4", 3, corpus="k", content_id="c2", split="test", src_sha256="bb", width=9),
        )
        rows = bench.joined()
        assert list(rows[0]) == ["key", "corpus", *ADDED[:-1], "src_sha256", "content_id", "split", "mos_label_status"]
        assert [(r["content_id"], r["split"], r["src_sha256"]) for r in rows] == [
            ("c1", "train", "aa"),
            ("c2", "test", "bb"),
        ]

    def test_the_labels_hash_does_not_replace_the_features_own(self, bench):
        bench.features(key=["a.mp4"], src_sha256=["mine"])
        bench.labels(label("a.mp4", 3, src_sha256="theirs"))
        assert bench.joined()[0]["src_sha256"] == "mine"

    def test_several_label_files_are_one_body_of_labels(self, bench):
        bench.labels(label("a.mp4", 2.0), name="one.jsonl")
        continuous = {"mos_scale": "0-100-continuous"}
        bench.labels(label("b.mp4", 60, **continuous), label("c.mp4", 3, **continuous), name="two.jsonl")
        audit = bench.join()
        assert audit.label_sources == {"one.jsonl": 1, "two.jsonl": 2}
        found = [r["mos"] for r in pq.read_table(bench.out).to_pylist()]
        assert found == [2.0, pytest.approx(3.4), pytest.approx(1.12)]

    def test_keys_are_the_columns_that_the_settings_name(self, bench):
        bench.features(clip=["1", "2"], key=["x", "y"])
        bench.labels(label("s", 2, vid="1"), label("t", 3, vid="2"))
        rows = bench.joined(feature_key_column="clip", label_key_column="vid")
        assert [r["mos"] for r in rows] == [2.0, 3.0]

    @pytest.mark.parametrize(
        "keys",
        [
            pa.array([101, 202], pa.int32()),
            pa.array(["101", "202"]).dictionary_encode(),
            pa.array(["101", "202"], pa.large_string()),
        ],
        ids=["integers", "categories", "large texts"],
    )
    @pytest.mark.parametrize("as_number", [True, False])
    def test_keys_are_compared_as_texts_and_keep_their_type(self, keys, as_number, bench):
        bench.features(key=keys)
        bench.labels(*(label(int(k) if as_number else k, 3) for k in ("101", "202")))
        rows = bench.joined()
        assert [r["mos_label_status"] for r in rows] == ["ok", "ok"]
        assert [r["key"] for r in rows] == keys.to_pylist()

    def test_the_status_column_may_have_another_name(self, labelled):
        rows = labelled.joined(status_column="label_state")
        assert [r["label_state"] for r in rows] == ["ok"] * 3
        assert "mos_label_status" not in rows[0]


class TestFeaturesStay:
    """Rows, their order, and every other column of the feature table."""

    COUNT = 20_000

    def table(self):
        n = self.COUNT
        keys = [f"{i * 7919 % 500}.mp4" for i in range(n)]
        stamp = datetime.datetime(2026, 5, 8, 12, tzinfo=datetime.UTC)
        return pa.table(
            {
                "row": list(range(n)),
                "key": keys,
                "category": pa.array([None if i % 11 == 0 else f"c{i % 5}" for i in range(n)]).dictionary_encode(),
                "when": pa.array([stamp + datetime.timedelta(seconds=i) for i in range(n)]),
                "nanoseconds": pa.array(range(n), pa.timestamp("ns")),
                "naive": pa.array(range(n), pa.timestamp("us")),
                "shots": [None if i % 13 == 0 else [i, i + 1][: i % 3] for i in range(n)],
                "vector": [[i / 3, math.inf] for i in range(n)],
                "small": pa.array([None if i % 17 == 0 else i % 100 for i in range(n)], pa.int8()),
                "huge": pa.array([2**63 + i for i in range(n)], pa.uint64()),
                "half": pa.array([i / 7 for i in range(n)], pa.float32()),
                "missing": [None if i % 3 == 0 else math.nan if i % 3 == 1 else 0.5 for i in range(n)],
                "flag": [i % 2 == 0 for i in range(n)],
                "day": [datetime.date(2026, 1, 1 + i % 28) for i in range(n)],
                "bytes": [b"\x00\xff"] * n,
                "nested": [{"a": i, "b": None} for i in range(n)],
                "nothing": pa.nulls(n),
            }
        )

    @pytest.fixture
    def big(self, bench):
        bench.features(self.table())
        bench.labels(*(label(f"{i}.mp4", 1 + i % 5) for i in range(490)))
        return bench

    def test_a_table_per_frame_keeps_its_rows_and_their_order(self, big):
        audit = big.join()
        found = pq.read_table(big.out)
        assert found.num_rows == self.COUNT
        assert found.column("row").to_pylist() == list(range(self.COUNT))
        assert (audit.input_rows, audit.output_rows, audit.total_feature_keys) == (self.COUNT, self.COUNT, 500)
        for row in found.select(["key", "mos"]).slice(0, 1_000).to_pylist():
            number = int(row["key"].removesuffix(".mp4"))
            assert row["mos"] == (1 + number % 5 if number < 490 else None)

    def test_every_other_column_keeps_its_values_and_its_place(self, big):
        big.join()
        found = pq.read_table(big.out)
        assert found.column_names == [*big.table.column_names, *ADDED]
        for name in big.table.column_names:
            assert repr(found.column(name).to_pylist()) == repr(big.table.column(name).to_pylist()), name

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("row", "int64"),
            ("category", "dictionary"),
            ("when", "timestamp[us, tz=UTC]"),
            ("nanoseconds", "timestamp[ns]"),
            ("naive", "timestamp[us]"),
            ("shots", "list<element: int64>"),
            ("small", "int8"),
            ("huge", "uint64"),
            ("half", "float"),
            ("flag", "bool"),
            ("day", "date32[day]"),
            ("nested", "struct<a: int64, b: null>"),
        ],
    )
    def test_every_other_column_keeps_its_type(self, name, kind, big):
        big.join()
        assert kind in str(pq.read_schema(big.out).field(name).type)

    def test_the_labelled_table_without_its_labels_is_the_feature_table(self, big):
        big.join()
        assert table_version(big.out, without=ADDED) == table_version(big.folder / "features.parquet")

    def test_a_key_that_is_null_matches_nothing(self, bench):
        bench.features(key=["a.mp4", None, None])
        bench.labels(label("a.mp4", 3))
        rows = bench.joined(min_match_rate=0.5)
        assert [r["mos_label_status"] for r in rows] == ["ok", "missing-label", "missing-label"]

    def test_a_pandas_index_written_beside_the_columns_stays(self, bench):
        pd.DataFrame({"key": ["a.mp4", "b.mp4"]}, index=[7, 5]).to_parquet(bench.folder / "features.parquet")
        bench.labels(label("a.mp4", 3), label("b.mp4", 3))
        assert [r["__index_level_0__"] for r in bench.joined()] == [7, 5]


class TestCoverage:
    """How many keys must have a label."""

    def test_coverage_counts_keys_and_not_rows(self, bench):
        bench.features(key=["a.mp4"] * 99 + ["b.mp4"])
        bench.labels(label("a.mp4", 3))
        error = bench.refused()
        assert error.found.startswith("1 of 2 keys matched (50.0%)")

    @pytest.mark.parametrize(("matched", "enough"), [(19, True), (18, False)])
    def test_the_threshold_itself_is_enough(self, matched, enough, bench):
        bench.features(key=[f"{i}.mp4" for i in range(20)])
        bench.labels(*(label(f"{i}.mp4", 3) for i in range(matched)))
        if enough:
            assert bench.join().match_rate == 0.95
        else:
            assert bench.refused().expected == "at least 95.0%"

    def test_a_miss_tells_both_numbers_and_examples_of_both_sides(self, bench):
        bench.features(key=[f"f{i}.mp4" for i in range(9)] + ["x.mp4"])
        bench.labels(*(label(f"l{i}.mp4", 3) for i in range(9)), label("x.mp4", 3))
        error = bench.refused(min_match_rate=0.2)
        assert str(error) == (
            f"{bench.folder / 'features.parquet'} with labels konvid_150k.jsonl: 1 of 10 keys matched (10.0%); "
            "unmatched keys of features: ['f0.mp4', 'f1.mp4', 'f2.mp4', 'f3.mp4', 'f4.mp4'], "
            "of labels: ['l0.mp4', 'l1.mp4', 'l2.mp4', 'l3.mp4', 'l4.mp4'], expected at least 20.0%; "
            "are these the labels of this table? Keys are key (raw) and src (basename). "
            "Lower min_match_rate only to explore"
        )
        assert not bench.out.exists()

    def test_an_empty_feature_table_is_never_covered(self, bench):
        bench.features(key=pa.array([], pa.string()))
        bench.labels(label("a.mp4", 3))
        assert bench.refused(min_match_rate=0.0).found.startswith("0 of 0 keys matched")

    def test_the_audit_counts_everything(self, bench):
        bench.features(key=["a.mp4", "a.mp4", "b.mp4", "z.mp4"])
        bench.labels(label("a.mp4", 2), label("b.mp4", 3), label("spare.mp4", 3))
        audit = bench.join(min_match_rate=0.6).as_dict()
        assert audit == {
            "input_rows": 4,
            "output_rows": 4,
            "total_feature_keys": 3,
            "matched_feature_keys": 2,
            "matched_rows": 3,
            "missing_rows": 1,
            "labels_loaded": 3,
            "match_rate": pytest.approx(2 / 3),
            "label_sources": {"konvid_150k.jsonl": 3},
            "unmatched_features": ("z.mp4",),
            "unmatched_labels": ("spare.mp4",),
            "split_leaks": {},
        }


class TestLabels:
    """Label files that cannot be used."""

    def test_equal_scores_of_one_key_are_one_label_and_rows_never_multiply(self, bench, caplog):
        bench.features(key=["a.mp4", "b.mp4"])
        bench.labels(label("a.mp4", 3), label("b.mp4", 4), name="one.jsonl")
        bench.labels(label("a.mp4", 3.000001), label("b.mp4", 4), name="two.jsonl")
        rows = bench.joined()
        assert [(r["mos"], r["mos_label_source"]) for r in rows] == [(3.0, "one.jsonl"), (4.0, "one.jsonl")]
        assert caplog.records == []

    def test_a_key_told_twice_in_one_file_is_one_label_and_two_scores_of_it_are_an_error(self, bench):
        bench.features(key=["a.mp4"])
        path = bench.labels(label("a.mp4", 3), label("a.mp4", 3))
        assert (bench.join().labels_loaded, bench.join().output_rows) == (1, 1)
        bench.label_files.clear()
        bench.labels(label("a.mp4", 3), label("a.mp4", 4))
        assert bench.refused().found == f"3.0 in {path}:1 and 4.0 in {path}:2"

    def test_label_files_of_one_name_are_told_apart_by_their_folders(self, bench):
        bench.features(key=["a.mp4", "b.mp4"])
        for folder, key in (("first", "a.mp4"), ("second", "b.mp4")):
            (bench.folder / folder).mkdir()
            bench.labels(label(key, 3), name=f"{folder}/scores.jsonl")
        assert [r["mos_label_source"] for r in bench.joined()] == ["first/scores.jsonl", "second/scores.jsonl"]

    def test_label_files_of_one_name_are_named_from_the_folder_that_holds_them_and_others_by_their_name(self, bench):
        bench.features(key=["a.mp4", "b.mp4", "c.mp4"])
        places = ("one.jsonl", "2024/raw/scores.jsonl", "2025/raw/scores.jsonl")
        for place, key in zip(places, ("a.mp4", "b.mp4", "c.mp4"), strict=True):
            (bench.folder / place).parent.mkdir(parents=True, exist_ok=True)
            bench.labels(label(key, 3), name=place)
        assert [r["mos_label_source"] for r in bench.joined()] == list(places)

    @pytest.mark.parametrize("name", [*GENERAL_SPELLINGS.sd, "STDDEV", "Std_Dev"])
    def test_every_spelling_of_an_sd_that_ingest_knows_is_one_here(self, name, bench):
        bench.features(key=["a.mp4", "b.mp4"])
        given = {"mos_scale": "0-100-continuous", "mos_std_dev": ..., name: 20}
        bench.labels(*(label(k, 60.0, **given) for k in SOME))
        assert [r["mos_std_dev"] for r in bench.joined()] == pytest.approx([0.8, 0.8])

    @pytest.mark.parametrize("name", [*GENERAL_SPELLINGS.count, "N", "Rating_Count"])
    def test_every_spelling_of_a_count_that_ingest_knows_is_one_here(self, name, bench):
        bench.features(key=["a.mp4", "b.mp4"])
        bench.labels(*(label(k, 3, **{"n_ratings": ..., name: 7}) for k in SOME))
        assert [r["mos_n_ratings"] for r in bench.joined()] == [7, 7]

    def test_of_two_spellings_the_first_that_holds_a_number_counts(self, bench):
        bench.features(key=["a.mp4", "b.mp4"])
        bench.labels(*(label(k, 3, n_ratings=None, mos_std_dev=None, n=7, rating_count=9, std_dev=0.5) for k in SOME))
        assert {(r["mos_std_dev"], r["mos_n_ratings"]) for r in bench.joined()} == {(0.5, 7)}

    def test_no_key_matched_tells_both_sides_and_how_keys_were_compared(self, bench):
        bench.features(file_name=["x/a.mp4"])
        bench.labels(label("b.mp4", 3))
        error = bench.refused(min_match_rate=0.01)
        assert error.found == (
            "0 of 1 keys matched (0.0%); unmatched keys of features: ['a.mp4'], of labels: ['b.mp4']"
        )
        assert "Keys are file_name (basename) and src (basename)" in error.next_step

    def test_an_equal_score_on_another_scale_is_equal(self, bench):
        bench.features(key=["a.mp4"])
        bench.labels(label("a.mp4", 3.2, mos_std_dev=0))
        bench.labels(label("a.mp4", 55.0, mos_scale="0-100-continuous", mos_std_dev=0), name="two.jsonl")
        assert bench.joined()[0]["mos"] == 3.2

    def test_two_scores_of_one_key_are_an_error_with_key_values_and_files(self, bench):
        one = bench.labels(label("a.mp4", 3.0), name="one.jsonl")
        two = bench.labels(label("a.mp4", 3.00001), name="two.jsonl")
        error = bench.refused()
        assert str(error).startswith(
            f"conflicting MOS labels for 'a.mp4': 3.0 in {one}:1 and 3.00001 in {two}:1, "
            "expected one score a key (both are shown on 1–5); "
            "were the wrong labels joined, or a stale file left in place?"
        )

    def test_differing_metadata_of_equal_scores_is_a_warning_with_both(self, bench, caplog):
        bench.features(key=["a.mp4"])
        bench.labels(label("a.mp4", 3, n_ratings=5, split="train"), name="one.jsonl")
        bench.labels(label("a.mp4", 3, n_ratings=7, split="test"), name="two.jsonl")
        assert bench.joined()[0]["mos_n_ratings"] == 5
        assert [(r.levelno, r.message) for r in caplog.records] == [
            (logging.WARNING, "'a.mp4': mos_n_ratings is 5 in one.jsonl and 7 in two.jsonl; the first is kept"),
            (logging.WARNING, "'a.mp4': split is 'train' in one.jsonl and 'test' in two.jsonl; the first is kept"),
        ]

    def test_scores_outside_their_scale_are_an_error_that_names_the_rows(self, bench):
        path = bench.labels(label("a.mp4", 3), label("b.mp4", 5.06), label("c.mp4", math.nan))
        error = bench.refused()
        assert str(error) == (
            f"{path}: mos: scores outside their scale: 2 of 3 ({path}:2: 5.06 on 1-5-acr; {path}:3: nan on 1-5-acr), "
            "expected none more than 0.05 outside; correct the rows, or set mos_scale if the scale is wrong"
        )

    @pytest.mark.parametrize(
        ("change", "found"),
        [
            ({"mos": "3.5"}, "mos '3.5'"),
            ({"mos": None}, "no mos"),
            ({"mos": True}, "mos True"),
            ({"mos": [3]}, "mos [3]"),
            ({"mos": ...}, "no mos"),
            ({"src": None}, "no src"),
            ({"src": ""}, "no src"),
            ({"src": ...}, "no src"),
        ],
    )
    def test_a_row_without_key_or_score_is_named_by_file_and_line(self, change, found, bench):
        bad = {k: v for k, v in (label("b.mp4", 3) | change).items() if v is not ...}
        path = bench.labels(label("a.mp4", 3), bad)
        assert str(bench.refused()).startswith(
            f"{path}: 1 of 2 rows cannot be used: {path}:2: {found}, expected a key and a number as mos in every row; "
        )

    @pytest.mark.parametrize(
        ("scale", "found"),
        [("1-10", "'1-5-acr' (row 1), '1-10' (row 2)"), (["1-5-acr"], "'1-5-acr' (row 1), \"['1-5-acr']\" (row 2)")],
    )
    def test_a_scale_that_is_none_is_named_with_its_row(self, scale, found, bench):
        path = bench.labels(label("a.mp4", 3), label("b.mp4", 3, mos_scale=scale))
        assert str(bench.refused()).startswith(f"{path}: mos: mos_scale: {found}, expected one scale of opinions ")

    @pytest.mark.parametrize(("content", "found"), [(b'{"src"', "not JSON ("), (b"[]\n", "a JSON list")])
    def test_a_line_that_is_no_object_is_named_by_file_and_line(self, content, found, bench):
        path = bench.labels(label("a.mp4", 3))
        path.write_bytes(path.read_bytes() + content)
        assert str(bench.refused()).startswith(f"{path}:2: {found}")

    def test_a_label_file_that_is_not_there_says_what_makes_it(self, bench):
        bench.label_files.append(bench.folder / "gone.jsonl")
        assert str(bench.refused()) == (
            f"labels {bench.folder / 'gone.jsonl'}: found nothing there, expected a table with rows; "
            "materialize corpus_jsonl for this corpus, or set labels"
        )

    def test_a_label_file_without_rows_is_an_error(self, bench):
        path = bench.labels()
        assert "found an empty file, expected a table with rows" in str(bench.refused())
        path.write_text("\n")
        assert "no rows, expected at least one label" in str(bench.refused())


class TestExistingColumns:
    """What a feature table may already hold."""

    @pytest.mark.parametrize(
        "standing",
        [["mos"], ["mos_raw_0_100"], ["mos_label_status"], ["mos_label_source", "mos_std_dev", "mos_n_ratings"]],
    )
    def test_mos_columns_are_never_replaced_unasked(self, standing, labelled):
        labelled.features(key=["a.mp4"], **{name: ["x"] for name in reversed(standing)})
        error = labelled.refused()
        assert str(error).startswith(
            f"{labelled.folder / 'features.parquet'}: refusing to overwrite existing MOS columns: {', '.join(standing)}"
        )
        assert "set overwrite" in error.next_step

    def test_a_status_column_of_another_name_is_guarded_too(self, labelled):
        labelled.features(key=["a.mp4"], mine=["x"])
        assert "existing MOS columns: mine" in str(labelled.refused(status_column="mine"))

    def test_overwrite_replaces_them(self, labelled):
        labelled.features(key=["a.mp4"], mos=["old"], mos_label_status=["old"], adm2=[0.5])
        row = labelled.joined(overwrite=True)[0]
        assert (row["mos"], row["mos_label_status"], row["adm2"]) == (2.0, "ok", 0.5)

    def test_labelling_a_labelled_table_again_changes_nothing(self, labelled):
        labelled.join()
        once = table_version(labelled.out)
        labelled.features(pq.read_table(labelled.out))
        labelled.join(overwrite=True)
        assert table_version(labelled.out) == once

    @pytest.mark.parametrize("name", ["corpus", "corpus_version", "content_id", "split", "score_drop"])
    def test_identity_that_agrees_passes_and_a_conflict_is_an_error(self, name, bench):
        bench.labels(*(label(f"{c}.mp4", 3, **{name: "train"}) for c in "abc"))
        bench.features(key=["a.mp4", "b.mp4", "c.mp4"], **{name: ["train"] * 3})
        assert [r[name] for r in bench.joined()] == ["train"] * 3
        bench.features(key=["a.mp4", "b.mp4", "c.mp4"], **{name: ["train", "val", "train"]})
        assert str(bench.refused()) == (
            f"{name} of 'b.mp4': 'val' in the features and 'train' in the labels, "
            "expected the same clip on both sides; are these the labels of this corpus?"
        )

    def test_identity_is_compared_by_its_text(self, bench):
        bench.labels(label("a.mp4", 3, content_id="17"))
        bench.features(key=["a.mp4"], content_id=[17])
        assert bench.joined()[0]["content_id"] == 17

    def test_a_row_without_label_has_no_conflict(self, bench):
        bench.labels(label("a.mp4", 3, split="train"))
        bench.features(key=["a.mp4", "z.mp4"], split=["train", "test"])
        assert [r["split"] for r in bench.joined(min_match_rate=0.5)] == ["train", "test"]

    def test_an_absent_key_column_is_told_with_those_there_are(self, labelled):
        error = labelled.refused(feature_key_column="clip_id")
        assert (error.found, error.expected) == ("columns key, adm2", "the key column 'clip_id'")


class TestPublishing:
    """The table that stands in the end."""

    @pytest.fixture
    def context(self, root_path):
        return RunContext(DataRoot(root_path), {}, Path(__file__), started=0.0)

    @pytest.fixture
    def paths(self, labelled, root_path):
        return LabelPaths(
            features=labelled.folder / "features.parquet",
            labels=tuple(labelled.label_files),
            out=root_path / "k" / "features_with_mos.parquet",
            audit_json=root_path / "k" / "features_with_mos.audit.json",
        )

    def test_the_audit_holds_every_setting_count_and_hash(self, paths, context, root_path):
        done = make_labelled_table(paths, LabelSettings(min_match_rate=0.9), context)
        shown = json.loads(paths.audit_json.read_text())
        assert shown == done.manifest
        assert shown["schema"] == "mos-label-audit-v1"
        assert shown["key_columns"] == ["key", "src"]
        assert {k: shown[k] for k in ("input_rows", "output_rows", "matched_rows", "match_rate", "labels_loaded")} == {
            "input_rows": 3,
            "output_rows": 3,
            "matched_rows": 3,
            "match_rate": 1.0,
            "labels_loaded": 3,
        }
        run = shown["run_provenance"]
        assert {name: told["value"] for name, told in run["args"].items()} == {
            **LabelSettings().values(),
            "vote_columns": [],
            "min_match_rate": 0.9,
            "features": run["inputs"]["features"]["path"],
            "labels": [run["inputs"]["labels_0"]["path"]],
            "out": "k/features_with_mos.parquet",
            "audit_json": "k/features_with_mos.audit.json",
        }
        assert sorted(run["inputs"]) == ["features", "labels_0"]
        assert run["outputs"]["features_with_mos"]["path"] == "k/features_with_mos.parquet"
        assert shown["data_version"] == done.data_version == table_version(paths.out)

    def test_a_table_whose_content_stays_is_left_alone(self, paths, context):
        first = make_labelled_table(paths, LabelSettings(), context)
        before = paths.out.stat()
        again = make_labelled_table(paths, LabelSettings(), context)
        after = paths.out.stat()
        assert again.data_version == first.data_version
        assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)

    def test_a_changed_score_makes_another_table(self, paths, context, labelled):
        first = make_labelled_table(paths, LabelSettings(), context)
        labelled.labels(label("a.mp4", 2.5), label("b.mp4", 3.0), label("c.mp4", 4.0))
        assert make_labelled_table(paths, LabelSettings(), context).data_version != first.data_version
        assert pq.read_table(paths.out).to_pylist()[0]["mos"] == 2.5

    @pytest.mark.parametrize("torn", [b"", b"PAR1", b"version https://git-lfs.github.com/spec/v1"])
    def test_a_torn_earlier_table_at_its_own_place_is_made_again(self, torn, paths, context, caplog):
        paths = replace(paths, by_default=frozenset({"out", "audit_json"}))
        paths.out.parent.mkdir()
        paths.out.write_bytes(torn)
        make_labelled_table(paths, LabelSettings(), context)
        assert pq.read_table(paths.out).num_rows == 3
        assert f"{paths.out} was damaged and is made again: " in caplog.text

    @pytest.mark.parametrize("status_column", ["mos_label_status", "state"])
    def test_the_table_is_validated_whatever_its_status_column(self, status_column, paths, context):
        make_labelled_table(paths, LabelSettings(status_column=status_column), context)
        assert status_column in pq.read_schema(paths.out).names

    def test_an_error_leaves_the_earlier_table_and_audit(self, paths, context, labelled):
        make_labelled_table(paths, LabelSettings(), context)
        before = {p.name: p.read_bytes() for p in paths.out.parent.iterdir()}
        labelled.labels(label("other.mp4", 2.5))
        with pytest.raises(VqaError):
            make_labelled_table(paths, LabelSettings(), context)
        assert {p.name: p.read_bytes() for p in paths.out.parent.iterdir()} == before

    def test_a_feature_table_that_is_not_there_says_what_makes_it(self, paths, context):
        paths.features.unlink()
        with pytest.raises(TableError, match=r"found nothing there, expected a table with rows; materialize clip_feat"):
            make_labelled_table(paths, LabelSettings(), context)

    def test_a_feature_table_that_is_none_is_told_by_what_it_is(self, paths, context):
        paths.features.write_bytes(b"key,adm2\n")
        with pytest.raises(SchemaError, match=r"features\.parquet: found no Parquet file"):
            make_labelled_table(paths, LabelSettings(), context)
