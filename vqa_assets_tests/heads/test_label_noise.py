"""Scores have errors of their own: the weights of clips, τ², the ceilings, and which of two ways ships."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import Ridge

from vqa_assets.assets.heads import _metadata
from vqa_assets.errors import SettingsError, TrainingError
from vqa_assets.feature_names import KONVID_V1
from vqa_assets.heads.build import BuiltHead, build_head
from vqa_assets.heads.card import render_card
from vqa_assets.heads.judging.label_errors import ceiling, error_variance, errors_of
from vqa_assets.heads.label_noise import UNWEIGHTED, WEIGHTED, decided, left_out_residuals, noise_weights
from vqa_assets.heads.members.method import HeadRows, TrainingRows
from vqa_assets.heads.members.model import predict
from vqa_assets.heads.members.training import TorchTrainer
from vqa_assets.heads.members.training_job import Job, read_job, write_job
from vqa_assets.heads.recipe import KONVID_MOS_HEAD_V1
from vqa_assets.heads.rows.reading import TrainingTable, read_training_table
from vqa_assets.heads.rows.synthetic import synthetic_table
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets_tests.shared.head_tables import FACTS, labelled, quiet, written
from vqa_assets_tests.shared.platform import shown_rows

QUICK = TrainingSettings(epochs=2, device="cpu", protocol_splits=0)
RNG = np.random.default_rng(5)


def noisy(rows: int, seed: int = 0) -> pl.DataFrame:
    """Clips of which half have a score of 4 opinions, whose errors are large, and half one of 100."""
    frame, rng = labelled(rows, seed), np.random.default_rng(seed + 1)
    sd, count = np.full(rows, 1.2), np.where(np.arange(rows) % 4 < 2, 4, 100)
    mos = frame["mos"].to_numpy() + sd / np.sqrt(count) * rng.standard_normal(rows)
    return frame.with_columns(mos=np.clip(mos, 1, 5), mos_std_dev=sd, mos_n_ratings=pl.Series(count, dtype=pl.Int64))


def build(table: Path, settings: TrainingSettings = QUICK, say=quiet, trainer=None) -> BuiltHead:
    return build_head(KONVID_MOS_HEAD_V1, {"konvid-1k": table}, FACTS, settings, trainer or TorchTrainer(), say)


def ignored(*_: object) -> None:
    """A progress that nobody watches."""


class Recorded(TorchTrainer):
    """A trainer that keeps what it was asked for: per call the heads, and the corpora's weights."""

    def __init__(self, *, trains: bool = True) -> None:
        super().__init__()
        self.trains = trains
        self.calls: list = []

    def train(self, data, heads, settings, progress):
        self.calls.append((list(heads), data.weights))
        if not self.trains:
            raise TrainingError("seen enough")
        return super().train(data, heads, settings, progress)


def synthetic(rows: int = 120, **changes) -> TrainingTable:
    return replace(synthetic_table(KONVID_V1, rows=rows, seed=1), synthetic=False, **changes)


def opinions(sd, count, rows: int = 120) -> dict[str, np.ndarray]:
    """SDs and numbers of opinions, one or ``rows`` of each."""
    each = {"opinion_sd": sd, "opinion_count": count}
    return {name: np.broadcast_to(np.asarray(value, np.float32), rows) for name, value in each.items()}


class TestErrors:
    """What is known of a score's error."""

    def test_the_variance_of_a_scores_error_is_that_of_its_opinions_over_their_number(self):
        np.testing.assert_allclose(error_variance([0.6, 1.0], [9, 25], 4.0), [0.04, 0.04])

    @pytest.mark.parametrize(
        ("sd", "count"),
        [(0.0, 10), (math.nan, 10), (math.inf, 10), (-0.5, 10), (0.5, 1), (0.5, 0), (0.5, math.nan), (0.5, math.inf)],
    )
    def test_an_sd_of_0_and_a_count_of_1_or_none_say_nothing(self, sd, count):
        assert np.isnan(error_variance([sd], [count], 4.0)).all()

    def test_an_sd_larger_than_opinions_on_the_scale_can_have_is_unknown(self):
        # half at 1, half at 5: 2 · √(n / (n − 1))
        largest = float(np.std([1, 1, 5, 5], ddof=1))
        assert np.isfinite(error_variance([largest], [4], 4.0)).all()
        assert np.isnan(error_variance([largest * 1.05, 14.0], [4, 4], 4.0)).all()
        assert np.isfinite(error_variance([14.0], [4], 100.0)).all()

    def test_sd_and_count_come_with_the_rows_and_are_nan_where_they_are_not_known(self, tmp_path):
        frame = noisy(40).with_columns(
            mos_std_dev=pl.when(pl.int_range(40) < 3).then(0.0).otherwise("mos_std_dev"),
            mos_n_ratings=pl.when(pl.int_range(40) == 5).then(None).otherwise("mos_n_ratings"),
        )
        table = read_training_table({"konvid-1k": written(frame, tmp_path / "a.parquet")}, KONVID_V1)
        assert np.flatnonzero(np.isnan(errors_of(table))).tolist() == [0, 1, 2, 5]
        assert errors_of(table)[6] == pytest.approx(1.2**2 / 100)
        without = written(frame.drop("mos_n_ratings"), tmp_path / "b.parquet")
        assert np.isnan(errors_of(read_training_table({"konvid-1k": without}, KONVID_V1))).all()

    def test_an_sd_beside_a_score_on_0_to_100_alone_is_brought_to_1_to_5_with_it(self, tmp_path):
        frame = noisy(20)
        raw = frame.select(
            pl.exclude("mos", "mos_std_dev"),
            mos_raw_0_100=(pl.col("mos") - 1) * 25,
            mos_std_dev=pl.col("mos_std_dev") * 25,
        )
        both = [
            errors_of(read_training_table({"konvid-1k": written(one, tmp_path / "a.parquet")}, KONVID_V1))
            for one in (frame, raw)
        ]
        np.testing.assert_allclose(*both, rtol=1e-5)

    def test_of_a_further_score_no_error_is_known(self, tmp_path):
        path = written(noisy(20).with_columns(mos_technical=pl.col("mos")), tmp_path / "a.parquet")
        table = read_training_table({"konvid-1k": path}, KONVID_V1, target="mos_technical")
        assert np.isnan(errors_of(table)).all()

    def test_a_count_in_words_is_refused_by_name(self, tmp_path):
        path = written(noisy(20).with_columns(mos_n_ratings=pl.lit([["many"]])), tmp_path / "a.parquet")
        with pytest.raises(TrainingError, match="mos_n_ratings: List"):
            read_training_table({"konvid-1k": path}, KONVID_V1)


class TestWeights:
    """1 / (SD²/n + τ²), from a head's own training rows."""

    @pytest.mark.parametrize("columns", [3, 40])
    def test_residuals_are_those_of_a_ridge_regression_on_all_other_contents(self, columns):
        x = RNG.standard_normal((30, columns)).astype(np.float32)
        y = (x[:, 0] + 0.3 * RNG.standard_normal(30)).astype(np.float32)
        contents = [f"c{i // 3}" if i < 24 else f"single-{i}" for i in range(30)]
        found = left_out_residuals(x, y, contents)
        wide = x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)
        each = {}
        for penalty in [10.0**e for e in range(-2, 5)]:
            apart = np.empty(30)
            for content in set(contents):
                own = np.array([c == content for c in contents])
                apart[own] = y[own] - Ridge(penalty).fit(wide[~own], y[~own]).predict(wide[own])
            each[penalty] = apart
        best = min(each.values(), key=lambda apart: np.sum(apart**2))
        np.testing.assert_allclose(found, best, atol=1e-5)

    def test_tau2_is_what_the_residual_holds_beyond_the_errors_of_the_scores(self):
        rows = 900
        table = synthetic(
            rows, opinion_sd=np.full(rows, 1.0, np.float32), opinion_count=np.full(rows, 10.0, np.float32)
        )
        x = RNG.standard_normal((rows, 3)).astype(np.float32)
        clean = x @ np.array([0.4, 0.2, -0.3]) + 0.3 * RNG.standard_normal(rows) + 3
        mos = (clean + math.sqrt(0.1) * RNG.standard_normal(rows)).astype(np.float32)
        found = noise_weights(replace(table, features=x, mos=mos), np.arange(rows), 0)
        assert found.tau2 == pytest.approx(0.3**2, rel=0.25)

    def test_a_clip_of_smaller_error_weighs_more_and_one_of_unknown_error_as_the_median(self):
        sd = np.full(120, 1.0, np.float32)
        count = np.where(np.arange(120) % 3 == 0, 4, 50).astype(np.float32)
        sd[:5], count[5:10] = 0, 1
        weights = noise_weights(synthetic(**opinions(sd, count)), np.arange(120), 0)
        assert np.isfinite(weights.of_rows).all()
        assert weights.of_rows.mean() == pytest.approx(1, abs=1e-5)
        known = weights.of_rows[10:]
        few, many = known[count[10:] == 4], known[count[10:] == 50]
        assert few.max() < many.min()
        assert many[0] / few[0] == pytest.approx((1 / 4 + weights.tau2) / (1 / 50 + weights.tau2), rel=1e-4)
        assert set(weights.of_rows[:10]) == {np.median(known)}

    def test_a_vanishing_sd_never_weighs_without_end(self):
        sd = np.full(120, 0.5, np.float32)
        sd[0] = 1e-30
        weights = noise_weights(
            synthetic(opinion_sd=sd, opinion_count=np.full(120, 9.0, np.float32)), np.arange(120), 0
        )
        assert weights.of_rows[0] < 3

    def test_a_heads_weights_depend_on_its_own_training_rows_alone(self):
        sd = RNG.uniform(0.3, 1.5, 120).astype(np.float32)
        table = synthetic(**opinions(sd, 8))
        other = table.mos.copy()
        other[90:] = 6 - other[90:]
        one, two = (noise_weights(t, np.arange(90), 0) for t in (table, replace(table, mos=other, opinion_sd=sd)))
        assert one.tau2 == two.tau2
        assert np.array_equal(one.of_rows, two.of_rows)

    @pytest.mark.parametrize("rows", [np.arange(9), np.arange(12) % 6])
    def test_with_few_rows_or_contents_of_known_error_there_are_none(self, rows):
        table = synthetic(**opinions(0.5, 9))
        assert noise_weights(table, rows, 0) is None


class TestTraining:
    """Where weights go."""

    def test_a_heads_own_weights_are_those_of_the_rows_for_it(self):
        table, rows = synthetic(60), np.arange(10, 60)
        weights = RNG.uniform(0.2, 3, 60).astype(np.float32)
        heads = [
            TorchTrainer()
            .train(TrainingRows(table.features, table.onehot, table.mos, table.groups, of_rows), [head], QUICK, ignored)
            .heads[0]
            for of_rows, head in (
                (weights, HeadRows("a", rows)),
                (None, HeadRows("a", rows, weights=weights[rows])),
                (None, HeadRows("a", rows)),
            )
        ]
        by_rows, by_head, plain = (predict(head, table.features, table.onehot) for head in heads)
        assert np.array_equal(by_rows, by_head)
        assert not np.array_equal(by_head, plain)

    def test_a_job_for_another_process_carries_them(self, tmp_path):
        table = synthetic(30)
        data = TrainingRows(table.features, table.onehot, table.mos, table.groups)
        weights = np.linspace(0.5, 1.5, 30, dtype=np.float32)
        heads = [HeadRows("a", np.arange(30), weights=weights), HeadRows("b", np.arange(20))]
        write_job(tmp_path, Job(data, heads, QUICK))
        found = read_job(tmp_path)
        assert np.array_equal(found.heads[0].weights, weights)
        assert found.heads[1].weights is None


class TestCeiling:
    """How far any head can come."""

    def test_it_is_how_scores_agree_with_the_same_and_their_errors_once_more(self):
        mos = RNG.normal(3, 0.6, 4_000)
        found = ceiling(mos, np.full(4_000, 0.2**2), 0)
        assert found.plcc == pytest.approx(0.6 / math.hypot(0.6, 0.2), abs=0.005)
        assert (found.rows, found.of) == (4_000, 4_000)
        assert found.srocc < found.plcc < 1
        assert found == ceiling(mos, np.full(4_000, 0.2**2), 0)

    def test_it_is_of_the_rows_of_known_error_and_not_known_where_those_are_few(self):
        mos, variance = RNG.normal(3, 0.6, 100), np.full(100, 0.04)
        variance[:40] = math.nan
        assert ceiling(mos, variance, 0).rows == 60
        variance[:51] = math.nan
        assert ceiling(mos, variance, 0) is None

    def test_scores_that_do_not_differ_and_no_scores_have_none(self):
        assert ceiling(np.full(20, 3.0), np.full(20, 0.04), 0) is None
        assert ceiling(np.empty(0), np.empty(0), 0) is None


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    return written(noisy(160), tmp_path_factory.mktemp("tables") / "konvid-1k.parquet")


@pytest.fixture(scope="module")
def trainer() -> Recorded:
    return Recorded()


@pytest.fixture(scope="module")
def told() -> list[str]:
    return []


@pytest.fixture(scope="module")
def built(table, trainer, told) -> BuiltHead:
    return build(table, QUICK.but(protocol_splits=2), told.append, trainer)


class TestHead:
    """A head of rows whose errors are known."""

    def test_folds_are_trained_both_ways_and_the_better_by_srocc_ships(self, built, trainer, told):
        (tried, _), (rest, _) = trainer.calls
        assert [head.name for head in tried] == [f"fold-{k}" for k in range(5)] * 2
        assert [head.weights is None for head in tried] == [True] * 5 + [False] * 5
        noise = built.manifest["label_noise"]
        srocc = {way: noise["same_splits"][way]["srocc"] for way in (WEIGHTED, UNWEIGHTED)}
        assert noise["weighted"] == (srocc[WEIGHTED] > srocc[UNWEIGHTED])
        assert [head.name for head in rest] == ["shipped", "protocol-0", "protocol-1"]
        assert {head.weights is not None for head in rest} == {noise["weighted"]}
        assert (noise["tau2"] is not None) == noise["weighted"]
        chosen = noise["same_splits"][WEIGHTED if noise["weighted"] else UNWEIGHTED]
        assert built.manifest["folds"]["mean"]["srocc"] == pytest.approx(chosen["srocc"])
        assert built.manifest["folds"]["mean"]["plcc"] == pytest.approx(chosen["plcc"])
        assert any(line.startswith("label noise: mean SROCC") for line in told)

    def test_weights_are_off_where_they_are_not_better(self):
        better = {WEIGHTED: {"srocc": 0.81}, UNWEIGHTED: {"srocc": 0.8}}
        assert decided(better).weighted
        for no_better in (0.8, 0.79, math.nan):
            weighing = decided(better | {WEIGHTED: {"srocc": no_better}})
            assert (weighing.weighted, weighing.reason) == (False, "not better on the same splits")

    def test_ceilings_stand_beside_every_figure_in_manifest_card_and_metadata(self, built):
        m = json.loads(json.dumps(built.manifest, allow_nan=False))
        above = m["label_noise"]["ceiling"]
        for place in ("folds", "together", "holdout", "protocol"):
            assert 0.5 < above[place]["srocc"] < 1
            assert 0.5 < above[place]["plcc"] < 1
        assert above["per_corpus"]["konvid-1k"] == above["together"]
        card = render_card(m)
        assert f"| ceiling of the labels (mean) | {above['folds']['rows']} |" in card
        assert f"| ceiling of the labels | {above['protocol']['srocc']:.3f} |" in card
        together = f"SROCC {above['together']['srocc']:.3f}, PLCC {above['together']['plcc']:.3f}"
        assert f"set for SROCC and PLCC: all together {together}, the held-out rows SROCC" in card
        for way, means in m["label_noise"]["same_splits"].items():
            assert f"{way} SROCC {means['srocc']:.3f}, PLCC {means['plcc']:.3f}" in card
        shown = _metadata(m)
        assert shown["srocc_ceiling"] == pytest.approx(above["folds"]["srocc"], abs=1e-4)  # rounded
        assert next(iter(shown)) == "verdict"
        assert shown["verdict"].startswith(m["status"])
        assert list(shown_rows(shown["folds"].value)[0]) == ["name", "rows", "groups", "srocc", "plcc", "rmse"]
        assert shown["label_noise"].endswith("better on the same splits")
        last = shown_rows(shown["protocol"].value)[-1]
        assert (last["predictor"], float(last["srocc"])) == (
            "ceiling of the labels",
            pytest.approx(above["protocol"]["srocc"], abs=1e-3),
        )

    def test_where_sd_or_count_is_not_known_neither_is_the_ceiling_and_nothing_is_tried(self, tmp_path):
        seen = Recorded()
        m = build(written(labelled(60), tmp_path / "a.parquet"), QUICK.but(epochs=1), trainer=seen).manifest
        assert len(seen.calls) == 1
        noise = m["label_noise"]
        assert (noise["rows_known"], noise["weighted"]) == (0, False)
        assert noise["reason"] == "SD and count are known of no row"
        assert noise["ceiling"]["folds"] is noise["ceiling"]["together"] is noise["ceiling"]["protocol"] is None
        assert "*not known*; SD and count are known of 0 of 60 rows" in render_card(m)
        assert _metadata(m)["srocc_ceiling"] == "not known"

    def test_where_all_errors_are_alike_nothing_is_tried(self, tmp_path):
        seen = Recorded()
        alike = labelled(60).with_columns(mos_n_ratings=pl.lit(20))
        noise = build(written(alike, tmp_path / "a.parquet"), QUICK.but(epochs=1), trainer=seen).manifest["label_noise"]
        assert len(seen.calls) == 1
        assert "too much alike" in noise["reason"]
        assert noise["ceiling"]["folds"]["srocc"] < 1

    def test_weights_may_be_forced_on_and_off_and_corpora_keep_theirs(self, table, tmp_path):
        other = written(noisy(60, seed=3), tmp_path / "mine.parquet")
        settings = QUICK.but(extra_tables={"mine": str(other)}, corpus_weights={"mine": 3.0})
        asked = {}
        for word in ("always", "never"):
            seen = Recorded(trains=False)
            with pytest.raises(TrainingError, match="seen enough"):
                build(table, settings.but(label_noise=word), trainer=seen)
            ((asked[word], of_corpora),) = seen.calls
        assert [head.name for head in asked["always"]] == [*(f"fold-{k}" for k in range(5)), "shipped"]
        assert all(head.weights is None for head in asked["never"])
        # both kinds of weight together: three times the mean of 1 in that corpus
        shipped = asked["always"][-1]
        mine = of_corpora[shipped.rows] == 3
        assert shipped.weights[mine].mean() / shipped.weights[~mine].mean() == pytest.approx(3, rel=0.1)

    def test_weights_forced_on_without_sd_and_count_are_an_error(self, tmp_path):
        with pytest.raises(TrainingError) as caught:
            build(written(labelled(40), tmp_path / "a.parquet"), QUICK.but(label_noise="always"))
        assert str(caught.value) == (
            "label_noise: always: SD and count are known of no row, expected mos_std_dev and mos_n_ratings in the "
            "labelled tables; label the features with them, or set label_noise: auto"
        )

    @pytest.mark.parametrize("word", ["on", "", "Auto", True])
    def test_the_setting_is_one_of_three_words(self, word):
        with pytest.raises(SettingsError, match="label_noise"):
            TrainingSettings.of({"label_noise": word}, "")

    def test_test_rows_of_a_given_split_do_not_decide(self, tmp_path):
        seen = Recorded()
        words = pl.when(pl.int_range(100) < 70).then(pl.lit("train")).otherwise(pl.lit("test"))
        path = written(noisy(100).with_columns(split=words), tmp_path / "a.parquet")
        m = build(path, QUICK.but(epochs=1, k_folds=2), trainer=seen).manifest
        tried, rest = (heads for heads, _ in seen.calls)
        assert [head.name for head in tried] == ["choice-0", "choice-1"] * 2
        assert max(int(head.rows.max()) for head in tried) < 70
        assert [head.name for head in rest] == ["test"]
        assert m["folds"]["kind"] == "split"

    def test_an_sd_off_the_scale_is_told(self, tmp_path):
        frame = noisy(60).with_columns(mos_std_dev=pl.when(pl.int_range(60) < 7).then(15.0).otherwise("mos_std_dev"))
        m = build(written(frame, tmp_path / "a.parquet"), QUICK.but(epochs=1, label_noise="never")).manifest
        assert m["label_noise"]["reason"] == "label_noise: never"
        assert (m["label_noise"]["rows_sd_impossible"], m["label_noise"]["rows_known"]) == (7, 53)
        assert "**7 SDs are larger than opinions on this scale can have" in render_card(m)

    def test_sds_in_another_unit_than_the_scores_are_told_before_anything_is_trained(self, tmp_path):
        frame, told = noisy(60).with_columns(mos_std_dev=pl.col("mos_std_dev") * 25 + 3), []

        wrong = ": 60 SDs, up to {}, are larger than opinions from 1 to 5 can have"
        largest = f"{frame['mos_std_dev'].max():.4g}"
        path = written(frame, tmp_path / "a.parquet")
        with pytest.raises(TrainingError, match="seen enough"):
            build(path, QUICK, trainer=Recorded(trains=False), say=told.append)
        assert f"warning: label noise{wrong.format(largest)}" in told[-1]
        with pytest.raises(TrainingError, match="known of no row" + wrong.format(largest)):
            build(path, QUICK.but(label_noise="always"))
