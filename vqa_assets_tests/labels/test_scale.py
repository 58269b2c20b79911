"""Scores: which column holds them, and which scale they are on, decided once per label file and corpus."""

import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vqa_assets.corpora import CORPORA
from vqa_assets.corpora.scales import CONTINUOUS_0_100, MosScale
from vqa_assets.errors import SchemaError
from vqa_assets.labels.labelled import make_labelled_table, validate_labelled
from vqa_assets.labels.settings import LabelPaths, LabelSettings
from vqa_assets.provenance import RunContext
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.label_tables import Bench, label


@pytest.fixture
def bench(tmp_path):
    found = Bench(tmp_path)
    found.features(key=["a", "b", "c"])
    return found


def rows(column="mos", **scores):
    return [{"key": key, column: value} for key, value in scores.items()]


class TestColumn:
    """The column of scores."""

    @pytest.mark.parametrize(
        ("name", "values", "mos"),
        [
            ("mos", (2, 3, 4), [2, 3, 4]),
            ("MOS", (2, 3, 4), [2, 3, 4]),
            ("mean_mos", (2, 3, 4), [2, 3, 4]),
            ("mos_raw_0_100", (0, 3, 4.5), [1, 1.12, 1.18]),
            ("raw_mos", (25, 50, 75), [2, 3, 4]),
            ("score", (25, 50, 75), [2, 3, 4]),
            ("quality", (2, 3, 4), [2, 3, 4]),
        ],
    )
    def test_known_columns_are_taken_and_raw_ones_are_always_0_100(self, name, values, mos, bench):
        bench.labels(*rows(name, a=values[0], b=values[1], c=values[2]))
        assert [r["mos"] for r in bench.joined()] == pytest.approx(mos)

    def test_candidates_that_tell_the_same_are_no_question(self, bench):
        pairs = {"a": (2, 25), "b": (3, 50), "c": (4, 75)}
        bench.labels(*({"key": k, "mos": m, "mos_raw_0_100": r, "score": r} for k, (m, r) in pairs.items()))
        assert [r["mos_raw_0_100"] for r in bench.joined()] == [25, 50, 75]

    @pytest.mark.parametrize(
        ("second", "told"),
        [(90, "1 rows differ ({path}:3: 4 and 90)"), (-40, "score fits no scale: 3 scores (quantiles 0% -40, ")],
    )
    def test_candidates_that_differ_are_ambiguous_until_one_is_chosen(self, second, told, bench):
        pairs = {"a": (2, 25), "b": (3, 50), "c": (4, second)}
        path = bench.labels(*({"key": k, "mos": m, "score": r} for k, (m, r) in pairs.items()))
        error = bench.refused()
        assert error.what == f"{path}: the MOS column is ambiguous: mos or score"
        assert error.found.startswith(told.format(path=path))
        assert error.next_step == "set label_mos_column to mos or score"
        assert [r["mos"] for r in bench.joined(label_mos_column="mos")] == [2, 3, 4]

    def test_a_table_without_scores_names_the_columns_it_has(self, bench):
        bench.labels({"key": "a", "vmaf": 90})
        error = bench.refused()
        assert error.found == "columns key, vmaf"
        assert error.expected == "a MOS column, one of mos, mean_mos, mos_raw_0_100, raw_mos, score, quality"
        assert bench.refused(label_mos_column="MOS").expected == "the MOS column 'MOS'"

    @pytest.mark.parametrize(
        ("kind", "values", "told"),
        [
            ("boolean", [True, False, True], "row 1: mos True; "),
            ("text", ["2", "3", "good"], "row 1: mos '2'; "),
            ("null", [2.0, None, 3.0], "row 2: no mos, "),
        ],
    )
    def test_parquet_scores_that_are_no_numbers_are_named(self, kind, values, told, bench):
        path = bench.folder / "labels.parquet"
        table = pa.table({"key": ["a", "b", "c"], "mos": values})
        if kind == "text":
            table = table.set_column(1, "mos", [["?", "n/a", "good"]])
            told = "row 1: mos '?'; "
        pq.write_table(table, path)
        bench.label_files.append(path)
        error = bench.refused()
        assert "rows cannot be used" in error.what
        assert error.found.startswith(f"{path}: {told}".removesuffix(", ").removesuffix("; "))

    @pytest.mark.parametrize("bad", [math.nan, math.inf, 5.06, 0.9, 120])
    def test_a_score_off_its_scale_is_named(self, bad, bench):
        path = bench.labels(*(label(k, v) for k, v in (("a", 2), ("b", bad), ("c", 4))))
        assert bench.refused().found == f"1 of 3 ({path}:2: {bad:g} on 1-5-acr)"


LOW = {"a": 1.5, "b": 3.2, "c": 4.9}


class TestScale:
    """Which scale the scores are on."""

    def test_low_scores_on_0_100_stay_there_where_the_rows_the_setting_or_the_corpus_say_so(self, bench):
        expected = pytest.approx([1.5, 3.2, 4.9])
        for extra, settings in (
            ({"mos_scale": "0-100-continuous"}, {}),
            ({}, {"mos_scale": "0-100-continuous"}),
            ({"corpus": "live-vqc"}, {}),
        ):
            bench.label_files.clear()
            bench.labels(*({"key": k, "mos": v, **extra} for k, v in LOW.items()))
            assert [r["mos_raw_0_100"] for r in bench.joined(**settings)] == expected

    def test_one_high_score_of_the_file_puts_its_low_ones_on_0_100(self, bench):
        others = {f"b{i}": 30.0 + i for i in range(18)}
        bench.features(key=["a", "c"])
        bench.labels(*rows(a=3.2, b=4.9, c=60, **others))
        assert [r["mos_raw_0_100"] for r in bench.joined(min_match_rate=0.0)] == pytest.approx([3.2, 60])

    @pytest.mark.parametrize("settings", [{}, {"mos_scale": "0-100-continuous"}])
    def test_a_scale_of_ten_points_is_never_taken_for_one_to_100_unless_it_is_set(self, settings, bench):
        bench.features(key=["k6"])
        bench.labels(*({"key": f"k{i}", "mos": i % 11} for i in range(60)))
        if settings:
            assert bench.joined(**settings)[0]["mos_raw_0_100"] == 6
        else:
            assert "60 are outside 1–5" in bench.refused().found

    @pytest.mark.parametrize("scores", [(0.2, 3.2, 4.9), (0.0, 1.0, 5.05)])
    def test_low_scores_that_fit_neither_scale_are_not_guessed(self, scores, bench):
        bench.labels(*rows(a=scores[0], b=scores[1], c=scores[2]))
        error = bench.refused()
        assert "on 1-5-acr" in error.found
        assert "set mos_scale" in error.next_step
        assert bench.joined(mos_scale="0-100-continuous")[0]["mos_raw_0_100"] == pytest.approx(scores[0])

    def test_a_file_of_1_5_scores_with_a_stray_one_is_refused_and_not_read_as_0_100(self, bench):
        bench.features(key=[f"k{i}" for i in range(200)])
        bench.labels(*({"key": f"k{i}", "mos": 77 if i == 5 else 1 + i % 4} for i in range(200)))
        assert bench.refused().found.endswith(":6: 77 on 1-5-acr)")

    def test_the_corpus_decides_and_where_it_declares_two_scales_the_scores_do(self, bench):
        assert len(CORPORA["lsvq"].scales) == 2
        others = {f"d{i}": 30 + i for i in range(9)}
        bench.labels(*({"key": k, "mos": v, "corpus": "lsvq"} for k, v in {"a": 20, "b": 50, "c": 3, **others}.items()))
        assert [r["mos_raw_0_100"] for r in bench.joined()] == pytest.approx([20, 50, 3])
        bench.label_files.clear()
        bench.labels(*({"key": k, "mos": v, "corpus": "chug"} for k, v in LOW.items()))
        assert [r["mos"] for r in bench.joined()] == pytest.approx([1.5, 3.2, 4.9])

    def test_a_table_of_several_corpora_is_decided_corpus_by_corpus(self, bench):
        bench.features(key=["a", "b", "c"])
        bench.labels(
            {"key": "a", "mos": 3.0, "corpus": "konvid-1k"},
            {"key": "b", "mos": 3.0, "corpus": "live-vqc"},
            {"key": "c", "mos": 3.0, "mos_scale": "1-5-acr", "corpus": None},
        )
        assert [r["mos_raw_0_100"] for r in bench.joined()] == pytest.approx([50, 3, 50])

    def test_only_the_rows_of_the_corpus_that_is_set_are_read(self, bench):
        bench.features(key=["a"])
        path = bench.labels(
            {"key": "a", "mos": 3.0, "corpus": "konvid-1k"}, {"key": "a", "mos": 90.0, "corpus": "live-vqc"}
        )
        assert str(bench.refused()).startswith("conflicting MOS labels for 'a'")
        assert bench.joined(corpus="live-vqc")[0]["mos_raw_0_100"] == 90
        assert bench.refused(corpus="lsvq").found == "no row of 'lsvq' (corpora: konvid-1k, live-vqc)"
        path.write_text('{"key": "a", "mos": 3}\n')
        assert bench.refused(corpus="lsvq").found == "no column corpus"

    def test_vmaf_is_no_opinion(self, bench):
        bench.labels(*({"key": k, "mos": 90, "mos_scale": "vmaf"} for k in "abc"))
        assert bench.refused().found == "'vmaf' (row 1)"

    def test_an_sd_goes_with_the_column_it_belongs_to(self, bench):
        bench.labels(*({"key": k, "mos": 3, "mos_raw_0_100": 50, "mos_std_dev": 0.8} for k in "abc"))
        for settings in ({}, {"label_mos_column": "mos_raw_0_100"}):
            assert bench.joined(**settings)[0]["mos_std_dev"] == pytest.approx(0.8)
        bench.label_files.clear()
        bench.labels(*({"key": k, "mos_raw_0_100": 50, "mos_std_dev": 20} for k in "abc"))
        assert bench.joined()[0]["mos_std_dev"] == pytest.approx(0.8)

    @pytest.mark.parametrize("sd", [-1, math.inf, math.nan, None])
    def test_an_sd_that_is_none_is_unknown_and_costs_no_label(self, sd, bench):
        bench.labels(*({"key": k, "mos": 3, "mos_std_dev": sd} for k in "abc"))
        assert [row["mos_std_dev"] for row in bench.joined()] == [0, 0, 0]

    def test_a_count_beyond_any_number_of_people_is_named(self, bench):
        path = bench.labels(*({"key": k, "mos": 3, "n_ratings": n} for k, n in (("a", 20), ("b", 10**19), ("c", 1e30))))
        error = bench.refused()
        assert error.what == f"{path}: n_ratings: 2 of 3 are no counts"
        assert error.found == f"{path}:2: 1e+19; {path}:3: 1e+30"

    def test_rows_of_the_unified_corpus_are_labels_and_their_sd_is_the_unified_one(self, bench):
        unified = {"mos_scale": "0-100-continuous", "mos_std_dev": 0.8, "mos_std_dev_unified": 20.0}
        bench.labels(*({"key": k, "mos": 50, **unified} for k in "abc"))
        row = bench.joined()[0]
        assert (row["mos"], row["mos_std_dev"]) == (3.0, pytest.approx(0.8))

    def test_what_decided_is_told(self, bench, root_path):
        from vqa_assets.labels.joining import plan
        from vqa_assets.labels.settings import LabelSettings
        from vqa_assets.tables.foreign_tables import table_at

        path = bench.labels(*rows(a=20, b=50, c=60))
        join = plan(table_at(bench.folder / "features.parquet"), [table_at(path)], LabelSettings())
        ((decided,),) = (file.scales for file in join.files)
        assert (decided.scale.name, decided.by, decided.corpus) == ("0-100-continuous", "detection", None)


class TestOwnScales:
    """Scales that a corpus declares, and scores of which less is better."""

    @pytest.fixture
    def own(self, bench):
        scales = (MosScale("0-10", 0, 10), CONTINUOUS_0_100)
        bench.corpora = {
            "own": CORPORA["konvid-1k"].but(name="own", scales=scales),
            "worse": CORPORA["konvid-1k"].but(name="worse", scales=(CONTINUOUS_0_100,), polarity="dmos"),
        }
        return bench

    @pytest.mark.parametrize(
        ("fields", "mos", "sd"),
        [
            ({"corpus": "own", "mos_scale": "0-10"}, [2.6, 3.8, 4.6], 0.2),
            ({"mos_scale": "0-10"}, [2.6, 3.8, 4.6], 0.2),
            ({"mos_scale": "0-10", "mos_polarity": "dmos"}, [3.4, 2.2, 1.4], 0.2),
            ({"corpus": "own"}, [2.6, 3.8, 4.6], 0.2),
            ({"corpus": "worse", "mos_scale": "0-100-continuous"}, [4.84, 4.72, 4.64], 0.02),
            ({"corpus": "worse", "mos_scale": "0-100-continuous", "mos_polarity": "mos"}, [1.16, 1.28, 1.36], 0.02),
            ({"mos_scale": "0-100-continuous", "mos_polarity": "dmos"}, [4.84, 4.72, 4.64], 0.02),
        ],
    )
    def test_labels_are_on_1_to_5_where_more_is_better(self, fields, mos, sd, own):
        own.labels(*({"key": k, "mos": m, "mos_std_dev": 0.5, **fields} for k, m in zip("abc", (4, 7, 9), strict=True)))
        found = own.joined()
        assert [r["mos"] for r in found] == pytest.approx(mos)
        assert [r["mos_raw_0_100"] for r in found] == pytest.approx([25 * (one - 1) for one in mos])
        assert [r["mos_std_dev"] for r in found] == pytest.approx([sd] * 3)

    def test_a_setting_may_name_an_own_scale(self, own):
        own.labels(*rows(a=2, b=5, c=9))
        assert [r["mos"] for r in own.joined(mos_scale="0-10")] == pytest.approx([1.8, 3, 4.6])
        assert "expected one of 1-5-acr, 0-100-continuous, 0-10" in str(own.refused(mos_scale="0-11"))

    def test_a_name_that_two_corpora_declare_differently_is_no_scale_of_rows_that_name_neither(self, own):
        own.corpora["other"] = own.corpora["own"].but(name="other", scales=(MosScale("0-10", 0, 12),))
        own.labels(*rows(a=2, b=5, c=9))
        assert "no scale of any corpus, or one that corpora declare differently" in own.refused(mos_scale="0-10").found

    def test_rows_that_say_different_better_ends_are_refused(self, own):
        sides = ({"key": "a", "mos": 3, "mos_polarity": "mos"}, {"key": "b", "mos": 3, "mos_polarity": "dmos"})
        own.labels(*sides)
        assert own.refused(mos_scale="1-5-acr").expected == "one polarity in all rows: mos or dmos"

    @pytest.mark.parametrize("fields", [{}, {"corpus": "own"}])
    def test_a_column_of_differences_is_no_column_of_opinions(self, fields, own):
        own.labels(*({"key": key, "dmos": value, **fields} for key, value in zip("abc", (30, 50, 80), strict=True)))
        error = own.refused(label_mos_column="dmos")
        assert error.found.startswith("DMOS, where less is better")

    @pytest.mark.parametrize(
        ("fields", "mos"),
        [
            ({"mos_polarity": "dmos"}, [3.8, 3, 1.8]),
            ({"corpus": "worse"}, [3.8, 3, 1.8]),
            ({"mos_polarity": "mos"}, [2.2, 3, 4.2]),
        ],
    )
    def test_a_column_of_differences_is_read_where_it_is_said_which_end_is_better(self, fields, mos, own):
        own.labels(*({"key": key, "dmos": value, **fields} for key, value in zip("abc", (30, 50, 80), strict=True)))
        found = own.joined(label_mos_column="dmos", mos_scale="0-100-continuous")
        assert [r["mos"] for r in found] == pytest.approx(mos)


class TestFurtherScores:
    """More than one score a clip: on 1–5 beside the first."""

    @pytest.fixture
    def several(self, bench):
        scores = {
            "technical": "T",
            "colour": {"column": "C", "scale": MosScale("0-10", 0, 10)},
            "harm": {"column": "H", "polarity": "dmos"},
        }
        bench.corpora = {**CORPORA, "live-vqc": CORPORA["live-vqc"].but(scores=scores)}
        return bench

    def rows(self, **changes):
        said = {"corpus": "live-vqc", "mos_scale": "0-100-continuous", "mos_colour_scale": "0-10"}
        said |= {"mos_harm_polarity": "dmos"} | changes
        scores = ((50, 25, 5, 30), (60, None, 11, 101), (70, 100, None, 0))
        names = ("mos", "mos_technical", "mos_colour", "mos_harm")
        rows = ({"key": key, **dict(zip(names, of, strict=True))} for key, of in zip("abc", scores, strict=True))
        return [{name: value for name, value in {**row, **said}.items() if value is not None} for row in rows]

    def test_they_are_on_1_to_5_and_what_cannot_be_one_is_unknown_and_told(self, several, caplog):
        several.labels(*self.rows())
        found = several.joined()
        assert [row["mos_label_status"] for row in found] == ["ok"] * 3
        assert [row["mos_technical"] for row in found] == [2, None, 5]
        assert [row["mos_colour"] for row in found] == [3, None, None]
        assert [row["mos_harm"] for row in found] == pytest.approx([3.8, None, 5])
        assert "1 of 3 mos_colour are no numbers or outside their scale" in caplog.text
        assert "mos_technical are" not in caplog.text

    def test_without_a_scale_of_their_own_they_are_on_the_firsts(self, several):
        unified = {"mos_colour_scale": None, "mos_harm_polarity": None, "mos_polarity": "mos"}
        several.labels(*self.rows(**unified))
        found = several.joined()
        assert [row["mos_colour"] for row in found] == pytest.approx([1.2, 1.44, None])
        assert [row["mos_harm"] for row in found] == pytest.approx([2.2, None, 1])

    @pytest.mark.parametrize("corpus", ["konvid-1k", "elsewhere"])
    def test_a_column_that_its_corpus_does_not_declare_is_no_score(self, corpus, several):
        several.labels(*self.rows(corpus=corpus))
        assert not {"mos_technical", "mos_colour", "mos_harm"} & several.joined()[0].keys()

    def test_they_are_not_replaced_without_a_word(self, several):
        several.features(key=["a", "b", "c"], mos_technical=[1.0, 2.0, 3.0])
        several.labels(*self.rows())
        assert "refusing to overwrite existing MOS columns: mos_technical" in several.refused().what
        assert [row["mos_technical"] for row in several.joined(overwrite=True)] == [2, None, 5]

    def test_the_audit_counts_them(self, several):
        several.labels(*self.rows())
        root = DataRoot(several.folder)
        files = {"features": several.folder / "features.parquet", "labels": tuple(several.label_files)}
        paths = LabelPaths(**files, out=several.out, audit_json=several.folder / "out.audit.json")
        context = RunContext(root, {}, Path(__file__))
        made = make_labelled_table(paths, LabelSettings(), context, several.corpora)
        assert made.manifest["further_scores"] == {
            "mos_technical": {"labels": 2, "refused": 0},
            "mos_colour": {"labels": 1, "refused": 1},
            "mos_harm": {"labels": 2, "refused": 1},
        }
        assert validate_labelled(several.out, "mos_label_status", ["mos_technical"]) == 3
        pq.write_table(
            pa.table({**pq.read_table(several.out).to_pydict(), "mos_technical": [2.0, 5.1, 3.0]}), several.out
        )
        with pytest.raises(SchemaError, match="mos_technical: 1 break"):
            validate_labelled(several.out, "mos_label_status", ["mos_technical"])
