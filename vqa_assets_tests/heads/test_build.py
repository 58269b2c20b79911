import hashlib
import io
import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import polars as pl
import pytest
from PIL import Image

from vqa_assets.errors import SchemaError, SettingsError, TrainingError
from vqa_assets.feature_names import KONVID_V1
from vqa_assets.heads.build import BuiltHead, build_head
from vqa_assets.heads.card import render_card
from vqa_assets.heads.members.export import run_onnx
from vqa_assets.heads.members.training import TorchTrainer
from vqa_assets.heads.members.weights import encoder_onehot
from vqa_assets.heads.publish import HeadInputs, card_png, publish_head
from vqa_assets.heads.recipe import FR_REGRESSOR_V2, KONVID_MOS_HEAD_V1, Gate
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.heads.using import open_head
from vqa_assets.metrics import srocc
from vqa_assets.provenance import RunContext
from vqa_assets.provenance.verify import verify
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.head_tables import FACTS, labelled, quiet, written

RECIPE = KONVID_MOS_HEAD_V1
QUICK = TrainingSettings(epochs=3, device="cpu", protocol_splits=0)
MANIFEST_KEYS = {
    *(
        "schema",
        "id",
        "experiment",
        "kind",
        "title",
        "target",
        "status",
        "intended_use",
        "not_for",
        "smoke",
        "synthetic",
        "onnx",
        "sha256",
    ),
    *(
        "opset",
        "ir_version",
        "feature_schema",
        "feature_order",
        "feature_mean",
        "feature_std",
        "filled",
        "constant",
        "backbones",
    ),
    *("feature_low", "feature_high", "interval", "no_interval"),
    *(
        "encoder_vocab",
        "encoder_vocab_version",
        "mos_range",
        "n_parameters",
        "training_recipe",
        "folds",
        "beats_ridge",
        "protocol",
        "label_noise",
    ),
    *("holdout", "given_tests", "gate", "corpora", "absent", "excluded", "unused", "redistribution", "parity"),
    *("help", "advice"),
}


def build(tables: dict[str, Path], settings: TrainingSettings = QUICK, recipe=RECIPE, say=quiet) -> BuiltHead:
    return build_head(recipe, tables, FACTS, settings, TorchTrainer(), say)


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    # The first half of the contents stands on a ladder, and of the last clips nothing is said.
    row = pl.int_range(pl.len())
    mode = pl.when(row < 100).then(pl.lit("ladder")).when(row < 190).then(pl.lit("recompressed"))
    frame = labelled(200).with_columns(vmaf=60 + 10 * pl.col("adm2"), feature_reference=mode)
    return written(frame, tmp_path_factory.mktemp("tables") / "konvid-1k.parquet")


@pytest.fixture(scope="module")
def told() -> list[str]:
    return []


@pytest.fixture(scope="module")
def built(table, told) -> BuiltHead:
    return build({"konvid-1k": table}, say=told.append)


@pytest.fixture(scope="module")
def smoke() -> BuiltHead:
    return build({}, TrainingSettings(smoke=True, device="cpu"))


def test_the_manifest_has_every_key_and_no_nan(built):
    assert set(built.manifest) == MANIFEST_KEYS
    assert json.loads(json.dumps(built.manifest, allow_nan=False)) == built.manifest
    assert built.manifest["schema"] == "mos-head-manifest-v1"


def test_the_manifest_describes_the_file(built):
    m = built.manifest
    assert (built.file_stem, m["id"], m["onnx"]) == ("konvid_mos_head_v1",) * 2 + ("konvid_mos_head_v1.onnx",)
    assert m["sha256"] == hashlib.sha256(built.onnx).hexdigest()
    assert (m["opset"], m["ir_version"], m["mos_range"]) == (17, 8, [1.0, 5.0])
    assert m["feature_order"] == list(KONVID_V1.columns)
    assert len(m["feature_mean"]) == len(m["feature_std"]) == 11
    # a member: 12·64 + 64, 64·64 + 64, 64 + 1, and the skip's 12 + 1
    assert m["n_parameters"] == 5 * (12 * 64 + 64 + 64 * 64 + 64 + 65 + 13) + 4_097
    assert m["parity"]["max_abs_difference"] <= m["parity"]["limit"] == 1e-5
    assert (m["encoder_vocab"], m["encoder_vocab_version"]) == (["ugc-mixed"], 4)


def test_the_file_says_of_itself_what_it_is(built):
    model = onnx.load_from_string(built.onnx)
    props = {p.key: p.value for p in model.metadata_props}
    assert props["id"] == "konvid_mos_head_v1"
    assert props["licence"] == "konvid-1k: research use"
    assert props["citations"] == "Hosu et al. 2017"
    assert props["redistribution"] == built.manifest["redistribution"]["consequence"]
    assert json.loads(props["feature_order"]) == list(KONVID_V1.columns)
    assert (props["smoke"], props["synthetic"]) == ("false", "false")


def test_rows_are_accounted_for(built):
    m = built.manifest
    assert m["corpora"]["konvid-1k"]["rows"] == m["holdout"]["rows"] + m["training_recipe"]["rows"] == 200
    assert sum(fold["rows"] for fold in m["folds"]["each"]) == m["training_recipe"]["rows"]
    assert (m["absent"], m["excluded"]) == (["konvid-150k"], [])


def test_how_often_intervals_held_stands_in_the_manifest_and_the_card(built):
    m, card = built.manifest, render_card(built.manifest)
    interval = m["interval"]
    assert (interval["level"], m["no_interval"]) == (0.9, "")
    assert (interval["rows"], interval["groups"]) == (m["folds"]["pooled"]["rows"], m["folds"]["pooled"]["groups"])
    held, of_corpora = interval["coverage"]["holdout"], interval["coverage"]["corpora"]
    assert (held["rows"], held["groups"]) == (m["holdout"]["rows"], m["holdout"]["groups"])
    assert {name: one["rows"] for name, one in of_corpora.items()} == {"konvid-1k": interval["rows"]}
    assert 0.8 < of_corpora["konvid-1k"]["share"] <= 1
    assert f"It held {100 * held['share']:.1f} % of the {held['rows']} rows held out (±{held['width'] / 2:.3f}" in card
    assert f"konvid-1k {100 * of_corpora['konvid-1k']['share']:.1f} % of {interval['rows']} (±" in card


def test_baselines_and_vmaf_stand_on_the_same_folds(built):
    baselines = built.manifest["folds"]["baselines"]
    assert set(baselines) == {"constant", "ridge", "vmaf"}
    for one in baselines.values():
        assert [fold["rows"] for fold in one["each"]] == [fold["rows"] for fold in built.manifest["folds"]["each"]]
    assert baselines["constant"]["mean"]["plcc"] is None


def test_the_hold_out_says_how_vmaf_agrees_with_opinions_by_what_it_was_measured_against(built, table):
    held, whole = built.manifest["holdout"], pl.read_parquet(table)
    assert sum(one["rows"] for one in held["vmaf"].values()) == held["rows"]
    assert {"ladder", "recompressed"} <= set(held["vmaf"])
    rows = whole.filter(~pl.col("key").is_in(built.predictions.keys), feature_reference="ladder")
    ladder = held["vmaf"]["ladder"]
    assert ladder["rows"] == len(rows)
    assert ladder["srocc"] == pytest.approx(srocc(rows["mos"], rows["vmaf"]))
    of_folds = Counter(whole.filter(pl.col("key").is_in(built.predictions.keys))["feature_reference"].to_list())
    of_folds["not stated"] = of_folds.pop(None)
    assert built.manifest["folds"]["vmaf_rows"] == of_folds
    card = render_card(built.manifest)
    of_ladder = f"- VMAF (`feature_reference`: ladder) on {len(rows)} of the held-out rows"
    assert f"{of_ladder}: SROCC {ladder['srocc']:.3f}, PLCC {ladder['plcc']:.3f}." in card
    assert f"{of_folds['ladder']} of these rows (`feature_reference`: ladder)" in card


def test_intervals_hold_their_value(built):
    for judged in (built.manifest["folds"]["pooled"], built.manifest["holdout"]):
        for metric, (low, high) in judged["interval_95"].items():
            assert low <= judged[metric] <= high


def test_a_missed_gate_is_a_proposal_and_says_why(built, told):
    gate = built.manifest["gate"]
    assert (built.manifest["status"], gate["passed"]) == ("Proposed", False)
    assert any("PLCC spread" in reason for reason in gate["reasons"])
    assert gate["thresholds"] == {"mean_plcc": 0.85, "mean_srocc": 0.82, "mean_rmse": 0.45, "plcc_spread": 0.005}
    assert any("Proposed; " in line for line in told)
    assert "konvid-1k: 200 of 200 rows" in told


def test_a_passed_gate_is_production(table):
    lenient = replace(RECIPE, gate=Gate(0.1, 0.1, 2.0, 0.9))
    done = build({"konvid-1k": table}, recipe=lenient)
    assert (done.manifest["status"], done.manifest["gate"]["reasons"]) == ("Production", [])


def test_the_predictions_are_out_of_fold(built):
    p = built.predictions
    assert len(p.keys) == len(set(p.keys)) == len(p.mos) == built.manifest["training_recipe"]["rows"]
    assert set(p.fold) == {0, 1, 2, 3, 4}
    assert len({(group, fold) for group, fold in zip(p.groups, p.fold, strict=True)}) == len(set(p.groups))


def test_the_same_seed_builds_the_same_bytes_and_another_seed_others(built, table):
    assert build({"konvid-1k": table}).onnx == built.onnx
    assert build({"konvid-1k": table}, QUICK.but(seed=3)).onnx != built.onnx


def test_a_smoke_run_takes_another_name_passes_its_gate_and_is_never_production(smoke):
    m = smoke.manifest
    assert (smoke.file_stem, m["onnx"]) == ("konvid_mos_head_v1.smoke", "konvid_mos_head_v1.smoke.onnx")
    assert (m["smoke"], m["synthetic"], m["corpora"], m["redistribution"]) == (True, True, {}, None)
    assert m["gate"]["passed"]
    assert m["status"] == "Proposed"
    props = {p.key: p.value for p in onnx.load_from_string(smoke.onnx).metadata_props}
    assert props["smoke"] == "true"


def test_two_smoke_runs_give_equal_bytes_whatever_tables_are_there(smoke, table):
    assert build({"konvid-1k": table}, TrainingSettings(smoke=True, device="cpu")).onnx == smoke.onnx


def test_no_table_at_all_says_which_were_looked_for():
    with pytest.raises(TrainingError) as told:
        build({})
    assert str(told.value) == (
        "konvid_mos_head_v1: no labelled table: absent: konvid-1k, konvid-150k; excluded: none, "
        "expected the table of at least one of konvid-1k, konvid-150k; materialize mos_features of one of them"
    )


def test_no_labelled_row_is_an_error_unless_the_fallback_is_allowed(tmp_path):
    bare = written(labelled(30).with_columns(mos=pl.lit(None, pl.Float64)), tmp_path / "a.parquet")
    with pytest.raises(TrainingError, match="no labelled row"):
        build({"konvid-1k": bare})
    done = build({"konvid-1k": bare}, QUICK.but(allow_synthetic_fallback=True))
    assert done.file_stem == "konvid_mos_head_v1.synthetic"
    assert (done.manifest["smoke"], done.manifest["synthetic"], done.manifest["status"]) == (False, True, "Proposed")
    assert "trained on synthetic rows" in done.manifest["gate"]["reasons"]


def test_bad_features_are_an_error_even_with_the_fallback(tmp_path):
    flat = written(labelled(30).with_columns(adm2=pl.lit(1.0)), tmp_path / "a.parquet")
    with pytest.raises(TrainingError, match="adm2"):
        build({"konvid-1k": flat}, QUICK.but(allow_synthetic_fallback=True))


def test_extra_and_replaced_tables_and_exclusions(table, tmp_path):
    mine = str(written(labelled(60, seed=9), tmp_path / "mine.parquet"))
    extra = build({"konvid-1k": table}, QUICK.but(extra_tables={"mine": mine}, export=False)).manifest
    assert set(extra["corpora"]) == {"konvid-1k", "mine"}
    assert extra["corpora"]["mine"]["licence"] == "not declared"
    assert extra["redistribution"]["strictest"] == "unknown"
    assert set(extra["folds"]["per_corpus"]) == {"konvid-1k", "mine"}
    only = QUICK.but(extra_tables={"mine": mine}, exclude_corpora=("konvid-1k",), export=False)
    excluded = build({"konvid-1k": table}, only).manifest
    assert (set(excluded["corpora"]), excluded["excluded"]) == ({"mine"}, ["konvid-1k"])
    instead = build({"konvid-1k": table}, QUICK.but(tables={"mine": mine}, export=False)).manifest
    assert (set(instead["corpora"]), instead["absent"]) == ({"mine"}, [])


def test_excluding_a_corpus_that_is_not_there_is_an_error(table):
    with pytest.raises(SettingsError, match="konvid-1m, expected some of konvid-1k, konvid-150k"):
        build({"konvid-1k": table}, QUICK.but(exclude_corpora=("konvid-1m",)))


def test_computed_scores_are_never_a_target(table):
    facts = {"konvid-1k": replace(FACTS["konvid-1k"], opinion_scores=False)}
    with pytest.raises(TrainingError, match="no opinions: konvid-1k"):
        build_head(RECIPE, {"konvid-1k": table}, facts, QUICK, TorchTrainer(), quiet)


def test_own_columns_make_a_narrower_head(table):
    done = build({"konvid-1k": table}, QUICK.but(columns=("vmaf", "motion2")))
    assert (done.manifest["feature_schema"], done.manifest["feature_order"]) == ("own-columns", ["vmaf", "motion2"])
    assert run_onnx(done.onnx, np.ones((3, 2), np.float32), encoder_onehot(3)).shape == (3,)


def test_without_export_there_is_no_file(table):
    done = build({"konvid-1k": table}, QUICK.but(export=False))
    assert done.onnx is None
    assert [done.manifest[key] for key in ("onnx", "sha256", "parity")] == [None, None, None]
    assert "onnxruntime" not in render_card(done.manifest)


def test_with_a_split_everywhere_the_gate_reads_test_once_and_may_pass_without_a_spread(tmp_path):
    words = ["train"] * 120 + ["val"] * 40 + ["test"] * 40
    frame = labelled(200).with_columns(split=pl.Series(words), vmaf=10 * pl.col("mos"))
    path = written(frame.with_columns(feature_reference=pl.lit("recompressed")), tmp_path / "a.parquet")
    done = build({"konvid-1k": path}, recipe=replace(RECIPE, gate=Gate(0.1, 0.1, 2.0, 0.9)))
    m = done.manifest
    assert [fold["name"] for fold in m["folds"]["each"]] == ["test"]
    assert (m["folds"]["each"][0]["rows"], m["training_recipe"]["rows"], m["holdout"]["rows"]) == (40, 120, 0)
    assert (m["status"], m["gate"]["passed"], m["gate"]["reasons"]) == ("Production", True, [])
    assert (m["gate"]["not_asked"], m["gate"]["numbers"]["plcc_spread"]) == (["plcc_spread"], None)
    assert {mode: vmaf["rows"] for mode, vmaf in m["holdout"]["vmaf"].items()} == {"recompressed": 40}
    predicted = run_onnx(done.onnx, *_test_rows(path))
    np.testing.assert_allclose(predicted, done.predictions.predicted, atol=1e-5)  # the judged head is the shipped one
    card = render_card(m)
    assert "the corpora's own split" in card
    assert "| plcc_spread | not measured | 0.9, not asked for |" in card
    assert "(`feature_reference`: recompressed) on 40 of the rows that judge: SROCC 1.000" in card


def _test_rows(path: Path) -> tuple[np.ndarray, np.ndarray]:
    rows = pl.read_parquet(path).filter(pl.col("split") == "test").select(KONVID_V1.columns)
    return rows.to_numpy().astype(np.float32), encoder_onehot(len(rows))


def test_where_one_corpus_has_a_split_its_test_rows_are_reported(table, tmp_path):
    words = ["train"] * 60 + ["test"] * 60
    other = written(labelled(120, seed=4).with_columns(split=pl.Series(words)), tmp_path / "b.parquet")
    m = build({"konvid-1k": table, "konvid-150k": other}, QUICK.but(export=False)).manifest
    assert m["given_tests"]["konvid-150k"]["rows"] == 60
    assert m["folds"]["kind"] == "folds"
    assert "Test rows of konvid-150k: SROCC" in render_card(m)


def test_the_cards_example_runs_beside_the_file(built, tmp_path, monkeypatch, capsys):
    (tmp_path / f"{built.file_stem}.onnx").write_bytes(built.onnx)
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", render_card(built.manifest), flags=re.DOTALL)
    assert len(example.splitlines()) <= 10
    names: dict[str, np.ndarray] = {}
    exec(example, names)  # what the card tells a reader to run
    assert names["mos"].shape == (1,)
    assert 1 <= names["mos"][0] <= 5
    assert capsys.readouterr().out.startswith("[")


def test_the_card_tells_what_a_user_must_know(built):
    card = render_card(built.manifest)
    for part in (
        "# KonViD MOS head (`konvid_mos_head_v1`)",
        "**Proposed**. It missed its gate:",
        "Not for:",
        "Hosu et al. 2017",
        "the head is for research use only; every corpus must be cited",
        "Without a table: konvid-150k.",
        "| ridge (mean) |",
        "held out before anything else",
        "float32 (N, 11)",
        built.manifest["sha256"],
    ):
        assert part in card
    assert not re.search(r"\bnan\b|\bNone\b", card)


def test_the_card_of_a_smoke_head_says_it_means_nothing(smoke):
    assert "It says nothing about any video." in render_card(smoke.manifest)


def test_the_cards_tables_have_equal_columns_in_every_line(tmp_path, table):
    other = written(labelled(60, seed=4), tmp_path / "b.parquet")  # its licence holds a |
    card = render_card(build({"konvid-1k": table, "konvid-150k": other}, QUICK).manifest)
    blocks = re.findall(r"(?:^\|.*\n)+", card, flags=re.MULTILINE)
    assert len(blocks) == 5
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_residuals_are_told_by_corpus(built):
    p, (told,) = built.predictions, built.manifest["folds"]["residuals"].values()
    apart = p.predicted.astype(np.float64) - p.mos
    assert told["mean"] == pytest.approx(apart.mean(), abs=1e-6)
    assert told["p05"] == pytest.approx(np.quantile(apart, 0.05), abs=1e-6)
    assert f"| konvid-1k | {told['mean']:.3f} | {told['sd']:.3f} |" in render_card(built.manifest)


def test_what_is_published_has_a_picture_and_a_card_that_says_what_was_read(built, table, tmp_path):
    root = DataRoot(tmp_path)
    inputs = HeadInputs("konvid_mos_head_v1", QUICK, {"features_with_mos_konvid-1k": table}, {"konvid-1k": [table]})
    done = publish_head(built, inputs, RunContext(root, {}, Path(__file__)))
    assert done.picture.read_bytes() == card_png(built.predictions, built.manifest)
    card = done.card.read_text(encoding="utf-8")
    assert f"]({done.picture.name})" in card
    sha256 = hashlib.sha256(table.read_bytes()).hexdigest()
    assert f"- read features_with_mos_konvid-1k: SHA-256 `{sha256}`" in card
    assert f"- made {done.manifest['run_provenance']['started_at_utc']}" in card


def test_nothing_is_cut_off_in_the_cards_picture(built):
    names = tuple(["youtube-ugc-with-a-long-name", "konvid-150k"][i % 2] for i in range(len(built.predictions.keys)))
    drawn = card_png(replace(built.predictions, corpora=names), {**built.manifest, "target": "mos_technical"})
    pixels = np.asarray(Image.open(io.BytesIO(drawn)).convert("L"))
    for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert edge.min() == 255


def test_the_predictions_are_published_beside_the_onnx_and_are_an_output_of_the_run(built, table, tmp_path):
    root = DataRoot(tmp_path)
    context = RunContext(root, {"asset_key": "konvid_mos_head_v1"}, Path(__file__))
    done = publish_head(
        built, HeadInputs("konvid_mos_head_v1", QUICK, {"konvid-1k": table}, {"konvid-1k": [table]}), context
    )
    assert done.predictions == root.models() / "konvid_mos_head_v1.predictions.parquet"
    frame = pl.read_parquet(done.predictions)
    assert frame.columns == ["key", "corpus", "content_id", "fold", "mos", "predicted"]
    assert frame["key"].to_list() == list(built.predictions.keys)
    assert frame["predicted"].to_list() == built.predictions.predicted.tolist()
    contents = frame.join(pl.read_parquet(table), on="key", suffix="_of_table")
    assert contents["content_id"].to_list() == contents["content_id_of_table"].to_list()
    assert set(done.manifest["run_provenance"]["outputs"]) == {"onnx", "predictions"}
    assert verify(done.manifest_path, root).holds
    written(frame.with_columns(predicted=pl.lit(3.0, pl.Float32)), done.predictions)
    assert not verify(done.manifest_path, root).holds


def test_where_one_of_a_heads_files_is_refused_none_is_replaced(built, table, tmp_path):
    root = DataRoot(tmp_path)
    inputs, context = (
        HeadInputs("konvid_mos_head_v1", QUICK, {"konvid-1k": table}, {"konvid-1k": [table]}),
        RunContext(root, {}, Path(__file__)),
    )
    done = publish_head(built, inputs, context)
    done.card.unlink()
    done.card.mkdir()
    before = {path.name: path.read_bytes() for path in root.models().iterdir() if path.is_file()}
    other = replace(
        built, onnx=b"another training", predictions=replace(built.predictions, keys=built.predictions.keys)
    )
    with pytest.raises(IsADirectoryError):
        publish_head(other, inputs, context)
    assert {path.name: path.read_bytes() for path in root.models().iterdir() if path.is_file()} == before
    broken = replace(built, onnx=b"another training", manifest={**built.manifest, "status": "Fine"})
    done.card.rmdir()
    with pytest.raises(SchemaError, match="one of Production, Proposed"):
        publish_head(broken, inputs, context)
    assert {path.name: path.read_bytes() for path in root.models().iterdir()} == before


def test_the_picture_is_a_small_png(built):
    png = card_png(built.predictions, built.manifest)
    assert png.startswith(b"\x89PNG")
    assert len(png) < 40_000


def test_the_picture_stays_small_for_a_large_corpus(built):
    rng = np.random.default_rng(0)
    mos = rng.uniform(1, 5, 150_000).astype(np.float32)
    corpora = tuple(f"corpus-{i % 15}" for i in range(len(mos)))
    many = replace(
        built.predictions, corpora=corpora, mos=mos, predicted=mos + rng.normal(0, 0.4, len(mos)).astype(np.float32)
    )
    assert len(card_png(many, built.manifest)) < 50_000


def test_folds_learn_in_batches_of_the_shipped_heads_size(tmp_path):
    class Seen(TorchTrainer):
        def train(self, data, heads, settings, progress):
            self.batches = {settings.batch_rows(len(head.rows)) for head in heads}
            raise TrainingError("seen enough")

    seen, many = Seen(), written(labelled(6_000), tmp_path / "many.parquet")
    with pytest.raises(TrainingError, match="seen enough"):
        build_head(KONVID_MOS_HEAD_V1, {"konvid-1k": many}, FACTS, QUICK, seen, quiet)
    assert seen.batches == {2_048}


def test_a_corpus_of_which_no_row_is_used_decides_no_licence(tmp_path):
    used = written(labelled(80), tmp_path / "a.parquet")
    none = written(labelled(40, seed=1).with_columns(mos_label_status=pl.lit("missing-label")), tmp_path / "b.parquet")
    m = build({"konvid-1k": used, "konvid-150k": none}, QUICK.but(epochs=1)).manifest
    assert (list(m["corpora"]), list(m["unused"]), m["absent"]) == (["konvid-1k"], ["konvid-150k"], [])
    assert m["unused"]["konvid-150k"]["rows_unlabelled"] == 40
    alone = build({"konvid-1k": used}, QUICK.but(epochs=1)).manifest
    assert m["redistribution"] == alone["redistribution"]
    assert "No row used: konvid-150k." in render_card(m)


@pytest.fixture(scope="module")
def technical(tmp_path_factory) -> Path:
    """A table with a further score that runs against the first, and is unknown of ten rows."""
    of_rows = pl.when(pl.int_range(pl.len()) >= 10).then(6 - pl.col("mos"))
    frame = labelled(120).with_columns(mos_technical=of_rows, mos_raw_0_100=25 * (pl.col("mos") - 1))
    return written(frame, tmp_path_factory.mktemp("technical") / "konvid-1k.parquet")


def test_a_head_may_learn_a_further_score_and_says_so_everywhere(technical, tmp_path):
    settings = TrainingSettings(epochs=1, device="cpu", protocol_splits=0, target="mos_technical")
    built = build({"konvid-1k": technical}, settings)
    manifest = built.manifest
    counts = manifest["corpora"]["konvid-1k"]["counts"]
    assert (counts["rows_in"], counts["used"], counts["rows_unlabelled"]) == (120, 110, 10)
    # it predicts the further score, which falls where the first rises
    truth = dict(pl.read_parquet(technical).select("key", "mos_technical").iter_rows())
    assert built.predictions.mos.mean() == pytest.approx(np.mean([v for v in truth.values() if v]), abs=0.05)
    assert manifest["folds"]["mean"]["plcc"] > 0.3
    assert (manifest["target"], manifest["gate"]["target"], manifest["mos_range"]) == ("mos_technical",) * 2 + ([1, 5],)
    assert "its scores are mos_technical, a further score" in manifest["intended_use"]
    assert "## Gate, on `mos_technical`" in render_card(manifest)
    loaded = onnx.load_from_string(built.onnx)
    assert {p.key: p.value for p in loaded.metadata_props}["target"] == "mos_technical"
    assert [output.name for output in loaded.graph.output] == ["mos"]
    head = publish_head(
        built,
        HeadInputs(RECIPE.name, settings, {"konvid-1k": technical}, {"konvid-1k": [technical]}),
        RunContext(DataRoot(tmp_path), {}, Path(__file__)),
    )
    assert open_head(head.onnx).target == "mos_technical"


def test_a_target_that_a_table_lacks_is_told_with_the_scores_it_has(technical):
    with pytest.raises(TrainingError) as caught:
        build({"konvid-1k": technical}, QUICK.but(target="mos_colour"))
    assert str(caught.value) == (
        "labelled table of konvid-1k: no column mos_colour (scores: mos, mos_technical), expected the target of this "
        "run in every table; declare it (scores) and label the corpus again, or name konvid-1k in exclude_corpora"
    )


@pytest.mark.parametrize("target", ["vmaf", "technical", "mos_std_dev", "mos_raw_0_100", "mos_native", ""])
def test_a_target_is_the_score_or_a_further_one(target):
    with pytest.raises(SettingsError, match=r"target: .*, expected the column mos, or that of a further score"):
        TrainingSettings.of({"target": target}, "")


def test_a_head_of_a_computed_score_has_no_other_target():
    with pytest.raises(SettingsError, match="expected no target: fr_regressor_v2 learns vmaf"):
        build({}, QUICK.but(target="mos_technical"), FR_REGRESSOR_V2)
