"""``fr_regressor_v2``: from the encode grid's training corpus to a head that gives VMAF, judged by source."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest

from vqa_assets.errors import EncodeGridError, SettingsError, TrainingError
from vqa_assets.feature_names import CANONICAL_6, FR_V2, preset_rank
from vqa_assets.heads.build import BuiltHead, build_head
from vqa_assets.heads.card import render_card
from vqa_assets.heads.members.export import run_onnx
from vqa_assets.heads.members.training import TorchTrainer
from vqa_assets.heads.recipe import FR_REGRESSOR_V2, CorpusFacts, Gate
from vqa_assets.heads.rows.reading import read_grid_table
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.predict import main
from vqa_assets_tests.shared.clips import tiny_clip
from vqa_assets_tests.shared.grids import tune_row, write_rows
from vqa_assets_tests.shared.head_tables import quiet

GRID_FACTS = {
    name: CorpusFacts(name, "research use", "They 2021", "as it came", "research-only", opinion_scores=False)
    for name in ("bvi-dvc", "netflix")
}


def encodes(sources: int, bvi: int = 0) -> list[dict[str, Any]]:
    """Twelve encodes a source whose VMAF follows CRF, encoder, preset and features; the first ``bvi`` are BVI-DVC's."""
    rng = np.random.default_rng(0)
    rows = []
    for source in range(sources):
        for i, crf in enumerate(np.linspace(18, 51, 12)):
            encoder, preset = (("libx264", "medium"), ("libx265", "slow"), ("libsvtav1", "8"))[i % 3]
            six = {f"{name}_mean": float(1 - crf / 100 + 0.05 * rng.standard_normal()) for name in CANONICAL_6}
            vmaf = float(np.clip(130 - 2 * crf + 3 * (i % 3) + rng.normal(0, 1.5), 0, 100))
            src = f"bvi-dvc:clip{source}" if source < bvi else f"ref{source}.yuv"
            named = {
                "src": src,
                "src_sha256": f"{source:064x}",
                "encoder": encoder,
                "preset": preset,
                "crf": float(crf),
            }
            rows.append(tune_row(len(rows), vmaf_score=vmaf, **named, **six))
    return rows


def build(path: Path, **settings: Any) -> BuiltHead:
    chosen = TrainingSettings(**{"epochs": 20, "device": "cpu", "protocol_splits": 2, **settings})
    return build_head(FR_REGRESSOR_V2, {"encode-grid": path}, GRID_FACTS, chosen, TorchTrainer(), quiet)


@pytest.fixture(scope="module")
def grid(tmp_path_factory) -> Path:
    failed = [tune_row(900 + i, src="ref1.yuv", exit_status=1, vmaf_score=float("nan")) for i in range(3)]
    odd = tune_row(950, src="ref1.yuv", preset="warp")
    return write_rows(tmp_path_factory.mktemp("grid") / "fr.jsonl", *encodes(6, bvi=2), *failed, odd)


@pytest.fixture(scope="module")
def built(grid) -> BuiltHead:
    return build(grid)


def test_the_gate_is_the_published_one():
    assert FR_REGRESSOR_V2.gate == Gate(0.95, None, None, 0.005, lowest_plcc=0.95)
    assert (FR_REGRESSOR_V2.least_sources, FR_REGRESSOR_V2.target.name) == (5, "vmaf")


def test_failed_encodes_and_unknown_presets_are_left_out_and_counted(built):
    counts = built.manifest["corpora"]["netflix"]["counts"]
    assert counts == {
        **{"rows_in": 52, "used": 48, "rows_failed": 3, "rows_missing_features": 1},
        **{"rows_unlabelled": 0, "duplicates": 0},
    }
    assert built.manifest["corpora"]["bvi-dvc"]["rows"] == 24


def test_six_sources_are_five_folds_and_nothing_else_is_held_out(built):
    folds = built.manifest["folds"]
    assert folds["kind"] == "sources"
    assert [(fold["name"], fold["rows"], fold["groups"]) for fold in folds["each"]] == [
        ("fold-0", 24, 2),
        *((f"fold-{n}", 12, 1) for n in range(1, 5)),
    ]
    assert built.manifest["holdout"]["rows"] == 0
    assert built.manifest["training_recipe"]["trained_on"] == "all rows"


def test_vmaf_is_learnt_on_its_own_range(built):
    assert built.manifest["vmaf_range"] == [0.0, 100.0]
    assert "mos_range" not in built.manifest
    mean = built.manifest["folds"]["mean"]
    assert mean["plcc"] > 0.97
    assert 1 < mean["rmse"] < 10
    assert built.manifest["gate"]["numbers"]["lowest_plcc"] <= mean["plcc"]
    assert built.manifest["gate"]["thresholds"] == {"mean_plcc": 0.95, "plcc_spread": 0.005, "lowest_plcc": 0.95}


def test_the_file_takes_an_encoder_and_gives_vmaf(built, grid):
    model = onnx.load_from_string(built.onnx)
    (output,) = model.graph.output
    assert output.name == "vmaf"
    assert built.manifest["encoder_vocab"] == ["libsvtav1", "libx264", "libx265"]
    table = read_grid_table([grid], FR_V2)
    vmaf = run_onnx(built.onnx, table.features, table.onehot)
    assert np.sqrt(np.mean((vmaf - table.mos) ** 2)) < 8
    assert np.all((vmaf >= 0) & (vmaf <= 100))
    other = np.roll(table.onehot, 1, axis=1)
    assert np.abs(run_onnx(built.onnx, table.features, other) - vmaf).max() > 0.1
    assert built.manifest["parity"]["max_abs_difference"] <= built.manifest["parity"]["limit"] == 2.5e-4


def test_the_cards_example_runs_beside_the_file(built, tmp_path, monkeypatch):
    (tmp_path / f"{built.file_stem}.onnx").write_bytes(built.onnx)
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", render_card(built.manifest), flags=re.DOTALL)
    names: dict[str, np.ndarray] = {}
    exec(example, names)  # what the card tells a reader to run
    assert names["vmaf"].shape == (1,)
    assert 0 <= names["vmaf"][0] <= 100


@pytest.fixture
def on_disk(built, tmp_path) -> Path:
    """The head's ONNX with its manifest beside it."""
    path = tmp_path / f"{built.file_stem}.onnx"
    path.write_bytes(built.onnx)
    told = {**built.manifest, "onnx": path.name, "sha256": hashlib.sha256(built.onnx).hexdigest()}
    path.with_suffix(".json").write_text(json.dumps(told))
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".csv"])
def test_the_command_scores_the_grids_rows(on_disk, built, grid, tmp_path, capsys, suffix):
    table = tmp_path / f"grid{suffix}"
    rows = pl.DataFrame(encodes(6, bvi=2)).drop("extra_params", strict=False)
    (rows.write_csv if suffix == ".csv" else rows.write_parquet if suffix == ".parquet" else rows.write_ndjson)(table)
    assert main([str(on_disk), str(table), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["scores"]
    trained_on = read_grid_table([grid], FR_V2)
    wanted = dict(zip(trained_on.keys, run_onnx(built.onnx, trained_on.features, trained_on.onehot), strict=True))
    assert len(told) == 72
    assert told[0]["key"].startswith("bvi-dvc:clip0 libx264 medium 18")
    for row, score in zip(encodes(6, bvi=2), told, strict=True):
        key = f"{row['src']} {row['encoder']} {row['preset']} crf {row['crf']:g}"
        assert score["vmaf"] == pytest.approx(float(wanted[key]), abs=1e-3)


def test_an_encoder_it_does_not_know_has_no_score_and_the_others_stand(on_disk, tmp_path, capsys):
    rows = pl.DataFrame(encodes(1)[:3]).with_columns(encoder=pl.Series(["libx264", "librav1e", None]))
    rows.write_parquet(tmp_path / "grid.parquet")
    assert main([str(on_disk), str(tmp_path / "grid.parquet"), "--csv"]) == 0
    out, err = capsys.readouterr()
    head, first, *others = out.splitlines()
    assert head == "source,key,vmaf,reason,vmaf_low,vmaf_high,out_of_range"
    assert 0 <= float(first.split(",")[2]) <= 100
    assert [line.split(",")[2:6] for line in others] == [["", "a feature or the encoder is not known", "", ""]] * 2
    assert "2 of 3 without a score" in err


def test_a_table_without_encoders_and_a_bare_clip_are_refused(on_disk, tmp_path, capsys):
    pl.DataFrame(encodes(1)[:3]).drop("encoder").write_parquet(tmp_path / "grid.parquet")
    assert main([str(on_disk), str(tmp_path / "grid.parquet")]) == 1
    assert "no column encoder" in capsys.readouterr().err
    tiny_clip(tmp_path / "a.mp4", seed=1)
    assert main([str(on_disk), str(tmp_path / "a.mp4")]) == 1
    assert "compares an encode with its source" in capsys.readouterr().err


def test_an_onnx_of_other_inputs_than_its_manifest_says_is_refused(on_disk, grid, capsys):
    sidecar = on_disk.with_suffix(".json")
    sidecar.write_text(json.dumps({**json.loads(sidecar.read_text()), "encoder_vocab": ["libx264", "libx265"]}))
    assert main([str(on_disk), str(grid)]) == 1
    assert 'expected that of its manifest: ["libx264", "libx265"]' in capsys.readouterr().err


def test_the_card_and_the_manifest_speak_of_encodes_on_vmafs_scale(built):
    assert "then 100 · sigmoid" in built.manifest["training_recipe"]["architecture"]
    card = render_card(built.manifest)
    assert "# one row per encode, in the order" in card
    assert "1.0 for the encode's one of" in card


def test_the_card_speaks_of_sources(built):
    card = render_card(built.manifest)
    assert "Full-reference regressor" in card
    assert "fold-4" in card
    assert "## Results, folds by source content" in card
    # Six sources left out are too few for an interval.
    assert "- No interval stands beside its scores: not measured: 6 contents, at least 10 are needed." in card


@pytest.mark.parametrize("sources", [2, 4])
def test_under_five_sources_nothing_is_a_fold(tmp_path, sources):
    m = build(write_rows(tmp_path / "fr.jsonl", *encodes(sources)), epochs=2).manifest
    assert (m["folds"]["kind"], m["folds"]["each"], m["status"]) == ("insufficient-sources", [], "Proposed")
    assert m["gate"]["reasons"][0].startswith(f"insufficient-sources: {sources} sources, at least 5")
    assert m["absent"] == ["bvi-dvc"]
    card = render_card(m)
    assert "insufficient-sources" in card
    assert "Not measured: there are too few sources" in card
    assert "beat a ridge" not in card


def test_one_content_at_four_sizes_is_one_source(tmp_path):
    rows = [row | {"content_id": f"content{i // 48}"} for i, row in enumerate(encodes(16))]
    m = build(write_rows(tmp_path / "fr.jsonl", *rows), epochs=2, export=False).manifest
    assert m["gate"]["reasons"][0].startswith("insufficient-sources: 4 sources, at least 5")


def test_sources_of_one_encode_each_are_no_folds(tmp_path):
    path = write_rows(tmp_path / "fr.jsonl", *(row for row in encodes(6) if row["crf"] == 18.0))
    m = build(path, epochs=2, export=False, allow_missing_features=FR_V2.columns).manifest
    (reason,) = m["gate"]["reasons"]
    assert reason.startswith("insufficient-sources: 6 sources of too few rows or one encode each: two folds need three")


def test_a_smoke_run_passes_its_gate_and_needs_no_grid():
    m = build_head(FR_REGRESSOR_V2, {}, {}, TrainingSettings(smoke=True, device="cpu"), TorchTrainer(), quiet).manifest
    assert (m["smoke"], m["gate"]["passed"], m["status"]) == (True, True, "Proposed")


def test_no_grid_says_what_to_materialize():
    with pytest.raises(TrainingError, match=r"no encode grid: no training corpus, .*materialize fr_training_corpus"):
        build_head(FR_REGRESSOR_V2, {}, {}, TrainingSettings(), TorchTrainer(), quiet)


def test_a_row_with_opinions_is_refused_with_its_line(tmp_path):
    path = write_rows(tmp_path / "fr.jsonl", tune_row(), {"src": "a", "src_sha256": "b", "mos": 3.0, "corpus": "lsvq"})
    with pytest.raises(EncodeGridError, match=r"fr\.jsonl:2: a row with opinions"):
        build(path)


def test_only_failed_encodes_are_nothing_to_train_on(tmp_path):
    path = write_rows(tmp_path / "fr.jsonl", tune_row(0, exit_status=1), tune_row(1, exit_status=137))
    with pytest.raises(TrainingError, match="no encode to train on: 2 encodes that failed"):
        build(path)


def test_a_source_can_be_excluded_and_a_misspelt_one_is_an_error(grid):
    m = build(grid, epochs=2, exclude_corpora=("bvi-dvc",), export=False).manifest
    assert (list(m["corpora"]), m["excluded"], m["folds"]["kind"]) == (["netflix"], ["bvi-dvc"], "insufficient-sources")
    with pytest.raises(SettingsError, match="exclude_corpora: bvi, expected some of bvi-dvc, netflix"):
        build(grid, exclude_corpora=("bvi",))


@pytest.mark.parametrize(
    ("preset", "rank"),
    [
        *(("ultrafast", 0), ("medium", 5), ("Placebo", 9), ("p1", 0), ("p7", 9), ("13", 0), ("0", 9)),
        *(("p0", None), ("14", None), ("warp", None), ("", None), ("²", None)),
    ],
)
def test_presets_are_ranked_from_fast_to_slow(preset, rank):
    assert preset_rank(preset) == rank


def test_columns_of_the_grid_can_be_named(tmp_path):
    rows = [row | {"bitrate_kbps": 90.0 - row["vmaf_score"] + i % 5} for i, row in enumerate(encodes(6))]
    path = write_rows(tmp_path / "fr.jsonl", *rows)
    m = build(path, epochs=2, protocol_splits=0, columns=("bitrate_kbps", "crf_norm")).manifest
    assert m["feature_order"] == ["bitrate_kbps", "crf_norm"]
    with pytest.raises(TrainingError, match=r"gone \(absent or all missing\)"):
        build(path, epochs=2, protocol_splits=0, columns=("gone", "crf_norm"))


def test_a_grid_is_read_once(tmp_path):
    path = write_rows(tmp_path / "fr.jsonl", *encodes(6))
    with pytest.raises(SettingsError, match="expected each file once"):
        build(path, extra_tables={"more": str(path)})
