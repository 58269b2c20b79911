"""A head of several corpora learns each one's scale of scores: what it recovers, what ships, and what is said of it."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from vqa_assets.errors import TrainingError
from vqa_assets.feature_names import KONVID_V1
from vqa_assets.heads.build import BuiltHead, build_head
from vqa_assets.heads.card import render_card
from vqa_assets.heads.judging.predictors import head_predictor
from vqa_assets.heads.members.corpus_scales import KNOTS, CorpusScales, numbered
from vqa_assets.heads.members.export import run_onnx
from vqa_assets.heads.members.method import HeadRows, TrainingRows
from vqa_assets.heads.members.model import predict
from vqa_assets.heads.members.training import TorchTrainer
from vqa_assets.heads.members.training_job import Job, read_job, read_result, run_job, write_job, write_result
from vqa_assets.heads.members.weights import HeadWeights, encoder_onehot
from vqa_assets.heads.part_training import train_parts
from vqa_assets.heads.recipe import UNIFIED_MOS_HEAD_V1
from vqa_assets.heads.rows.reading import TrainingTable, read_training_table
from vqa_assets.heads.rows.splitting import Part
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.heads.using import open_head
from vqa_assets_tests.shared.head_tables import FACTS, labelled, quiet, unified

TEN_EPOCHS = TrainingSettings(
    epochs=10, device="cpu", protocol_splits=0, feature_schema="konvid-v1", k_folds=2, lr=0.003
)
REFERENCE, OTHER = "konvid-150k", "konvid-1k"


def strict(mos: pl.Expr) -> pl.Expr:
    """A laboratory whose people hardly ever say more than 3."""
    return 1 + 3.4 * ((mos - 1) / 4) ** 2


def reversed_scores(mos: pl.Expr) -> pl.Expr:
    return 6 - mos


def laboratories(path: Path, other: Any = strict, rows: int = 100) -> dict[str, Path]:
    """The reference, and a second laboratory with another scale, of one law; the second is read first."""
    frames = {OTHER: labelled(rows, seed=1).with_columns(mos=other(pl.col("mos"))), REFERENCE: labelled(140)}
    return unified(frames, path)


def build(tables: dict[str, Path], settings: TrainingSettings = TEN_EPOCHS, said: list[str] | None = None) -> BuiltHead:
    say = quiet if said is None else said.append
    return build_head(UNIFIED_MOS_HEAD_V1, tables, FACTS, settings, TorchTrainer(), say)


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> dict[str, Path]:
    return laboratories(tmp_path_factory.mktemp("laboratories") / "unified_features.parquet")


@pytest.fixture(scope="module")
def lines() -> list[str]:
    """What the build of ``built`` said."""
    return []


@pytest.fixture(scope="module")
def built(tables, lines) -> BuiltHead:
    return build(tables, said=lines)


@pytest.fixture(scope="module")
def scales(built) -> dict[str, Any]:
    told: dict[str, Any] = built.manifest["corpus_scales"]
    return told


def trained(table: TrainingTable, *, learn_scales: bool, rows: np.ndarray | None = None) -> HeadWeights:
    """One head of the rows; of one corpus's only, where ``rows`` says so."""
    chosen = np.arange(len(table.mos)) if rows is None else rows
    parts = [Part("all", chosen, chosen)]
    return train_parts(table, parts, TEN_EPOCHS, TorchTrainer(), quiet, learn_scales=learn_scales).heads[0]


def test_the_reference_is_the_corpus_with_most_rows(scales):
    assert scales["reference"] == REFERENCE
    assert numbered(["a", "b", "b", "c", "c"])[0] == ("b", "c", "a")


def test_the_map_of_the_reference_is_the_identity(scales):
    np.testing.assert_allclose(scales["maps"][REFERENCE], KNOTS, atol=1e-5)


def test_a_monotone_scale_of_another_laboratory_is_recovered(scales):
    learned = np.array(scales["maps"][OTHER])
    assert (np.diff(learned) > 0).all()
    # Where clips are: the outermost tenths of the range have next to none.
    at = np.linspace(2.2, 4.2, 21)
    apart = np.interp(at, KNOTS, learned) - (1 + 3.4 * ((at - 1) / 4) ** 2)
    assert np.abs(apart).mean() < 0.2
    assert np.abs(at - (1 + 3.4 * ((at - 1) / 4) ** 2)).mean() > 0.9  # what was there to learn


def test_the_better_head_within_corpora_ships_and_the_plain_union_stands_beside_it(scales, lines):
    within = scales["srocc_within_corpora"]
    assert scales["ships"] == "learned"
    assert within["learned"]["mean"] > within["union"]["mean"]
    for way in ("learned", "union"):
        assert set(within[way]["each"]) == {REFERENCE, OTHER}
        assert within[way]["mean"] == pytest.approx(np.mean(list(within[way]["each"].values())))
    assert any(line.startswith("scales of 2 corpora: mean SROCC within them union 0.") for line in lines)
    assert any(line.endswith("learned ships") for line in lines)


def test_both_are_reported_by_heads_that_never_saw_a_corpus(built, scales):
    left_out = scales["leave_one_corpus_out"]
    assert {corpus: set(ways) for corpus, ways in left_out.items()} == {
        corpus: {"learned", "union"} for corpus in (OTHER, REFERENCE)
    }
    told = built.manifest["leave_one_corpus_out"]
    assert all(told[corpus]["srocc"] == left_out[corpus]["learned"]["srocc"] for corpus in told)


def test_the_gate_reads_the_reference_scale_and_figures_after_each_corpus_map_stand_beside(built, scales):
    raw, after = built.manifest["folds"]["per_corpus"], scales["after_map"]["per_corpus"]
    assert after[OTHER]["rmse"] < raw[OTHER]["rmse"] - 0.3
    assert after[REFERENCE]["rmse"] == pytest.approx(raw[REFERENCE]["rmse"], abs=1e-4)
    assert after[OTHER]["rows"] == raw[OTHER]["rows"]
    assert scales["after_map"]["pooled"]["rmse"] < built.manifest["folds"]["pooled"]["rmse"]
    folds = built.manifest["folds"]["each"]
    assert built.manifest["gate"]["numbers"]["mean_rmse"] == pytest.approx(np.mean([fold["rmse"] for fold in folds]))


def test_all_corpora_together_are_judged_on_the_scale_of_the_reference_too(built, scales):
    raw, referred = built.manifest["folds"]["pooled"], scales["on_reference"]["pooled"]
    assert referred["rows"] == raw["rows"]
    assert referred["rmse"] < raw["rmse"] - 0.3
    assert referred["srocc"] > raw["srocc"] + 0.05
    low, high = referred["interval_95"]["rmse"]
    assert low <= referred["rmse"] <= high
    assert scales["on_reference"]["holdout"]["rows"] == built.manifest["holdout"]["rows"]
    assert "with all scores brought to that scale by what was learned: SROCC " in render_card(built.manifest)


def test_an_interval_is_of_the_reference_scale_and_holds_there(built, tmp_path):
    """Of clips of either laboratory that no head saw, nine of ten scores lie inside, once both are on one scale."""
    assert built.onnx is not None
    onnx = tmp_path / "unified.onnx"
    onnx.write_bytes(built.onnx)
    onnx.with_suffix(".json").write_text(json.dumps({**built.manifest, "onnx": onnx.name}))
    head, fresh = open_head(onnx), labelled(400, seed=9)
    scored = head.scored(fresh.lazy(), "fresh")
    mos = fresh["mos"].to_numpy()  # the law that the reference's scores follow
    inside = (mos >= scored.low) & (mos <= scored.high)
    assert inside.mean() > 0.84
    # Scores as they stand lie so far from the other laboratory's scale that intervals would be ±1.4.
    assert (scored.high - scored.low).mean() / 2 < 0.8
    coverage = built.manifest["interval"]["coverage"]["corpora"]
    assert all(coverage[corpus]["share"] > 0.8 for corpus in (OTHER, REFERENCE))
    assert f"its scores are on the scale of {REFERENCE}" in " ".join(head_predictor(onnx, ()).warnings)


def test_the_onnx_gives_the_scale_of_the_reference(built, tables):
    table = read_training_table(tables, KONVID_V1, unified=True)
    assert built.onnx is not None
    given = run_onnx(built.onnx, table.features, encoder_onehot(len(table.mos)))
    of_other = np.array(table.corpora) == OTHER
    # Both laboratories saw clips of one law: on one scale they are alike, which their scores are not.
    assert given[of_other].mean() == pytest.approx(given[~of_other].mean(), abs=0.25)
    assert table.mos[of_other].mean() < table.mos[~of_other].mean() - 0.8


def test_the_card_names_the_reference_scale(built):
    card = render_card(built.manifest)
    assert f"Its scores are on the scale of **{REFERENCE}**, the corpus with most rows" in card
    assert "| corpus | SROCC, scales learned | SROCC, plain union |" in card


def test_with_equal_scales_nothing_is_lost(tmp_path):
    tables = laboratories(tmp_path / "equal.parquet", other=lambda mos: mos)
    manifest = build(tables, TEN_EPOCHS.but(export=False)).manifest
    within = manifest["corpus_scales"]["srocc_within_corpora"]
    assert within["learned"]["mean"] == pytest.approx(within["union"]["mean"], abs=0.03)
    of_folds = manifest["folds"]["per_corpus"]
    shipped = np.mean([of_folds[corpus]["srocc"] for corpus in (OTHER, REFERENCE)])
    assert shipped == pytest.approx(max(of["mean"] for of in within.values()), abs=1e-6)


def test_where_the_plain_union_is_better_it_ships_without_maps(built):
    """The card says so; what was measured of both stays."""
    scales = built.manifest["corpus_scales"]
    plain = {key: scales[key] for key in ("reference", "srocc_within_corpora", "leave_one_corpus_out")}
    card = render_card({**built.manifest, "corpus_scales": {**plain, "ships": "union"}})
    assert (
        f"All scores count as they stand, on 1–5: learning a scale for each corpus (reference: **{REFERENCE}**" in card
    )


def test_of_one_corpus_nothing_changes(tables):
    manifest = build(tables, TEN_EPOCHS.but(epochs=1, export=False, exclude_corpora=(OTHER,))).manifest
    assert "corpus_scales" not in manifest
    assert "Scales of its corpora" not in render_card(manifest)


def test_a_corpus_that_a_head_never_saw_has_no_map_and_the_largest_of_the_others_is_its_reference(tables):
    table = read_training_table(tables, KONVID_V1, unified=True)
    head = trained(table, learn_scales=True, rows=np.flatnonzero(np.array(table.corpora) == OTHER))
    assert head.scales is not None
    unseen, reference = head.scales.values
    assert np.isnan(unseen).all()
    np.testing.assert_allclose(reference, KNOTS, atol=1e-5)
    assert np.isnan(head.scales.on_own(np.array([3.0], dtype=np.float32), np.array([0]))).all()


@pytest.mark.parametrize(
    "other",
    [reversed_scores, lambda mos: pl.lit(3.0), lambda mos: 3 + 0.01 * (mos - 3)],
    ids=["reversed", "equal", "all but flat"],
)
def test_a_corpus_that_does_not_follow_the_others_has_a_map_that_rises_all_the_same(tmp_path, other):
    tables = laboratories(tmp_path / "odd.parquet", other=other, rows=40)
    table = read_training_table(tables, KONVID_V1, unified=True)
    head = trained(table, learn_scales=True)
    assert head.scales is not None
    assert (np.diff(head.scales.values, axis=1) > 0).all()
    assert np.isfinite(predict(head, table.features, table.onehot)).all()


def test_a_corpus_of_two_clips_is_believed_little(tmp_path):
    frames = {OTHER: labelled(2, seed=1).with_columns(mos=pl.lit(2.0)), REFERENCE: labelled(100)}
    head = trained(
        read_training_table(unified(frames, tmp_path / "few.parquet"), KONVID_V1, unified=True), learn_scales=True
    )
    assert head.scales is not None
    assert np.diff(head.scales.values[1]).min() > 0.3 * 0.5  # slopes stay near 1


def test_scales_turn_round():
    own = np.linspace(2, 4, len(KNOTS), dtype=np.float32)
    scales = CorpusScales(np.stack([KNOTS.astype(np.float32), own]))
    scores, corpora = np.array([1.0, 2.6, 4.9], dtype=np.float32), np.array([1, 0, 1])
    there = scales.on_own(scores, corpora)
    np.testing.assert_allclose(there, [2.0, 2.6, 3.95], atol=1e-6)
    np.testing.assert_allclose(scales.on_reference(there, corpora), scores, atol=1e-6)
    # Beyond its ends a scale has no more to say.
    np.testing.assert_array_equal(scales.on_reference(np.array([1.5, 4.5], dtype=np.float32), np.array([1, 1])), [1, 5])


def test_the_same_rows_give_the_same_maps(tables):
    table = read_training_table(tables, KONVID_V1, unified=True)
    one, two = (trained(table, learn_scales=True) for _ in range(2))
    assert one.scales is not None
    assert two.scales is not None
    np.testing.assert_array_equal(one.scales.values, two.scales.values)
    np.testing.assert_array_equal(
        predict(one, table.features, table.onehot), predict(two, table.features, table.onehot)
    )


def test_a_training_elsewhere_brings_scales_home_and_a_head_without_any_is_none(tmp_path):
    rng = np.random.default_rng(0)
    features, corpora = rng.standard_normal((40, 3)).astype(np.float32), np.arange(40) % 2
    mos = (3 + 0.5 * features[:, 0] - 0.4 * corpora).clip(1, 5).astype(np.float32)
    data = TrainingRows(features, encoder_onehot(40), mos, tuple(f"c{i // 2}" for i in range(40)), corpora=corpora)
    write_job(tmp_path, Job(data, [HeadRows("a", np.arange(40))], TEN_EPOCHS.but(epochs=1), "cpu"))
    job = read_job(tmp_path)
    assert job.data.corpora is not None
    np.testing.assert_array_equal(job.data.corpora, corpora)
    trained_elsewhere = run_job(tmp_path, lambda *_: None)
    ours, theirs = (heads.heads[0].scales for heads in (trained_elsewhere, read_result(tmp_path, job)))
    assert ours is not None
    assert theirs is not None
    np.testing.assert_array_equal(ours.values, theirs.values)
    (head,) = trained_elsewhere.heads
    for broken in (None, CorpusScales(ours.values[:, ::-1]), CorpusScales(ours.values[:1])):
        write_result(tmp_path, replace(trained_elsewhere, heads=(replace(head, scales=broken),)))
        with pytest.raises(TrainingError, match="weights of a that are of another shape, or no numbers"):
            read_result(tmp_path, job)


class Asked(TorchTrainer):
    """Keeps the heads that each training asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Sequence[HeadRows]] = []

    def train(self, data, heads, settings, progress):
        self.calls.append(heads)
        return super().train(data, heads, settings, progress)


def test_of_a_given_split_its_part_is_the_head_that_ships_and_train_rows_alone_decide(tmp_path):
    words = pl.Series("split", ["train"] * 60 + ["test"] * 40)
    frames = {name: labelled(100, seed).with_columns(words) for seed, name in enumerate((OTHER, REFERENCE))}
    frames[OTHER] = frames[OTHER].with_columns(mos=strict(pl.col("mos")))
    tables, trainer = unified(frames, tmp_path / "split.parquet"), Asked()
    settings = TEN_EPOCHS.but(epochs=2, export=False)
    manifest = build_head(UNIFIED_MOS_HEAD_V1, tables, FACTS, settings, trainer, quiet).manifest
    assert manifest["folds"]["kind"] == "split"
    assert manifest["corpus_scales"]["ships"] == "learned"
    assert manifest["corpus_scales"]["after_map"]["pooled"]["rows"] == 80
    assert manifest["training_recipe"]["device"].startswith("cpu")
    # Each way on two folds of the train rows and with each corpus left out; then what ships, once.
    *tried, last = trainer.calls
    folds = ["choice-0", "choice-1"]
    assert [[head.name for head in heads] for heads in tried] == [
        [*folds, f"without-{OTHER}", f"without-{REFERENCE}"]
    ] * 2
    assert {int(row) % 100 < 60 for heads in tried for head in heads[:2] for row in head.rows} == {True}
    assert [head.name for head in last] == ["test"]
