"""Votes of generated raters whose biases, inconsistencies and spam are known: what the models make of them."""

import json
import logging
import statistics

import numpy as np
import pytest

from vqa_assets.labels.labelled import make_labelled_table
from vqa_assets.labels.settings import LabelPaths, LabelSettings
from vqa_assets.labels.votes import Votes, scores_of
from vqa_assets.provenance import RunContext
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.label_tables import Bench

SCALE = (1.0, 5.0)
CLIPS, RATERS = 40, 16


def generated(seed=0, spammers=1, seen=1.0, clips=CLIPS, raters=RATERS):
    """True scores, biases and inconsistencies, and the matrix of votes (clips, raters), NaN where one did not vote."""
    rng = np.random.default_rng(seed)
    true = rng.uniform(1.8, 4.2, clips)
    bias = rng.normal(0, 0.4, raters)
    bias -= bias.mean()
    spread = rng.uniform(0.3, 0.6, raters)
    votes = true[:, None] + bias + spread * rng.normal(size=(clips, raters))
    votes[:, :spammers] = rng.uniform(1, 5, (clips, spammers))
    votes[rng.random(votes.shape) > seen] = np.nan
    return true, bias, votes


def long(votes):
    clip, rater = np.nonzero(np.isfinite(votes))
    return Votes(votes[clip, rater], rater, clip)


def model(votes, name):
    return scores_of(long(votes), *votes.shape, name, SCALE)


def error(scores, true):
    return float(np.sqrt(np.mean((scores - true) ** 2)))


class TestBias:
    """Bias and inconsistency."""

    def test_biases_a_spammer_and_missing_votes_cost_less_than_in_the_mean(self):
        true, _, votes = generated(10, spammers=3, seen=0.4)
        corrected, plain = model(votes, "bias"), model(votes, "mos")
        assert error(corrected.score, true) < 0.8 * error(plain.score, true)
        assert corrected.count.tolist() == plain.count.tolist()
        assert not len(corrected.raters_left_out)

    @pytest.mark.parametrize("seen", [1.0, 0.7])
    def test_the_scores_are_those_of_the_published_iteration(self, seen):
        votes = generated(seen=seen)[2]
        # ITU-T P.913 12.6 and Li et al. 2020, with loops over a matrix
        score = np.nanmean(votes, axis=1)
        bias = np.nanmean(votes - score[:, None], axis=0)
        for _ in range(200):
            spread = np.nanstd(votes - score[:, None] - bias, axis=0)
            for j, given in enumerate(votes):
                known = np.isfinite(given)
                score[j] = np.average((given - bias)[known], weights=spread[known] ** -2.0)
            bias = np.nanmean(votes - score[:, None], axis=0)
        score += bias.mean()
        found = model(votes, "bias")
        np.testing.assert_allclose(found.score, score, atol=1e-6)
        certain = np.where(np.isfinite(votes), spread**-2.0, 0).sum(axis=1)
        np.testing.assert_allclose(found.ci95, 1.959964 / np.sqrt(certain), rtol=1e-5)

    def test_no_scores_near_them_are_more_likely(self):
        votes = generated(spammers=0, seed=3)[2]

        def unlikelihood(score, bias, spread):
            return float(np.sum((votes - score[:, None] - bias) ** 2 / 2 / spread**2 + np.log(spread)))

        score = model(votes, "bias").score
        bias, spread = (votes - score[:, None]).mean(axis=0), (votes - score[:, None]).std(axis=0)
        best, rng = unlikelihood(score, bias, spread), np.random.default_rng(0)
        for size in (1e-3, 1e-2):
            for _ in range(50):
                changes = (size * rng.normal(size=len(of)) for of in (score, bias, spread))
                moved = (of + change for of, change in zip((score, bias, spread), changes, strict=True))
                assert unlikelihood(*moved) > best

    def test_raters_of_two_votes_are_left_out_and_a_clip_of_theirs_alone_has_no_score(self):
        votes = np.vstack([generated(spammers=0)[2], np.full((1, RATERS), np.nan)])
        few = np.full((CLIPS + 1, 1), np.nan)
        few[[0, CLIPS]] = 5.0
        found = model(np.hstack([votes, few]), "bias")
        assert found.raters_left_out.tolist() == [RATERS]
        assert np.isnan(found.score).tolist() == [False] * CLIPS + [True]
        assert found.count[CLIPS] == 0
        np.testing.assert_allclose(found.score[:CLIPS], model(votes[:CLIPS], "bias").score)

    def test_one_rater_who_is_right_by_chance_does_not_outvote_the_others(self):
        """With two raters a clip the likelihood has no bound: one of them would be taken for exact."""
        true, _, votes = generated(spammers=0, raters=2)
        assert error(model(votes, "bias").score, true) < 1.3 * error(model(votes, "mos").score, true)

    def test_raters_without_a_common_clip_are_two_experiments(self):
        _, _, one = generated(spammers=0, seed=1)
        _, _, other = generated(spammers=0, seed=2)
        nobody = np.full_like(one, np.nan)
        both = model(np.block([[one, nobody], [nobody, other + 0.5]]), "bias")
        np.testing.assert_allclose(both.score[:CLIPS].mean(), model(one, "bias").score.mean(), atol=0.01)
        np.testing.assert_allclose(both.score[CLIPS:].mean(), model(other + 0.5, "bias").score.mean(), atol=0.01)

    def test_a_score_that_biases_put_off_the_scale_stands_at_its_end_and_is_counted(self):
        votes = np.tile(np.linspace(1, 4, 10)[:, None], (1, 4))
        votes[:, 0] += 1.0
        votes[0] = [np.nan, 1.0, np.nan, np.nan]
        votes[9] = [5.0, np.nan, np.nan, np.nan]
        votes[5] = [1.0, np.nan, np.nan, np.nan]
        found = model(votes, "bias")
        assert found.at_an_end >= 1
        assert found.score.min() == 1.0

    def test_raters_who_always_agree_have_their_common_score(self):
        votes = np.tile(np.linspace(1, 5, 9)[:, None], (1, 5))
        np.testing.assert_allclose(model(votes, "bias").score, votes[:, 0])


class TestScreening:
    """ITU-R BT.500."""

    def by_hand(self, votes):
        """The same by one loop a vote."""
        above, below = np.zeros(votes.shape[1]), np.zeros(votes.shape[1])
        for given in votes:
            known = [v for v in given if np.isfinite(v)]
            mean, sd = statistics.fmean(known), statistics.stdev(known)
            kurtosis = np.mean([(v - mean) ** 4 for v in known]) / np.mean([(v - mean) ** 2 for v in known]) ** 2
            limit = sd * (2 if 2 <= kurtosis <= 4 else 20**0.5)
            for i, vote in enumerate(given):
                above[i] += vote >= mean + limit
                below[i] += vote <= mean - limit
        outliers, own = above + below, np.isfinite(votes).sum(axis=0)
        return [i for i in range(len(own)) if outliers[i] / own[i] > 0.05 and abs(above - below)[i] / outliers[i] < 0.3]

    @pytest.mark.filterwarnings("ignore:invalid value")
    @pytest.mark.parametrize("seed", range(6))
    def test_those_are_screened_out_whom_a_loop_over_the_votes_screens_out(self, seed):
        _, _, votes = generated(seed, spammers=2, seen=0.9, clips=60)
        found = model(votes, "bt500")
        assert found.raters_left_out.tolist() == self.by_hand(votes)

    def test_a_spammer_goes_and_a_biased_rater_stays(self):
        true, _, votes = generated(10)
        votes[:, 1] = true + 1.2
        found = model(votes, "bt500")
        assert found.raters_left_out.tolist() == [0]
        kept = votes[:, 1:]
        np.testing.assert_allclose(found.score, kept.mean(axis=1))
        np.testing.assert_allclose(found.sd, kept.std(axis=1, ddof=1))
        assert set(found.count) == {RATERS - 1}

    def test_where_all_agree_nobody_is_an_outlier(self):
        assert not len(model(np.full((20, 10), 3.0), "bt500").raters_left_out)


def file_of(bench, votes, **columns):
    """The votes as a file of one row a vote, and features of the same clips."""
    bench.features(key=[f"k{i}" for i in range(len(votes))])
    rows = [
        {"key": f"k{i}", "rater": f"r{r}", "vote": float(votes[i, r]), **columns} for i, r in np.argwhere(votes < 9)
    ]
    return bench.labels(*rows, name="votes.jsonl")


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


@pytest.mark.parametrize("name", ["mos", "bt500", "bias"])
def test_the_labelled_table_has_the_models_scores_and_the_audit_counts_who_was_left_out(bench, name, caplog):
    votes = np.clip(generated(10)[2], 1, 5)
    file_of(bench, votes)
    paths = LabelPaths(bench.folder / "features.parquet", tuple(bench.label_files), bench.out, bench.folder / "a.json")
    settings = LabelSettings(rater_column="rater", vote_model=name, mos_scale="1-5-acr")
    with caplog.at_level(logging.WARNING):
        make_labelled_table(paths, settings, RunContext(DataRoot(bench.folder), {}, bench.out))
    expected = model(votes, name)
    rows = bench.joined(**settings.values())
    for column, values in (("mos", expected.score), ("mos_std_dev", expected.sd), ("mos_ci95", expected.ci95)):
        np.testing.assert_allclose([row[column] for row in rows], values, err_msg=column)
    np.testing.assert_allclose([row["mos_raw_0_100"] for row in rows], (expected.score - 1) * 25)
    assert [row["mos_n_ratings"] for row in rows] == expected.count.tolist()
    audit = json.loads((bench.folder / "a.json").read_text())["label_files"][0]["votes"]
    left_out = int(name == "bt500")
    assert audit == {
        "model": name,
        "raters": RATERS,
        "raters_left_out": left_out,
        "votes": votes.size,
        "votes_left_out": left_out * CLIPS,
        "clips_without_score": 0,
        "scores_at_an_end": expected.at_an_end,
    }
    assert ("vote_model bt500 leaves out 1 of 16 raters: r0" in caplog.text) == bool(left_out)


def test_both_forms_of_a_file_give_the_same_scores(bench):
    votes = generated(10)[2].clip(1, 5)
    file_of(bench, votes)
    by_row = bench.joined(rater_column="rater", vote_model="bt500")
    bench.label_files.clear()
    bench.labels(*({"key": f"k{i}", **{f"r{r}": v for r, v in enumerate(row)}} for i, row in enumerate(votes.tolist())))
    by_column = bench.joined(vote_columns=("r*",), vote_model="bt500")
    assert [row["mos"] for row in by_row] == pytest.approx([row["mos"] for row in by_column])


def test_raters_of_two_corpora_in_one_file_are_two_experiments(bench):
    one, other = generated(1, spammers=0)[2].clip(1, 5), generated(10)[2].clip(1, 5)
    file_of(bench, np.vstack([one, other]))
    rows = [json.loads(line) for line in bench.label_files[0].read_text().splitlines()]
    for row in rows:
        row["corpus"] = "lsvq" if int(row["key"][1:]) < CLIPS else "konvid-1k"
    bench.label_files.clear()
    bench.labels(*rows, name="both.jsonl")
    joined = bench.joined(rater_column="rater", vote_model="bt500", mos_scale="1-5-acr")
    expected = [*model(one, "bt500").score, *model(other, "bt500").score]
    np.testing.assert_allclose([row["mos"] for row in joined], expected)


def test_a_clip_that_only_raters_left_out_have_seen_is_missing_its_label(bench):
    votes = np.clip(generated(10)[2], 1, 5)
    votes[0, 1:] = np.nan
    file_of(bench, votes)
    rows = bench.joined(rater_column="rater", vote_model="bt500", min_match_rate=0.9)
    assert [row["mos_label_status"] for row in rows[:2]] == ["missing-label", "ok"]


def test_a_model_of_votes_wants_votes_and_some_that_count(bench):
    bench.labels({"src": "a.mp4", "mos": 3.0})
    told = bench.refused(vote_model="bt500")
    assert (told.found, told.expected) == (
        "labels that are scores",
        "single raters' votes: rater_column or vote_columns",
    )
    bench.label_files.clear()
    file_of(bench, np.array([[3.0, 4.0], [2.0, 5.0]]))
    told = bench.refused(rater_column="rater", vote_model="bias", mos_scale="1-5-acr")
    assert told.found == "2 of 2 raters left out, with 4 votes"
