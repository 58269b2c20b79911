"""Keys: which columns hold them, what of them is compared, and patterns that mean what Python's ``re`` means."""

import re
import threading
from time import monotonic

import polars as pl
import pyarrow as pa
import pytest

from vqa_assets.corpora.contents import KEY_COLUMNS
from vqa_assets.errors import LabelError
from vqa_assets.labels.keys import KeyRule, extract, key_column, normalized, same_in_polars
from vqa_assets_tests.shared.label_tables import Bench, label

PLAIN = ["clip_0123456.mp4", "a/b-77.webm", "x", "", "aaab", "ab12cd34", "2024.01", "A_b c(d)[e]{f}", "$1^2|3", "\\d"]
ODD = ["clip_١٢٣", "naïve_12", "a\n", "12\n", "\u2028x1", "K1", "ſ9", "nai\u0308ve_12", "x²_½", "a\x1cb", "x{e<=1}"]


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


class TestInference:
    """Key columns of foreign tables."""

    @pytest.mark.parametrize("name", KEY_COLUMNS)
    def test_every_known_column_is_taken_in_any_case(self, name):
        assert key_column(["adm2", name], None, "t", "s") == name
        assert key_column(["adm2", name.upper()], None, "t", "s") == name.upper()

    def test_the_first_known_one_wins_whatever_the_tables_order(self):
        assert key_column(["content_id", "src", "filename", "clip_id"], None, "t", "s") == "clip_id"

    def test_two_columns_that_differ_in_case_alone_are_ambiguous(self, bench):
        bench.features(Key=["a"], KEY=["b"])
        bench.labels(label("a", 3))
        error = bench.refused()
        assert error.what.endswith("the key column is ambiguous")
        assert (error.found, error.next_step) == ("columns Key, KEY", "set feature_key_column to the one that is meant")
        assert bench.join(feature_key_column="Key").match_rate == 1.0

    def test_a_csv_with_one_name_twice_is_ambiguous(self, bench):
        path = bench.folder / "labels.csv"
        path.write_text("key,key,mos\na,b,3\n")
        bench.label_files.append(path)
        assert bench.refused().found == "more than one column named key"

    def test_an_absent_key_column_is_told_with_those_there_are(self, bench):
        bench.features(id=["a"], adm2=[0.1])
        bench.labels(label("a", 3))
        error = bench.refused()
        assert error.found == "columns id, adm2"
        assert error.expected == f"a key column, one of {', '.join(KEY_COLUMNS)}"
        assert error.next_step == "set feature_key_column"
        bench.features(key=["a"])
        assert bench.refused(label_key_column="nope").next_step == "set label_key_column"

    def test_a_column_of_lists_is_no_key(self, bench):
        bench.features(key=[["a"]])
        bench.labels(label("a", 3))
        assert bench.refused().found == "values of type List(String)"


class TestNormalizing:
    """What of a key is compared."""

    @pytest.mark.parametrize(
        ("normalize", "found"),
        [
            ("raw", ["a/b/c.mp4", "c\\d.mp4", "Mont._Education_1", "x.y.webm", ".mp4", "dir/"]),
            ("basename", ["c.mp4", "d.mp4", "Mont._Education_1", "x.y.webm", ".mp4", None]),
            ("stem", ["c", "d", "Mont._Education_1", "x.y", None, None]),
        ],
    )
    def test_folders_and_extensions_go_and_dots_in_stems_stay(self, normalize, found):
        keys = pl.Series(["a/b/c.mp4", "c\\d.mp4", "Mont._Education_1", "x.y.webm", ".mp4", "dir/"])
        assert normalized(keys, KeyRule("k", normalize, None, "s")).to_list() == found

    @pytest.mark.parametrize(
        ("column", "meant"),
        [("key", "raw"), ("video_id", "raw"), ("source", "raw"), ("content_id", "raw"), ("clip_key", "raw")]
        + [(name, "basename") for name in ("clip_name", "FileName", "basename", "src", "dis_path", "file_name")],
    )
    def test_auto_looks_for_path_file_name_or_src_in_the_columns_name(self, column, meant):
        assert KeyRule(column, "auto", None, "s").resolved == meant

    def test_labels_that_fall_together_without_their_folders_conflict(self, bench):
        bench.features(path=["a/1.mp4", "b/1.mp4"])
        bench.labels(label("a/1.mp4", 2), label("b/1.mp4", 4))
        error = bench.refused()
        assert str(error).startswith("conflicting MOS labels for '1.mp4': 2.0 in ")
        assert "set key_normalize to raw" in error.next_step
        assert [r["mos"] for r in bench.joined(key_normalize="raw")] == [2.0, 4.0]

    def test_101_and_101_point_0_and_its_text_are_one_key(self, bench):
        bench.features(key=pa.array([101.0, 7.5, None]))
        bench.labels(label(101, 3), label("7.5", 3))
        assert [r["mos"] for r in bench.joined(min_match_rate=0.5)] == [3.0, 3.0, None]

    @pytest.mark.parametrize(
        ("of_features", "of_labels"),
        [
            (" a.mp4", "a.mp4"),
            ("a.mp4", "a.mp4 \t"),
            ("a.mp4\r", "a.mp4"),
            ("caf\u00e9.mp4", "cafe\u0301.mp4"),
            ("10008004183.0", "10008004183"),
            ("10008004183", "10008004183.00"),
            ("007.0", "007"),
        ],
    )
    def test_what_only_looks_otherwise_is_one_key(self, of_features, of_labels, bench):
        bench.features(key=[of_features])
        bench.labels(label(of_labels, 3))
        (row,) = bench.joined()
        assert (row["key"], row["mos"]) == (of_features, 3.0)

    @pytest.mark.parametrize("other", ["10008004183.5", "10008004183.0.1", "v1.0", "1E10", "10008004183.0.mp4", "a b"])
    def test_other_keys_stay_as_they_are(self, other):
        assert normalized(pl.Series([other]), KeyRule("key", "raw", None, "s")).to_list() == [other]

    @pytest.mark.parametrize("lost", ["1.00E+10", "1E+10", "1,00E+10", "1.00080041e+10", "a/1.00E+10.mp4", " 1.00E+10"])
    @pytest.mark.parametrize("side", ["features", "labels"])
    @pytest.mark.parametrize("normalize", ["auto", "stem"])
    def test_a_key_whose_digits_a_spreadsheet_lost_is_refused_by_name(self, lost, side, normalize, bench):
        mine, theirs = ([lost, "b"], ["a", "b"]) if side == "features" else (["a", "b"], [lost, "b"])
        bench.features(key=mine)
        bench.labels(*(label(key, 3) for key in theirs))
        error = bench.refused(min_match_rate=0.1, key_normalize=normalize, label_key_regex="(.+)")
        assert error.what == f"1 keys of the {side} in column {'key' if side == 'features' else 'src'!r}"
        assert error.found == f"{lost.strip()}, saved by a spreadsheet: digits are lost"


class TestRegex:
    """Patterns in both engines."""

    @pytest.mark.parametrize(
        "pattern",
        [
            *("([0-9]{6,})", "[0-9]+", r"\d{2,}", r"(\d+)", r"\w+", r"(?:ab)+", r"^(\w+?)_", r"_(\d+)\.mp4$", r"a*b"),
            *(r"\bx\b", "(a)|(b)", r"[^/]+$", r"\.", r"(?P<id>[0-9]+)", r"x|a", r"[\w.-]+", r"\D+", "a+?", "(x?)", "."),
            *(r"[\d-]+", r"\(d\)", r"\$1", r"(?:a|b)c", "(a|ab)(c|bcd)?", r"[a-z-9]", "^$", r"\\d", "{", "a{2", "}"),
            *(
                r"(?<=_)[0-9]+",
                r"(a)\1",
                "(?i)CLIP",
                r"(a+)b",
                "(a*)*b",
                "(?:a|b*)*",
                r"\s",
                r"\Z",
                "(?!x)a",
                "é",
                "[ſK]",
            ),
            *("a++b", "(?>a+)b", "x{,2}", r"[^\d]+", "[]a]+", "(?#c)a", "[ſK]", r"\x61", r"(\d)(?(1)b|c)", "(a|b)+"),
            *(
                "x{e<=1}",
                "x{}",
                "[a[:digit:]+",
                "[]_[]1",
                r"[\]\[_]1",
                r"x\{",
                r"\w+",
                r"\W",
                r"a\sb",
                r"[^\W_]+",
                "(?i)K",
                "²",
                r"\N{DIGIT ONE}",
                r"\Bx",
            ),
        ],
    )
    @pytest.mark.parametrize("keys", [PLAIN, PLAIN + ODD], ids=["plain", "odd"])
    def test_it_finds_what_pythons_re_finds(self, pattern, keys):
        program = re.compile(pattern)
        matches = [program.search(key) for key in keys]
        expected = [(m.group(1 if program.groups else 0) or None) if m else None for m in matches]
        assert extract(pl.Series(keys), pattern, "feature_key_regex").to_list() == expected

    @pytest.mark.parametrize("pattern", ["([0-9]{6,})", r"\d+", r"_(\w+)\.mp4$", "(?:ab)+c", r"[^/]+$"])
    def test_ordinary_patterns_run_on_the_engine_that_cannot_hang(self, pattern):
        assert same_in_polars(pattern)

    @pytest.mark.parametrize("pattern", ["(?<=_)a", r"(a)\1", "(a+)+", "(?i)a", "a{,2}", r"\s", "x++", "(a|b)*"])
    def test_others_run_under_a_time_limit(self, pattern):
        assert not same_in_polars(pattern)

    def test_what_is_too_large_for_the_engine_runs_outside_it(self):
        pattern = "[a-z]{900}[0-9]{900}[a-z]{900}"
        key = "a" * 900 + "1" * 900 + "b" * 900
        assert extract(pl.Series([key, "x"]), pattern, "s").to_list() == [key, None]

    @pytest.mark.parametrize("on_main_thread", [True, False])
    def test_a_catastrophic_pattern_ends_in_an_error_that_names_it_and_the_key_on_any_thread(self, on_main_thread):
        pattern, endless = "^((?:a|aa)+)$", "a" * 60 + "!"
        results: list[object] = []

        def work() -> None:
            try:
                extract(pl.Series(["fine", endless]), pattern, "label_key_regex", limit_s=0.2)
            except LabelError as error:
                results.extend([error.what, error.found])
            results.append(extract(pl.Series(["b", "aa"]), pattern, "s", limit_s=0.2).to_list())

        if on_main_thread:
            work()
        else:
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
        assert results == [
            "label_key_regex '^((?:a|aa)+)$'",
            f"no answer within 0.2 s on the key {endless!r}",
            [None, "aa"],
        ]

    def test_nested_repetition_that_re_would_try_endlessly_is_answered_where_regex_sees_through_it(self):
        assert extract(pl.Series(["a" * 60 + "!", "aa"]), "^(a+)+$", "s").to_list() == [None, "aa"]

    def test_the_limit_is_for_many_keys_together(self):
        keys = pl.Series([f"{'a' * 26}{i}!" for i in range(900)])
        begun = monotonic()
        with pytest.raises(LabelError, match=r"no answer within 0\.3 s"):
            extract(keys, "^(a|aa)+$", "s", limit_s=0.3)
        assert monotonic() - begun < 10

    def test_lookaround_is_searched_on_any_thread(self):
        parts: list[object] = []
        thread = threading.Thread(target=lambda: parts.extend(extract(pl.Series(["a_12"]), "(?<=_)[0-9]+", "s")))
        thread.start()
        thread.join()
        assert parts == ["12"]

    def test_ids_join_names_and_per_frame_rows_keep_their_order(self, bench):
        bench.features(key=[f"konvid_{1_000_000 + i % 3}_frame{i}" for i in range(9)])
        bench.labels(*(label(f"clips/{1_000_000 + i}.mp4", 2 + i) for i in range(3)))
        rows = bench.joined(feature_key_regex="([0-9]{6,})", label_key_regex="([0-9]{6,})")
        assert [r["mos"] for r in rows] == [2.0, 3.0, 4.0] * 3

    def test_a_key_without_match_is_unlabelled_and_joins_no_other_such_key(self, bench):
        bench.features(key=["a1", "none", ""])
        bench.labels(label("1", 3), label("nothing", 4))
        rows = bench.joined(feature_key_regex="[0-9]+", label_key_regex="[0-9]*", min_match_rate=0.3)
        assert [r["mos_label_status"] for r in rows] == ["ok", "missing-label", "missing-label"]

    @pytest.mark.parametrize("side", ["feature_key_regex", "label_key_regex"])
    def test_an_invalid_pattern_is_refused_before_any_work(self, side, bench):
        bench.label_files.append(bench.folder / "not there.jsonl")
        error = bench.refused(**{side: "([0-9]"})
        assert error.what == f"{side} '([0-9]'"
        assert "missing ), unterminated subpattern" in error.found

    @pytest.mark.parametrize("side", ["feature_key_regex", "label_key_regex"])
    def test_a_pattern_that_finds_nothing_is_named_with_keys_it_was_searched_in(self, side, bench):
        bench.features(key=["a.mp4"])
        bench.labels(label("a.mp4", 3))
        error = bench.refused(**{side: "([0-9]{6,})"})
        assert error.what == f"{side} '([0-9]{{6,}})'"
        assert "such as ['a.mp4']" in error.found
