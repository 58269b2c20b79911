"""Votes of single raters: the long form and the wide form give the same scores."""

import json
import statistics

import pyarrow.parquet as pq
import pytest

from vqa_assets.corpora.opinions import ci95_half_width
from vqa_assets_tests.shared.label_tables import Bench

VOTES = {"a": {"r1": 4, "r2": 5, "r3": 3}, "b": {"r1": 1, "r2": 2}, "c": {"r3": 5}}


@pytest.fixture
def bench(tmp_path):
    found = Bench(tmp_path)
    found.features(key=["a", "b", "c"])
    return found


def long_form(bench, votes=VOTES, name="vote"):
    rows = [{"key": k, "rater": r, name: v} for k, given in votes.items() for r, v in given.items()]
    return bench.labels(*rows)


def wide_form(bench, votes=VOTES):
    path = bench.folder / "votes.csv"
    raters = sorted({r for given in votes.values() for r in given})
    lines = [",".join([k, *(str(given.get(r, "")) for r in raters)]) for k, given in votes.items()]
    path.write_text("\n".join([",".join(["key", *raters]), *lines]) + "\n")
    bench.label_files.append(path)
    return path


@pytest.mark.parametrize(
    ("write", "settings"),
    [(long_form, {"rater_column": "rater"}), (wide_form, {"vote_columns": ("r*",)})],
    ids=["long", "wide"],
)
class TestForms:
    """Both forms."""

    def test_votes_become_mean_sample_sd_count_and_interval(self, write, settings, bench):
        write(bench)
        found = {r["key"]: r for r in bench.joined(**settings)}
        for key, given in VOTES.items():
            votes = list(given.values())
            sd = statistics.stdev(votes) if len(votes) > 1 else 0.0
            interval = ci95_half_width(sd, len(votes)) if len(votes) > 1 else None
            row = found[key]
            assert row["mos"] == pytest.approx(statistics.fmean(votes))
            assert row["mos_raw_0_100"] == pytest.approx((statistics.fmean(votes) - 1) * 25)
            assert (row["mos_std_dev"], row["mos_n_ratings"]) == (pytest.approx(sd), len(votes))
            assert row["mos_ci95"] == (interval if interval is None else pytest.approx(interval))

    def test_votes_on_0_100_are_mapped_with_their_sd(self, write, settings, bench):
        write(bench, {k: {r: 20 * v for r, v in given.items()} for k, given in VOTES.items()})
        row = bench.joined(**settings)[0]
        assert (row["mos_raw_0_100"], row["mos"]) == (80, pytest.approx(4.2))
        assert row["mos_std_dev"] == pytest.approx(20 / 25)

    def test_a_vote_off_the_scale_is_named(self, write, settings, bench):
        path = write(bench, VOTES | {"c": {"r3": 5.5}})
        error = bench.refused(**settings, mos_scale="1-5-acr")
        assert "5.5 on 1-5-acr" in error.found
        assert str(path) in error.found

    def test_an_interval_the_features_have_is_not_replaced_unasked(self, write, settings, bench):
        write(bench)
        bench.features(key=["a", "b", "c"], mos_ci95=[9.0] * 3)
        assert "existing MOS columns: mos_ci95" in str(bench.refused(**settings))
        assert bench.joined(**settings, overwrite=True)[0]["mos_ci95"] != 9.0


class TestLong:
    """A row is one vote."""

    def test_a_vote_told_twice_counts_once_and_two_of_one_rater_conflict(self, bench):
        path = long_form(bench)
        path.write_text(path.read_text() + json.dumps({"key": "b", "rater": "r2", "vote": 2}) + "\n")
        assert bench.joined(rater_column="rater")[1]["mos_n_ratings"] == 2
        path.write_text(path.read_text() + json.dumps({"key": "b", "rater": "r2", "vote": 3}) + "\n")
        error = bench.refused(rater_column="rater")
        assert error.found == f"'r2' on 'b', first in {path}:5"
        assert error.expected == "one vote a rater and clip"

    def test_names_that_two_corpora_share_are_no_repeated_session(self, bench):
        path = long_form(bench)
        votes = [json.loads(line) for line in path.read_text().splitlines()]
        of_two = [
            vote | {"corpus": corpus, "vote": 6 - vote["vote"] if corpus == "lsvq" else vote["vote"]}
            for corpus in ("konvid-1k", "lsvq")
            for vote in votes
        ]
        path.write_text("".join(json.dumps(vote) + "\n" for vote in of_two))
        told = str(bench.refused(rater_column="rater"))
        assert told.startswith("conflicting MOS labels")
        assert "set corpus" in told
        assert bench.joined(rater_column="rater", corpus="lsvq")[1]["mos_n_ratings"] == 2

    @pytest.mark.parametrize("change", [{"vote": None}, {"vote": "good"}, {"vote": True}, {"rater": None}])
    def test_a_row_without_vote_or_rater_is_named(self, change, bench):
        path = long_form(bench)
        path.write_text(path.read_text() + json.dumps({"key": "c", "rater": "r9", "vote": 3} | change) + "\n")
        assert f"{path}:7" in bench.refused(rater_column="rater").found

    def test_a_rater_column_that_is_not_there_is_told(self, bench):
        long_form(bench)
        assert bench.refused(rater_column="judge").expected == "the rater column 'judge'"

    def test_the_vote_column_may_be_named(self, bench):
        long_form(bench, name="stars")
        assert bench.refused(rater_column="rater").expected.startswith(
            "a MOS column, one of vote, rating, opinion, mos"
        )
        assert bench.joined(rater_column="rater", label_mos_column="stars")[0]["mos"] == 4.0

    def test_without_a_rater_column_rows_of_one_key_are_no_votes_and_conflict(self, bench):
        long_form(bench, name="mos")
        assert str(bench.refused()).startswith("conflicting MOS labels for 'a'")


class TestWide:
    """A column is one rater."""

    def test_a_cell_that_holds_no_number_is_named_with_its_column(self, bench):
        path = wide_form(bench)
        path.write_text("key,r1,r2\na,4,\nb,x,3\nc,1,n/a\n")
        assert bench.refused(vote_columns=("r*",)).found == f"{path}: row 2: r1 'x'; {path}: row 3: r2 'n/a'"

    def test_a_pattern_that_names_no_column_and_columns_without_votes_are_told(self, bench):
        path = wide_form(bench)
        assert bench.refused(vote_columns=("q*",)).expected == "a column of votes 'q*'"
        path.write_text("key,r1\na,\n")
        assert bench.refused(vote_columns=("r1",)).found == "1 empty columns: r1"

    def test_a_rater_who_voted_late_in_a_file_of_objects_counts(self, bench):
        keys = [f"k{i}" for i in range(1_100)]
        bench.features(key=keys)
        votes = [{"key": key, "r1": 3} for key in keys]
        bench.labels(*votes[:-1], votes[-1] | {"r2": 5})
        assert bench.joined(vote_columns=("r*",))[-1]["mos_n_ratings"] == 2

    def test_both_forms_at_once_are_refused(self, bench):
        wide_form(bench)
        assert bench.refused(vote_columns=("r*",), rater_column="rater").found == "both are set"

    def test_identity_beside_the_votes_comes_along(self, bench):
        path = wide_form(bench)
        path.write_text("key,content_id,split,r1,r2\na,c1,train,4,5\nb,c2,val,1,2\nc,c3,test,3,3\n")
        bench.join(vote_columns=("r1", "r2"))
        rows = pq.read_table(bench.out).to_pylist()
        assert [(r["content_id"], r["split"], r["mos"]) for r in rows] == [
            ("c1", "train", 4.5),
            ("c2", "val", 1.5),
            ("c3", "test", 3.0),
        ]
