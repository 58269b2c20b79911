"""``python -m vqa_assets.judge``: heads of ours and from elsewhere, and columns, against the scores of a table."""

import hashlib
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import polars as pl
import pytest
from onnx import TensorProto, helper, numpy_helper
from scipy.stats import kendalltau, pearsonr, spearmanr

from vqa_assets import api
from vqa_assets.heads.build import build_head
from vqa_assets.heads.judging.foreign import open_foreign
from vqa_assets.heads.members.training import TorchTrainer
from vqa_assets.heads.publish import HeadInputs, publish_head
from vqa_assets.heads.recipe import FR_REGRESSOR_V2, KONVID_MOS_HEAD_V1
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.judge import main
from vqa_assets.provenance import RunContext
from vqa_assets.provenance.verify import verify
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.heads.test_full_reference import GRID_FACTS, encodes
from vqa_assets_tests.shared.grids import tune_row, write_rows
from vqa_assets_tests.shared.head_tables import FACTS, labelled, quiet, written

NAME = "konvid_mos_head_v1"
SETTINGS = TrainingSettings(epochs=2, device="cpu", protocol_splits=0)
ROWS = 90
BASELINES = "with baselines"


def with_metric(seed: int = 7) -> pl.DataFrame:
    """Three corpora's rows, three to a content, and a column ``metric`` on 0–100 that follows MOS."""
    rng = np.random.default_rng(seed)
    mos = rng.uniform(1, 5, ROWS)
    return pl.DataFrame(
        {
            "key": [f"clip-{i}" for i in range(ROWS)],
            "corpus": ["lsvq"] * 40 + ["chug"] * 50,
            "content_id": [f"content-{i // 3}" for i in range(ROWS)],
            "split": ["train"] * 30 + ["test"] * 60,
            "mos": mos,
            "metric": 20 * mos + rng.normal(0, 12, ROWS),
            "one": np.ones(ROWS),
            "word": ["good"] * ROWS,
        }
    )


FRAME = with_metric()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with a trained head in it, the table that it was trained on, and its predictions elsewhere."""
    root = DataRoot(tmp_path_factory.mktemp("data"))
    table = written(labelled(120), root.path / "train.parquet")
    built = build_head(KONVID_MOS_HEAD_V1, {"konvid-1k": table}, FACTS, SETTINGS, TorchTrainer(), quiet)
    head = publish_head(
        built,
        HeadInputs(NAME, SETTINGS, {"features_with_mos_konvid-1k": table}, {"konvid-1k": [table]}),
        RunContext(root, {}, Path(__file__)),
    )
    # Beside the head they would tell what these tests want told without them.
    head.predictions.rename(root.path / "out-of-fold.parquet")
    return root.path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return written(FRAME, tmp_path / "table.parquet")


class Result:
    """What the command did: its status, both outputs, and ``judgement.json``."""

    def __init__(self, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str | Path, ...]) -> None:
        out = tmp_path / "out"
        # The baselines take longest: they are left out, unless a test is about them.
        usual = ["--resamples", "12", "--out", str(out), *([] if BASELINES in arguments else ["--no-baselines"])]
        self.status = main([*usual, *(str(one) for one in arguments if one != BASELINES)])
        told = capsys.readouterr()
        self.out, self.err = told.out, told.err
        self.judgement = json.loads((out / "judgement.json").read_text()) if self.status != 2 else {}

    def part(self, name: str, by: str = "") -> dict:
        (part,) = (p for p in self.judgement["parts"] if p["name"] == name and by in ("", p["by"]))
        return part


@pytest.fixture
def judge(tmp_path, capsys):
    return lambda *arguments: Result(tmp_path, capsys, arguments)


class TestColumns:
    """A metric's column."""

    def test_the_numbers_are_those_of_scipy_in_all_per_corpus_and_per_split(self, judge, table):
        found = judge("metric", table, "--resamples", "60")
        assert found.status == 0
        cases = {
            ("all", "all"): FRAME,
            ("corpus", "lsvq"): FRAME[:40],
            ("corpus", "chug"): FRAME[40:],
            ("split", "train"): FRAME[:30],
            ("split", "test"): FRAME[30:],
        }
        for (by, name), rows in cases.items():
            mos, metric = rows["mos"].to_numpy(), rows["metric"].to_numpy()
            part = found.part(name, by)
            assert (part["rows"], part["groups"]) == (len(rows), rows["content_id"].n_unique())
            assert part["srocc"] == pytest.approx(spearmanr(mos, metric).statistic)
            assert part["krocc"] == pytest.approx(kendalltau(mos, metric).statistic)
            assert part["plcc"] == pytest.approx(pearsonr(mos, metric).statistic)
            assert part["rmse"] == pytest.approx(np.sqrt(np.mean((mos - metric) ** 2)))
            assert part["rmse_fitted"] < 1 < part["rmse"]
            assert part["plcc_fitted"] > part["plcc"] - 0.01
            for metric_name in ("srocc", "krocc", "plcc", "rmse", "plcc_fitted", "rmse_fitted"):
                low, high = part["interval_95"][metric_name]
                assert low <= part[metric_name] <= high

    def test_by_content_stand_the_means_of_contents_and_the_mean_within_them(self, judge, table):
        found = judge("metric", table)
        means = FRAME.group_by("content_id").agg(pl.col("mos", "metric").mean())
        between = found.part("between: means")
        assert between["rows"] == between["groups"] == 30
        assert between["plcc"] == pytest.approx(pearsonr(means["mos"], means["metric"]).statistic)
        within = [spearmanr(one["mos"], one["metric"]).statistic for one in FRAME.partition_by("content_id")]
        assert between["coverage"] is None  # a column has no intervals
        inside = found.part("within: mean")
        assert (inside["rows"], inside["groups"]) == (90, 30)
        assert inside["srocc"] == pytest.approx(np.mean(within))
        low, high = inside["interval_95"]["srocc"]
        assert low < np.mean(within) < high

    def test_the_ceiling_of_the_scores_stands_beside_the_numbers_where_sd_and_count_are_known(self, judge, tmp_path):
        known = FRAME.with_columns(mos_std_dev=pl.lit(0.9), mos_n_ratings=pl.lit(9))
        found = judge("metric", written(known, tmp_path / "known.parquet"))
        mos = FRAME["mos"].to_numpy()
        above = found.part("all")["ceiling"]
        assert (above["rows"], above["of"]) == (ROWS, ROWS)
        assert above["plcc"] == pytest.approx(mos.std() / np.hypot(mos.std(), 0.3), abs=0.005)
        assert above["srocc"] < 1
        assert found.part("chug")["ceiling"]["rows"] == 50
        assert found.part("between: means")["ceiling"] is None
        (line, *_) = (line for line in found.out.splitlines() if line.startswith("  ceiling"))
        assert line.split() == ["ceiling", f"{above['srocc']:.3f}", f"{above['plcc']:.3f}"]
        raw = known.select(pl.exclude("mos", "mos_std_dev"), mos_raw_0_100=(pl.col("mos") - 1) * 25, mos_std_dev=22.5)
        beside = known.with_columns(mos_raw_0_100=(pl.col("mos") - 1) * 25)
        for table, arguments in (
            (raw, ()),
            (raw, ("--target", "mos_raw_0_100")),
            (beside, ("--target", "mos_raw_0_100")),
        ):
            same = judge("metric", written(table, tmp_path / "raw.parquet"), *arguments).part("all")["ceiling"]
            assert same["srocc"] == pytest.approx(above["srocc"], abs=1e-6)

    def test_where_sd_and_count_are_not_known_neither_is_the_ceiling(self, judge, table):
        found = judge("metric", table)
        assert found.part("all")["ceiling"] is None
        assert "the ceiling that the scores' own errors set is not known" in found.out
        assert "  ceiling" not in found.out

    def test_figures_of_fewer_than_ten_contents_have_no_interval_and_that_is_told(self, judge, tmp_path):
        of_nine = FRAME.filter(pl.col("content_id").is_in([f"content-{i}" for i in range(9)])).drop("split")
        found = judge("metric", written(of_nine, tmp_path / "nine.parquet"))
        assert found.part("all")["groups"] == 9
        ends = [end for part in found.judgement["parts"] for both in part["interval_95"].values() for end in both]
        assert set(ends) == {None}
        assert "- figures of fewer than 10 contents have no interval\n" in found.out

    def test_contents_of_one_clip_have_no_part_of_their_own_and_unknown_ones_are_told(self, judge, tmp_path):
        own = FRAME.with_columns(content_id=pl.col("key"))
        found = judge("metric", written(own, tmp_path / "own.parquet"))
        assert {part["by"] for part in found.judgement["parts"]} == {"all", "corpus", "split"}
        found = judge("metric", written(FRAME.drop("content_id"), tmp_path / "without.parquet"))
        assert found.judgement["intervals_by"] == "clip"
        assert "contents are not known: intervals are drawn by clip" in found.out

    @pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".pq"])
    def test_a_table_of_any_format_gives_the_same(self, judge, table, tmp_path, suffix):
        other = tmp_path / f"other{suffix}"
        writers = {".jsonl": FRAME.write_ndjson, ".json": FRAME.write_json, ".csv": FRAME.write_csv}
        writers.get(suffix, FRAME.write_parquet)(other)
        expected, found = judge("metric", table).judgement["parts"], judge("metric", other).judgement["parts"]
        assert [part["name"] for part in found] == [part["name"] for part in expected]
        assert [part["srocc"] for part in found] == pytest.approx([part["srocc"] for part in expected])

    def test_rows_without_score_or_prediction_are_counted_and_told(self, judge, tmp_path):
        row = pl.int_range(ROWS)
        holes = FRAME.with_columns(
            mos=pl.when(row < 2).then(None).when(row == 2).then(math.nan).otherwise("mos"),
            metric=pl.when(row.is_between(2, 8)).then(math.nan).otherwise("metric"),
            mos_label_status=pl.when(row == 20).then(pl.lit("missing-label")).otherwise(pl.lit("ok")),
        )
        found = judge("metric", written(holes, tmp_path / "holes.parquet"))
        assert found.judgement["counts"] == {
            "rows_in": ROWS,
            "judged": ROWS - 10,
            "without_score": 4,
            "without_prediction": 6,
            "failed": 0,
        }
        assert f"{ROWS - 10} of {ROWS} rows judged, 4 without a score, 6 without a prediction" in found.out
        assert "6 rows with a score have no prediction (NaN)" in found.out

    def test_where_lower_is_better_the_sign_is_told_kept_in_the_gate_and_turned_only_when_asked(self, judge, tmp_path):
        falling = FRAME.with_columns(mos=pl.col("mos"), loss=6 - pl.col("mos"))
        path = written(falling, tmp_path / "falling.parquet")
        found = judge("loss", path, "--gate", NAME)
        assert (found.status, found.part("all")["srocc"]) == (1, pytest.approx(-1))
        assert "predictions fall as scores rise (SROCC -1.000); signs are kept, here and in a gate" in found.out
        assert any("mean SROCC -1.0000" in reason for reason in found.judgement["gate"]["reasons"])
        turned = judge("loss", path, "--lower-is-better")
        assert (turned.status, turned.part("all")["srocc"]) == (0, pytest.approx(1))
        assert turned.part("all")["rmse_fitted"] < found.part("all")["rmse_fitted"]
        assert "lower is better: the predictions' sign is turned" in turned.out
        assert turned.judgement["lower_is_better"] is True

    def test_a_constant_has_no_correlation_and_misses_a_gate(self, judge, table):
        found = judge("one", table, "--gate", NAME)
        assert found.status == 1
        assert found.part("all")["srocc"] is None
        assert "–" in found.out
        assert "mean PLCC is not defined" in found.out

    def test_scores_may_stand_in_another_column(self, judge, tmp_path):
        raw = FRAME.select("key", "metric", mos_raw_0_100=(pl.col("mos") - 1) * 25, mos_sharp=6 - pl.col("mos"))
        path = written(raw, tmp_path / "raw.parquet")
        found = judge("metric", path)
        assert found.judgement["target"] == "mos_raw_0_100, as 1–5"
        assert found.part("all")["rmse"] == pytest.approx(float(((FRAME["mos"] - FRAME["metric"]) ** 2).mean() ** 0.5))
        assert judge("metric", path, "--target", "sharp").part("all")["srocc"] < 0


class TestGate:
    """A recipe's gate, read once."""

    def test_the_spread_is_neither_measured_nor_asked_for(self, judge, tmp_path):
        near = FRAME.with_columns(near=pl.col("mos") + 0.1)
        found = judge("near", written(near, tmp_path / "near.parquet"), "--gate", "mos_head")
        gate = found.judgement["gate"]
        assert (found.status, gate["passed"], gate["reasons"]) == (0, True, [])
        assert gate["thresholds"] == {"mean_plcc": 0.85, "mean_srocc": 0.82, "mean_rmse": 0.45}
        assert gate["numbers"]["plcc_spread"] is None
        assert gate["plcc_spread"] == "not measured, and not asked for"
        assert "read on all rows: passed: every threshold is met" in found.out
        assert "the PLCC spread over folds is not measured here, and not asked for" in found.out

    def test_a_number_that_misses_says_so_and_the_status_is_1(self, judge, table):
        found = judge("metric", table, "--gate", NAME)
        assert found.status == 1
        assert "missed: mean RMSE" in found.out
        assert judge("metric", table).status == 0

    def test_a_gate_on_1_to_5_reads_no_scores_on_0_to_100(self, judge, tmp_path):
        other = written(FRAME.with_columns(mos=pl.col("mos") * 20), tmp_path / "other.parquet")
        found = judge("metric", other, "--gate", NAME)
        assert found.status == 2
        assert "scores outside 1–5" in found.err
        assert judge("metric", other).status == 0


class TestOut:
    """The folder that it writes to."""

    def test_a_judgement_replaces_a_judgement_and_no_other_file(self, judge, table, tmp_path):
        document, picture = tmp_path / "out" / "judgement.json", tmp_path / "out" / "judgement.png"
        assert f"written: {document}, {picture}" in judge("metric", table).out
        assert judge("metric", table).status == 0
        document.write_text('{"mine": 1}')
        before = picture.read_bytes()
        found = judge("metric", table)
        assert (found.status, document.read_text(), picture.read_bytes()) == (2, '{"mine": 1}', before)
        assert f"{document}, which was changed since judge wrote it" in found.err
        document.unlink()  # without it, and the record of its publication, the picture may be anybody's
        document.with_name(".judgement.json.published.json").unlink()
        assert f"{picture}, of which nothing says that judge wrote it" in judge("metric", table).err
        assert picture.read_bytes() == before


class TestOwnHeads:
    """A head of ours, whose manifest lies beside it."""

    def test_on_its_own_table_only_the_hold_out_was_never_seen_and_the_gate_reads_that(self, judge, root):
        found = judge(NAME, root / "train.parquet", "--root", root, "--gate", NAME)
        manifest = json.loads((root / "models" / f"{NAME}.json").read_text())
        held = manifest["holdout"]
        never = found.part("not trained on")
        assert (never["rows"], never["groups"]) == (held["rows"], held["groups"])
        assert never["srocc"] == pytest.approx(held["srocc"])
        assert never["rmse"] == pytest.approx(held["rmse"], abs=1e-5)
        assert found.part("trained on")["rows"] == manifest["training_recipe"]["rows"]
        assert found.judgement["gate"]["read_on"] == "not trained on"
        assert found.judgement["gate"]["rows"] == held["rows"]
        assert f"{manifest['training_recipe']['rows']} of 120 rows are of its training: this is the table" in found.out
        assert f"{NAME} is Proposed: " in found.out
        # Its intervals held as often as its manifest says, of the rows that had no part in them.
        coverage = manifest["interval"]["coverage"]["holdout"]
        assert never["coverage"] == pytest.approx(coverage, abs=1e-5)
        assert found.judgement["interval_level"] == 0.9
        assert f"90% intervals hold {coverage['share']:.1%} of these scores (±" in found.out
        turned = judge(NAME, root / "train.parquet", "--root", root, "--lower-is-better")
        assert turned.part("not trained on")["coverage"] is None

    def test_its_out_of_fold_predictions_tell_clips_and_contents_of_any_other_table(self, judge, root, tmp_path):
        folder = tmp_path / "heads [1]"  # a pattern, too
        folder.mkdir()
        for suffix in (".onnx", ".json"):
            shutil.copy(root / "models" / f"{NAME}{suffix}", folder)
        shutil.copy(root / "out-of-fold.parquet", folder / f"{NAME}.predictions.parquet")
        trained = set(pl.read_parquet(root / "out-of-fold.parquet")["content_id"])
        new = labelled(40, seed=3)
        # Other clips of the same contents, and without a word on their corpus.
        same = labelled(120).with_columns(key=pl.format("again-{}", "key"))
        path = written(pl.concat([new, same]), tmp_path / "mixed.parquet")
        found = judge(folder / f"{NAME}.onnx", path)
        assert found.judgement["trained_on"]["rows"] == int(same["content_id"].is_in(list(trained)).sum())
        assert "its out-of-fold predictions name the clips and contents" in found.out
        assert set(found.judgement["run_provenance"]["inputs"]) == {
            *("head", "head_manifest", "head_predictions", "table"),
        }

    def test_the_same_bytes_under_other_names_in_another_corpus_count_as_trained_on(self, judge, root, tmp_path):
        for suffix in (".onnx", ".json"):
            shutil.copy(root / "models" / f"{NAME}{suffix}", tmp_path)
        shutil.copy(root / "out-of-fold.parquet", tmp_path / f"{NAME}.predictions.parquet")
        trained = set(pl.read_parquet(root / "out-of-fold.parquet")["key"])
        renamed = {"key": pl.format("again-{}", "key"), "content_id": pl.format("again-{}", "content_id")}
        elsewhere = labelled(120).with_columns(**renamed, corpus=pl.lit("lsvq"))
        assert 0 < len(trained) < 120
        # One clip of a content was never seen, and shows the content that the other shows.
        cut = elsewhere.with_columns(src_sha256=pl.when(pl.int_range(120) == 0).then(None).otherwise("src_sha256"))
        for table in (elsewhere, cut):
            found = judge(tmp_path / f"{NAME}.onnx", written(table, tmp_path / "copies.parquet"), "--gate", NAME)
            assert found.judgement["trained_on"]["rows"] == len(trained)
            assert found.judgement["gate"]["rows"] == 120 - len(trained)
        nameless = elsewhere.drop("src_sha256")
        found = judge(tmp_path / f"{NAME}.onnx", written(nameless, tmp_path / "nameless.parquet"))
        assert found.judgement["trained_on"]["rows"] == 0

    def test_predictions_of_another_training_tell_nothing(self, judge, root, tmp_path):
        shutil.copy(root / "models" / f"{NAME}.onnx", tmp_path)
        shutil.copy(root / "out-of-fold.parquet", tmp_path / f"{NAME}.predictions.parquet")
        manifest = json.loads((root / "models" / f"{NAME}.json").read_text())
        manifest["run_provenance"]["outputs"]["predictions"] = {
            "path": f"models/{NAME}.predictions.parquet",
            "sha256": "0" * 64,
        }
        (tmp_path / f"{NAME}.json").write_text(json.dumps(manifest))
        path = written(labelled(120).with_columns(more=pl.lit(1)), tmp_path / "same.parquet")
        assert judge(tmp_path / f"{NAME}.onnx", path).judgement["trained_on"] is None

    def test_rows_of_a_corpus_it_was_trained_on_are_taken_for_seen_and_others_not(self, judge, root, tmp_path):
        words = ["konvid-1k"] * 60 + ["lsvq"] * 60
        path = written(labelled(120).with_columns(corpus=pl.Series(words)), tmp_path / "copy.parquet")
        found = judge(NAME, path, "--root", root)
        assert 40 < found.judgement["trained_on"]["rows"] < 60
        assert "it was trained on this corpus" in found.judgement["trained_on"]["told_by"]
        every = written(pl.read_parquet(path).with_columns(corpus=pl.lit("lsvq")), tmp_path / "other.parquet")
        assert "none of the rows is of its training" in judge(NAME, every, "--root", root).out

    def test_of_rows_that_name_no_corpus_it_is_told_that_nobody_knows(self, judge, root, tmp_path):
        found = judge(NAME, written(labelled(40, seed=3), tmp_path / "new.parquet"), "--root", root)
        assert found.judgement["trained_on"] is None
        assert "whether rows are of its training is not known" in found.out

    def test_a_head_that_saw_every_row_has_nothing_to_pass_by(self, judge, root, tmp_path):
        seen = set(pl.read_parquet(root / "out-of-fold.parquet")["key"])
        rows = labelled(120).filter(pl.col("key").is_in(list(seen))).with_columns(corpus=pl.lit("konvid-1k"))
        found = judge(NAME, written(rows, tmp_path / "seen.parquet"), "--root", root, "--gate", NAME)
        assert found.status == 1
        assert found.judgement["gate"]["reasons"] == [
            "it was trained on every row: there is none to read the gate from"
        ]

    def test_a_head_of_a_further_score_is_judged_by_that(self, judge, tmp_path):
        path = written(labelled(120).with_columns(mos_technical=6 - pl.col("mos")), tmp_path / "both.parquet")
        settings = SETTINGS.but(target="mos_technical")
        built = build_head(KONVID_MOS_HEAD_V1, {"konvid-1k": path}, FACTS, settings, TorchTrainer(), quiet)
        inputs = HeadInputs(NAME, settings, {"features_with_mos_konvid-1k": path}, {"konvid-1k": [path]})
        publish_head(built, inputs, RunContext(DataRoot(tmp_path), {}, Path(__file__)))
        head = tmp_path / "models" / f"{NAME}.onnx"
        found = judge(head, path)
        assert found.judgement["target"] == "mos_technical"
        assert "is judged by" not in found.out
        assert "it learned mos_technical, and is judged by mos" in judge(head, path, "--target", "mos").out
        assert "is judged by" not in judge("adm2", path, "--target", "technical").out

    def test_a_full_reference_head_is_judged_by_the_vmaf_of_an_encode_grid(self, judge, tmp_path):
        failed = tune_row(900, exit_status=1, vmaf_score=50.0)
        grid = write_rows(tmp_path / "fr.jsonl", *encodes(5), failed)
        built = build_head(FR_REGRESSOR_V2, {"grid": grid}, GRID_FACTS, SETTINGS, TorchTrainer(), quiet)
        inputs = HeadInputs("fr_regressor_v2", SETTINGS, {"grid": grid}, {"grid": [grid]})
        publish_head(built, inputs, RunContext(DataRoot(tmp_path), {}, Path(__file__)))
        found = judge(tmp_path / "models" / "fr_regressor_v2.onnx", grid, "--gate", "fr_regressor_v2")
        assert found.judgement["target"] == "vmaf_score"
        assert found.judgement["counts"]["failed"] == 1
        assert found.part("all")["groups"] == 5


def graph(path: Path, inputs, outputs=(("mos", TensorProto.FLOAT, ["n"]),), reads=None, metadata=None) -> Path:
    """An ONNX whose output is the sum over a row of the inputs it ``reads`` (else the first), as float."""
    shape = numpy_helper.from_array(np.array([-1] + [1] * (len(outputs[0][2]) - 1), dtype=np.int64), "shape")
    nodes, terms = [], []
    for name in reads or [inputs[0][0]]:
        nodes += [
            helper.make_node("Cast", [name], [f"{name}_float"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", [f"{name}_float"], [f"{name}_mean"], axes=[1], keepdims=0),
        ]
        terms.append(f"{name}_mean")
    nodes.append(helper.make_node("Sum", terms, ["flat"]))
    nodes += [helper.make_node("Reshape", ["flat", "shape"], [name]) for name, _, _ in outputs]
    takes, gives = ([helper.make_tensor_value_info(*tensor) for tensor in side] for side in (inputs, outputs))
    model = helper.make_model(
        helper.make_graph(nodes, "elsewhere", takes, gives, [shape]),
        ir_version=8,
        opset_imports=[helper.make_opsetid("", 17)],
    )
    helper.set_model_props(model, metadata or {})
    onnx.save(model, path)
    return path


VECTOR = pl.Array(pl.Float32, 3)
FLOAT, DOUBLE = TensorProto.FLOAT, TensorProto.DOUBLE
TWO = FRAME.with_columns(half=pl.col("metric") / 2, other=pl.col("metric") * 1.5, encoder=pl.lit("x264"))


class TestForeignHeads:
    """An ONNX without a manifest of ours."""

    @pytest.mark.parametrize(
        ("inputs", "outputs", "metadata"),
        [
            ([("x", FLOAT, ["n", 2])], [("mos", FLOAT, ["n"])], {}),
            ([("x", FLOAT, ["n", "f"])], [("quality", FLOAT, ["n", 1])], {}),
            ([("x", DOUBLE, ["n", 2])], [("mos", FLOAT, ["n"])], {}),
            ([("x", FLOAT, ["n", 2]), ("encoder_onehot", FLOAT, ["n", 1])], [("mos", FLOAT, ["n"])], {}),
            ([("kind", FLOAT, ["n", 1]), ("x", FLOAT, ["n", 2])], [("mos", FLOAT, ["n"])], {}),
            (
                [("x", FLOAT, ["n", 2]), ("one_hot", FLOAT, ["n", 2])],
                [("mos", FLOAT, ["n"])],
                {"encoder_vocab": '["x264", "x265"]'},
            ),
        ],
        ids=["plain", "open-width", "double", "onehot", "onehot-first", "encoders"],
    )
    def test_its_inputs_are_found_from_the_graph(self, judge, tmp_path, inputs, outputs, metadata):
        path = graph(tmp_path / "theirs.onnx", inputs, outputs, reads=["x"], metadata=metadata)
        found = judge(path, written(TWO, tmp_path / "two.parquet"), "--columns", "half, other")
        assert found.status == 0, found.err
        assert found.part("all")["srocc"] == pytest.approx(spearmanr(FRAME["mos"], FRAME["metric"]).statistic)
        assert found.part("all")["rmse"] == pytest.approx(
            float(((FRAME["mos"] - FRAME["metric"]) ** 2).mean() ** 0.5), rel=1e-5
        )
        assert found.judgement["predictor"] == {
            "name": "theirs",
            "kind": "foreign head",
            "columns": ["half", "other"],
        }
        assert "what it was trained on is not known: no manifest of ours lies beside it" in found.out

    def test_a_call_names_columns_that_have_a_comma_in_their_names(self, tmp_path):
        path = graph(tmp_path / "theirs.onnx", [("x", FLOAT, ["n", 2])])
        table = written(TWO.rename({"half": "half, of it"}), tmp_path / "two.parquet")
        for reads in (["half, of it", "other"], pl.Series(["half, of it", "other"])):
            judged = api.judge(path, table, root=tmp_path, columns=reads, no_baselines=True, resamples=2)
            assert judged.document["predictor"]["columns"] == ["half, of it", "other"]

    def test_a_row_with_a_feature_that_is_not_known_has_no_prediction_whatever_the_graph_says(self, judge, tmp_path):
        path = graph(tmp_path / "theirs.onnx", [("x", FLOAT, ["n", 2])])
        holes = TWO.with_columns(half=pl.when(pl.int_range(ROWS) < 3).then(None).otherwise("half"))
        found = judge(path, written(holes, tmp_path / "two.parquet"), "--columns", "half,other")
        assert found.judgement["counts"]["without_prediction"] == 3

    @pytest.mark.parametrize(
        ("inputs", "outputs", "columns", "told"),
        [
            ([("x", TensorProto.INT64, ["n", 2])], None, "half,other", "input x tensor(int64)"),
            ([("x", FLOAT, ["n", 2, 2])], None, "half,other", "('n', 2, 2)"),
            ([("x", FLOAT, [4, 2])], None, "half,other", "a batch of fixed size in x"),
            ([("x", FLOAT, ["n", 3])], None, "half,other", "and 2 columns: half, other, expected 3 columns"),
            ([(name, FLOAT, ["n", 2]) for name in "xyz"], None, "half,other", "3 inputs"),
            ([(name, FLOAT, ["n", 2]) for name in "xy"], None, "half,other", "of which either may be the features"),
            (
                [("x", FLOAT, ["n", 2]), ("onehot", FLOAT, ["n", 3])],
                None,
                "half,other",
                "a one-hot of 3 encoders that nothing names",
            ),
            (
                [("x", FLOAT, ["n", 2]), ("onehot", FLOAT, ["n", "v"])],
                None,
                "half,other",
                "a one-hot of unknown width",
            ),
            ([("x", FLOAT, ["n", 2])], [("a", FLOAT, ["n"]), ("b", FLOAT, ["n"])], "half,other", "2 outputs"),
            ([("x", FLOAT, ["n", 2])], [("a", FLOAT, ["n", 1, 1])], "half,other", "an output of shape (2, 1, 1)"),
            ([("x", FLOAT, ["n", 2])], None, "half,half", "columns: half, half, expected each column once"),
            ([("x", FLOAT, ["n", 2])], None, "half,gone", "no column for gone"),
            ([("x", FLOAT, ["n", 2])], None, "half,word", "word: good"),
            ([("x", FLOAT, ["n", 2])], None, "", "no manifest beside it, expected mos-head-manifest-v1"),
        ],
    )
    def test_what_is_no_head_is_refused_and_says_what_is_expected(
        self, judge, tmp_path, inputs, outputs, columns, told
    ):
        path = graph(tmp_path / "theirs.onnx", inputs, outputs or (("mos", FLOAT, ["n"]),))
        found = judge(path, written(TWO, tmp_path / "two.parquet"), "--columns", columns)
        assert found.status == 2
        assert told in found.err
        assert "expected" in found.err
        assert ";" in found.err

    def test_a_file_that_is_no_onnx_and_a_manifest_of_something_else_are_told(self, judge, tmp_path, table):
        (tmp_path / "theirs.onnx").write_bytes(b"no model")
        assert (
            "expected a model that onnxruntime opens"
            in judge(tmp_path / "theirs.onnx", table, "--columns", "metric").err
        )
        for text in ('{"schema": "theirs"}', "[1, 2]", "no JSON"):
            (tmp_path / "theirs.json").write_text(text)
            assert "theirs.json, which is no manifest of a head" in judge(tmp_path / "theirs.onnx", table).err


VECTORS = TWO.with_columns(
    v=pl.Series(np.stack([FRAME["metric"].to_numpy(), -FRAME["metric"].to_numpy(), np.arange(ROWS)], 1), dtype=VECTOR),
)


class TestVectors:
    """Columns of vectors: a foreign head reads a block of them, and one number of one is judged by itself."""

    def test_a_foreign_head_reads_them_as_blocks_where_its_columns_name_them(self, judge, tmp_path):
        path = graph(tmp_path / "theirs.onnx", [("x", FLOAT, ["n", 4])])
        table = written(VECTORS, tmp_path / "v.parquet")
        found = judge(path, table, "--columns", "v,half")
        assert found.status == 0, found.err
        assert found.judgement["predictor"]["columns"] == ["v[0:3]", "half"]
        expected = (np.arange(ROWS) + FRAME["metric"].to_numpy() / 2) / 4
        assert found.part("all")["srocc"] == pytest.approx(spearmanr(FRAME["mos"], expected).statistic)
        features, _ = open_foreign(path, ["v[0:3]", "half"]).inputs(VECTORS.lazy(), "table")
        np.testing.assert_allclose(features[:, 3], VECTORS["half"], rtol=1e-6)
        np.testing.assert_allclose(features[:, :3], VECTORS["v"].to_numpy())
        whole = VECTORS.with_columns(v=pl.when(pl.int_range(ROWS) > 4).then("v"))
        assert judge(path, written(whole, table), "--columns", "v,half").judgement["counts"]["without_prediction"] == 5
        lists = whole.with_columns(pl.col("v").arr.to_list())
        assert judge(path, written(lists, table), "--columns", "v,half").judgement["counts"]["judged"] == ROWS - 5

    def test_what_the_graph_does_not_take_is_told_in_numbers(self, judge, tmp_path):
        path, table = (
            graph(tmp_path / "theirs.onnx", [("x", FLOAT, ["n", 2])]),
            written(VECTORS, tmp_path / "v.parquet"),
        )
        told = judge(path, table, "--columns", "v,half").err
        assert "and 4 numbers a row: v[0:3], half, expected 2 numbers a row, in the order of the input" in told
        assert "no column for v[0:2]" in judge(path, written(TWO, tmp_path / "2.parquet"), "--columns", "v[0:2]").err

    def test_of_a_column_of_vectors_one_number_is_judged(self, judge, tmp_path):
        table = written(VECTORS, tmp_path / "v.parquet")
        assert judge("v[1]", table).part("all")["srocc"] == pytest.approx(-judge("metric", table).part("all")["srocc"])
        told = judge("v", table).err
        assert "v: vectors of 3 numbers, expected one number a row; name one of them, v[0] to v[2], or a head" in told
        assert "v[3]: vectors of 3 numbers, expected a place from 0 to 2" in judge("v[3]", table).err
        assert "half of type Float64, expected a column of vectors" in judge("half[0]", table).err


class TestBaselines:
    """Baselines of the columns that a head reads, cross-fitted by content on the judged table."""

    def test_beside_a_head_of_ours_they_are_judged_on_the_rows_that_it_was_not_trained_on(self, judge, root):
        found = judge(NAME, root / "train.parquet", "--root", root, BASELINES)
        never, baselines = found.part("not trained on"), found.judgement["baselines"]
        assert set(baselines) == {"ridge", "svr", "kernel_ridge", "constant"}
        for name, one in baselines.items():
            assert (one["rows"], one["groups"]) == (never["rows"], never["groups"])
            assert one["head_minus"]["srocc"] == pytest.approx(never["srocc"] - (one["srocc"] or 0.0))
            assert f"baseline {name}" in found.out
        assert "cross-fitted by content on this table: each row is predicted from other contents" in found.out
        assert "judged on the rows that it was not trained on" in found.out
        assert "SROCC minus theirs: ridge " in found.out

    def test_they_read_the_columns_of_a_foreign_head_and_know_no_row_that_they_judge(self, judge, tmp_path):
        path = graph(tmp_path / "theirs.onnx", [("x", FLOAT, ["n", 2])])
        found = judge(path, written(TWO, tmp_path / "two.parquet"), "--columns", "half,other", BASELINES)
        baselines = found.judgement["baselines"]
        for name, one in baselines.items():
            low, high = one["head_minus"]["interval"]
            assert low <= one["head_minus"]["srocc"] <= high
            if name != "constant":
                assert {"srocc", "krocc", "plcc", "rmse"} <= set(one["interval_95"])
        assert baselines["ridge"]["rows"] == ROWS
        assert baselines["ridge"]["srocc"] > 0.9
        # Each row is told by the mean of other contents: never by its own.
        assert baselines["constant"]["rmse_over_sd"] > 1
        noise = TWO.with_columns(half=pl.col("mos").shuffle(seed=2), other=pl.col("mos").shuffle(seed=3))
        found = judge(path, written(noise, tmp_path / "noise.parquet"), "--columns", "half,other", BASELINES)
        assert all(abs(one["srocc"] or 0) < 0.4 for one in found.judgement["baselines"].values())

    def test_a_constant_has_errors_and_no_correlation_whatever_part_it_is_of(self, judge, root):
        found = judge(NAME, root / "train.parquet", "--root", root, BASELINES)
        constant = found.judgement["baselines"]["constant"]
        assert {constant[name] for name in ("srocc", "krocc", "plcc", "plcc_fitted")} == {None}
        assert constant["rmse"] > 0
        assert set(constant["interval_95"]) == {"rmse"}
        assert constant["head_minus"]["srocc"] == found.part("not trained on")["srocc"]

    def test_a_column_and_a_single_content_have_none_and_they_may_be_left_out(self, judge, table, root, tmp_path):
        assert judge("metric", table, BASELINES).judgement["baselines"] == {}
        alone = written(labelled(20, seed=3).with_columns(content_id=pl.lit("one")), tmp_path / "one.parquet")
        assert judge(NAME, alone, "--root", root, BASELINES).judgement["baselines"] == {}
        assert "baseline" not in judge(NAME, root / "train.parquet", "--root", root).out


def test_what_is_written_says_what_was_read_and_can_be_verified(judge, root, tmp_path):
    table = shutil.copy(root / "train.parquet", tmp_path / "table.parquet")
    found = judge(root / "models" / f"{NAME}.onnx", table, "--target", "mos")
    run = found.judgement["run_provenance"]
    assert found.judgement["schema"] == "judgement-v1"
    assert run["inputs"]["table"]["sha256"] == hashlib.sha256(table.read_bytes()).hexdigest()
    assert run["argv"][:3] == ["python", "-m", "vqa_assets.judge"]
    assert run["args"]["target"] == {"value": "mos", "from": "command line"}
    assert run["args"]["gate"] == {"value": None, "from": "default"}
    assert (tmp_path / "out" / "judgement.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "out" / "judgement.png").stat().st_size < 30_000
    verified = verify(tmp_path / "out" / "judgement.json")
    assert verified.holds
    assert verified.command.startswith("python -m vqa_assets.judge ")
    table.write_bytes(b"")
    assert not verify(tmp_path / "out" / "judgement.json").holds


@pytest.mark.parametrize("name", ["cost_$x_$", "質"])
def test_a_columns_name_stands_in_the_picture_as_it_is_written(judge, tmp_path, name, recwarn):
    assert judge(name, written(FRAME.rename({"metric": name}), tmp_path / "table.parquet")).status == 0
    assert (tmp_path / "out" / "judgement.png").read_bytes().startswith(b"\x89PNG")
    assert not [one for one in recwarn if "Glyph" in str(one.message)]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("metric", "{folder}/gone.parquet"), "gone.parquet: found nothing there, expected a table with rows"),
        (("metric", "{folder}/table.txt"), "the suffix '.txt'"),
        (("sharpness", "{table}"), "no column of table.parquet, which has key, corpus, content_id"),
        (("metrik", "{table}"), "no column of table.parquet; did you mean metric?"),
        (("{folder}/gone.onnx", "{table}"), "gone.onnx: found nothing there, expected an ONNX file"),
        (("word", "{table}"), "word: 'good', expected numbers"),
        (("metric", "{table}", "--target", "technical"), "expected a column of scores, technical; set target"),
        (("metric", "{table}", "--target", "word"), "word: 'good', expected numbers"),
        (("metric", "{table}", "--gate", "best"), "gate best: no recipe of that name, expected one of konvid_mos"),
        (("metric", "{table}", "--columns", "one"), "columns: metric, a column of the table"),
        (("metric", "{table}", "--out", "{table}"), "a file, expected a folder"),
        (("empty", "{table}"), "no row can be judged"),
    ],
)
def test_whatever_keeps_it_from_judging_is_told_with_status_2(tmp_path, capsys, arguments, told):
    written(FRAME.with_columns(empty=pl.lit(None, pl.Float64)), tmp_path / "table.parquet")
    (tmp_path / "table.txt").write_text("mos\n1\n")
    where = {"folder": tmp_path, "table": tmp_path / "table.parquet"}
    assert main([one.format(**where) for one in (*arguments, "--resamples", "2")]) == 2
    assert told in capsys.readouterr().err


def test_of_a_heads_name_typed_wrongly_the_nearest_is_told(judge, root):
    near = f"{NAME[:-2]}{NAME[-1]}{NAME[-2]}"
    assert f"{near}: no file of a head" in (told := judge(near, root / "train.parquet", "--root", root).err)
    assert told.rstrip().endswith(f"; did you mean {NAME}?")


def test_a_manifest_of_ours_says_the_columns_and_its_head_must_be_whole(judge, root, tmp_path):
    head = root / "models" / f"{NAME}.onnx"
    assert "whose manifest says what it reads" in judge(head, root / "train.parquet", "--columns", "adm2").err
    shutil.copy(root / "models" / f"{NAME}.json", tmp_path)
    (tmp_path / f"{NAME}.onnx").write_bytes(b"of another training")
    assert "SHA-256" in judge(tmp_path / f"{NAME}.onnx", root / "train.parquet").err
    off = written(labelled(30).with_columns(mos=pl.col("mos") * 20), tmp_path / "off.parquet")
    assert f"expected scores on the range of {NAME}" in judge(head, off).err


def test_the_command_runs_in_a_fresh_process_and_loads_nothing_heavy_to_say_how(table):
    done = subprocess.run(
        [sys.executable, "-m", "vqa_assets.judge", "metric", str(table), "--resamples", "10"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    first, second, _, header = done.stdout.splitlines()[:4]
    assert (first, second) == ("metric against mos of table.parquet", "90 of 90 rows judged")
    assert header.split() == [
        *("rows", "contents", "SROCC", "KROCC", "PLCC", "RMSE", "PLCC", "fitted", "RMSE", "fitted")
    ]
    program = "import sys, vqa_assets.judge; print([m for m in ('dagster', 'torch', 'polars') if m in sys.modules])"
    checked = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert checked.stdout.strip() == "[]"
