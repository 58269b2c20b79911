"""A new head beside the published one: on clips that neither has learned from, and told whatever is not compared."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import kendalltau

from vqa_assets.assets.heads import regression_result
from vqa_assets.corpora.contents import content_groups, holdout
from vqa_assets.feature_names import KONVID_V1
from vqa_assets.heads.build import BuiltHead, build_head
from vqa_assets.heads.judging.regression import HeldOut, against_published
from vqa_assets.heads.manifest import as_plain
from vqa_assets.heads.members.export import run_onnx
from vqa_assets.heads.members.training import TorchTrainer
from vqa_assets.heads.members.weights import encoder_onehot
from vqa_assets.heads.publish import HeadInputs, publish_head
from vqa_assets.heads.recipe import HOLDOUT_SHARE, KONVID_MOS_HEAD_V1
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.metrics import srocc
from vqa_assets.provenance import RunContext
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.head_tables import FACTS, labelled, quiet, written

NAME = KONVID_MOS_HEAD_V1.name
QUICK = TrainingSettings(epochs=2, device="cpu", protocol_splits=0, k_folds=2)
FEW = labelled(200)
MORE = pl.concat([FEW, labelled(100, seed=5)])
NO_SIGNAL = ("saliency_var", "shot_cut_density")


class Bench:
    """A data root in which heads are published one after another."""

    def __init__(self, folder: Path) -> None:
        self.root = DataRoot(folder)
        self.onnx = folder / "models" / f"{NAME}.onnx"

    def build(self, frame: pl.DataFrame, **settings) -> tuple[BuiltHead, HeadInputs]:
        chosen = QUICK.but(**settings)
        table = written(frame, self.root.path / f"table-{len(frame)}.parquet")
        tables = {"konvid-1k": [table]}
        built = build_head(KONVID_MOS_HEAD_V1, tables, FACTS, chosen, TorchTrainer(), quiet)
        return built, HeadInputs(NAME, chosen, {"features_with_mos_konvid-1k": table}, tables)

    def publish(self, built: BuiltHead, inputs: HeadInputs) -> dict:
        return dict(publish_head(built, inputs, RunContext(self.root, {}, Path(__file__))).manifest)


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> Bench:
    return Bench(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def history(bench):
    """The manifests of one head after another, the first one's bytes, and what was built of more rows."""
    few, more = bench.build(FEW), bench.build(MORE)
    other_seed, worse = bench.build(MORE, export=False, seed=7), bench.build(MORE, columns=NO_SIGNAL)
    published = {"first": bench.publish(*few), "onnx": bench.onnx.read_bytes(), "built": more[0], "few": few[0]}
    for name, of in {"again": few, "more": more, "other seed": other_seed, "worse": worse}.items():
        published[name] = bench.publish(*of)
        if name == "more":
            for suffix in (".onnx", ".json"):
                shutil.copy(bench.onnx.with_suffix(suffix), bench.root.path)
    return {**published, "worse again": bench.publish(*worse)}


def test_the_first_head_passes_with_no_head_before_and_so_does_the_same_one_again(history):
    for name in ("first", "again"):
        regression = history[name]["regression"]
        assert (regression["compared"], regression["reason"]) == (False, "no head before")
        checked = regression_result(regression)
        assert (checked.passed, checked.description) == (True, "no head before")


def test_a_head_of_more_rows_is_compared_on_its_hold_out_of_which_the_head_before_has_seen_nothing(history):
    """The hold-out is drawn by the hash of a content: those of the first head are in the second one's."""
    regression = history["more"]["regression"]
    held = np.array(holdout(content_groups(MORE["content_id"], MORE["key"]), HOLDOUT_SHARE, QUICK.seed))
    assert regression["clips"] == regression["clips_held_out"] == int(held.sum()) == history["more"]["holdout"]["rows"]
    assert (regression["clips_seen_before"], regression["clips_not_scored_before"]) == (0, 0)
    assert regression["before"]["sha256"] == history["first"]["sha256"]
    rows = MORE.filter(pl.Series(held))
    features = rows.select(KONVID_V1.columns).to_numpy().astype(np.float32)
    before = run_onnx(history["onnx"], features, encoder_onehot(len(rows)))
    assert set(regression["metrics"]) == {"srocc", "krocc", "plcc", "rmse"}
    assert regression["metrics"]["krocc"]["before"] == pytest.approx(kendalltau(rows["mos"], before).statistic)
    numbers = regression["metrics"]["srocc"]
    assert numbers["before"] == pytest.approx(srocc(rows["mos"], before))
    assert numbers["now"] == pytest.approx(history["more"]["holdout"]["srocc"])
    assert numbers["difference"] == pytest.approx(numbers["now"] - numbers["before"])
    low, high = numbers["interval_95"]
    assert low <= numbers["difference"] <= high
    assert regression_result(regression).passed


def test_baselines_of_the_new_heads_rows_stand_beside_both_heads(history):
    regression = history["more"]["regression"]
    assert set(regression["baselines"]) == {"ridge", "constant"}  # the kernel machines where the protocol is run
    ridge, constant = regression["baselines"]["ridge"], regression["baselines"]["constant"]
    now = regression["metrics"]["srocc"]["now"]
    assert ridge["clips"] == constant["clips"] == regression["clips"]
    assert ridge["now_minus"]["srocc"] == pytest.approx(now - ridge["srocc"])
    assert (constant["srocc"], constant["now_minus"]["srocc"]) == (None, pytest.approx(now))
    for one in (ridge, constant):
        low, high = one["now_minus"]["interval"]
        assert low <= one["now_minus"]["srocc"] <= high
    told = f"SROCC of baselines on the same clips: ridge {ridge['srocc']:.3f}, constant not defined"
    assert told in str(regression_result(regression).description)


def test_a_head_that_is_worse_beyond_the_interval_is_a_warning_also_after_it_was_made_again(history):
    for name in ("worse", "worse again"):
        regression = history[name]["regression"]
        assert "srocc" in regression["worse"]
        checked = regression_result(regression)
        assert not checked.passed
        assert str(checked.description).startswith("worse by SROCC")
    low, high = history["worse"]["regression"]["metrics"]["srocc"]["interval_95"]
    assert low < high < 0


def test_clips_that_the_head_before_learned_from_are_left_out_and_told(history):
    """Another seed holds other contents out: nine tenths of them were trained on before."""
    regression = history["other seed"]["regression"]
    seen, held = regression["clips_seen_before"], regression["clips_held_out"]
    assert seen > held / 2
    assert regression["clips"] == held - seen
    told = f"{seen} of {held} held-out clips left out: the head before learned from them"
    assert told in str(regression_result(regression).description)


def test_a_head_that_exports_nothing_is_compared_with_the_published_one(history):
    assert history["other seed"]["regression"]["before"]["sha256"] == history["more"]["sha256"]
    assert history["worse"]["regression"]["before"]["sha256"] == history["more"]["sha256"]


class TestNotCompared:
    """What cannot be compared says why, and passes."""

    @pytest.fixture
    def compare(self, history, bench, tmp_path):
        for suffix in (".onnx", ".json"):
            shutil.copy(bench.root.path / f"{NAME}{suffix}", tmp_path)

        def compare(frame=FEW, **changes):
            tables = {"konvid-1k": [written(frame, tmp_path / "table.parquet")]}
            parts = {"sha256": None, "held": history["few"].held_out, "synthetic": False, **changes}
            regression = against_published(tmp_path / f"{NAME}.onnx", tables=tables, **parts)
            assert regression_result(as_plain(regression)).passed
            return regression

        return compare

    def test_a_table_without_the_columns_of_the_head_before(self, compare):
        told = compare(FEW.drop("saliency_var", "shot_count_norm"))
        assert told["reason"].startswith("the head before cannot be used: ")
        assert "no column for saliency_var, shot_count_norm" in told["reason"]

    def test_a_head_before_whose_files_are_not_each_others(self, compare, tmp_path):
        (tmp_path / f"{NAME}.onnx").write_bytes(b"of another training")
        assert "SHA-256" in compare()["reason"]
        (tmp_path / f"{NAME}.json").write_text("no manifest")
        assert "the head before cannot be used" in compare()["reason"]

    def test_a_head_of_synthetic_rows_and_one_that_holds_nothing_out(self, compare, history):
        assert compare(synthetic=True)["reason"] == "trained on synthetic rows: there is nothing to compare"
        held = history["few"].held_out
        nothing = HeldOut(type(held.predictions)((), (), (), (), *[held.predictions.mos[:0]] * 4), ())
        assert compare(held=nothing)["reason"] == "no row was held out"

    def test_a_head_of_another_score_than_the_one_before(self, compare, bench, tmp_path):
        assert compare(target="mos_technical")["reason"] == "the head before learned mos, this one mos_technical"
        frame = FEW.with_columns(mos_technical=6 - pl.col("mos"))
        own = Bench(tmp_path)
        own.root.models().mkdir()
        for suffix in (".onnx", ".json"):
            shutil.copy(bench.root.path / f"{NAME}{suffix}", own.root.models())
        told = own.publish(*own.build(frame, target="mos_technical", replace=True))["regression"]
        assert (told["compared"], told["reason"]) == (False, "the head before learned mos, this one mos_technical")

    def test_hold_outs_of_which_the_head_before_knows_too_few(self, compare):
        unknown = compare(FEW.with_columns(adm2=pl.lit(None, pl.Float64)))
        assert unknown["reason"] == "0 held-out contents are left that both heads can be judged on"
        assert unknown["clips_not_scored_before"] == unknown["clips_held_out"]

    def test_of_few_held_out_contents_there_is_no_interval_and_nothing_is_called_worse(self, compare, history):
        """Four contents that are all ranked backwards: resamples of so few say more than they know."""
        held = history["few"].held_out
        groups = list(dict.fromkeys(held.predictions.groups))[:4]
        rows = np.flatnonzero(np.isin(held.predictions.groups, groups))
        mos = np.where(np.isin(np.arange(len(held.splits)), rows), held.predictions.mos, np.nan)
        few = held.predictions.judged_by(mos)
        backwards = replace(
            held, predictions=replace(few, predicted=6 - few.mos), splits=(None,) * len(rows), baselines={}
        )
        told = compare(held=backwards)
        assert (told["compared"], told["groups"], told["worse"]) == (True, 4, [])
        numbers = told["metrics"]["srocc"]
        assert numbers["difference"] < -0.5
        assert np.isnan(numbers["interval_95"]).all()
        assert "no interval), on 8 clips of 4 contents" in str(regression_result(as_plain(told)).description)

    def test_a_manifest_of_an_older_version(self):
        checked = regression_result(None)
        assert (checked.passed, checked.description) == (True, "not compared: made by an older version")


def test_where_nothing_tells_what_the_head_before_was_trained_on_all_clips_are_compared(history, bench, tmp_path):
    shutil.copy(bench.root.path / f"{NAME}.onnx", tmp_path)
    manifest = json.loads((bench.root.path / f"{NAME}.json").read_text())
    del manifest["folds"]
    (tmp_path / f"{NAME}.json").write_text(json.dumps(manifest))
    tables = {"konvid-1k": [bench.root.path / "table-300.parquet"]}
    told = against_published(tmp_path / f"{NAME}.onnx", None, history["built"].held_out, tables, synthetic=False)
    assert (told["compared"], told["clips_seen_before"]) == (True, None)
    assert told["seen_told_by"] == "nothing tells what the head before was trained on"


def test_a_clip_of_many_rows_is_compared_once_and_a_given_splits_judging_rows_are_the_hold_out(bench, tmp_path):
    own = Bench(tmp_path)
    words = ["train"] * 120 + ["val"] * 40 + ["test"] * 40
    frame = FEW.with_columns(split=pl.Series(words))
    built, inputs = own.build(pl.concat([frame, frame.with_columns(pl.col("adm2") + 0.01)]))
    own.publish(built, inputs)
    told = against_published(own.onnx, None, built.held_out, inputs.rows, synthetic=False)
    assert (told["clips_held_out"], told["clips"], told["clips_seen_before"]) == (40, 40, 0)
    assert told["metrics"]["srocc"]["difference"] == pytest.approx(0, abs=1e-6)
