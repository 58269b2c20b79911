"""Heads that read vectors of backbones: what they learn, say and refuse, and how they score tables and clips."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import polars as pl
import pytest

from vqa_assets.backbones.folder import read_backbone
from vqa_assets.corpora.corpus import REDISTRIBUTION
from vqa_assets.errors import HeadError, SettingsError, TrainingError
from vqa_assets.feature_names import KONVID_V1
from vqa_assets.heads.across import evaluate_across, recipe_of
from vqa_assets.heads.build import build_head
from vqa_assets.heads.card import render_card
from vqa_assets.heads.experiments import check_same_head
from vqa_assets.heads.help.sources import HelpSources, sources_of_help
from vqa_assets.heads.members.training import TorchTrainer
from vqa_assets.heads.publish import HeadInputs, publish_head
from vqa_assets.heads.recipe import HeadRecipe, corpus_head_recipe
from vqa_assets.heads.rows.choosing import chosen_rows
from vqa_assets.heads.rows.reading import TrainingTable, read_training_table
from vqa_assets.heads.rows.vectors import with_backbones
from vqa_assets.heads.settings import TrainingSettings, schema_of
from vqa_assets.heads.using import open_head
from vqa_assets.judge import main as judge
from vqa_assets.predict import main
from vqa_assets.provenance import RunContext
from vqa_assets.tables.networks import RecordedNetwork, networks_mark
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.features.test_backbones import AS_THEY_ARE, lossless, plain_pictures
from vqa_assets_tests.shared.head_tables import FACTS, labelled, quiet, written
from vqa_assets_tests.shared.networks import backbone_folder, declared

OWN, OTHER = "konvid-1k", "konvid-150k"
SCHEMA = "konvid-v1+backbone:tiny"
QUICK = TrainingSettings(epochs=2, device="cpu", protocol_splits=0, feature_schema=SCHEMA)
ALONE = QUICK.but(feature_schema="backbone:tiny")
MEAN, SD = "tiny.resize.embedding_mean", "tiny.resize.embedding_sd"
TEXT = declared(
    title="Tiny", version="7", licence="Mine | 2", redistribution="research-only", citation="T. 2026", input=AS_THEY_ARE
)


def with_vectors(rows: int = 120, seed: int = 0, **columns: pl.Series) -> pl.DataFrame:
    """Clips as ``labelled``, whose MOS is about 1 and four times the brightness that the network makes of them."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(0.05, 0.95, rows)
    means = level[:, None] + rng.normal(0, 0.02, (rows, 3))
    made = {
        "mos": np.clip(1 + 4 * level + rng.normal(0, 0.1, rows), 1, 5),
        MEAN: means.astype(np.float32),
        SD: rng.uniform(0, 0.02, (rows, 3)).astype(np.float32),
    }
    return labelled(rows, seed).with_columns(**{n: pl.Series(v) for n, v in made.items()}).with_columns(**columns)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> DataRoot:
    """A data root with a backbone and two heads that read it: alone, and joined with konvid-v1."""
    root = DataRoot(tmp_path_factory.mktemp("data"))
    backbone_folder(root.path / "backbones", TEXT)
    table = written(with_vectors(), root.path / "train.parquet")
    for settings in (ALONE, QUICK.but(name="joined")):
        recipe = recipe_with(root, settings)
        built = build_head(recipe, {OWN: table}, FACTS, settings, TorchTrainer(), quiet)
        inputs = HeadInputs(recipe.name, settings, {OWN: table}, {OWN: [table]})
        publish_head(built, inputs, RunContext(root, {}, Path(__file__)))
    return root


def recipe_with(root: DataRoot, settings: TrainingSettings) -> HeadRecipe:
    return with_backbones(corpus_head_recipe(OWN), settings.feature_schema, root)


def manifest_of(root: DataRoot, name: str = "konvid_1k_mos_head") -> dict[str, Any]:
    folder = root.experiments() if name.endswith(".joined") else root.models()
    manifest: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return manifest


def read(root: DataRoot, settings: TrainingSettings = QUICK, **frames: pl.DataFrame) -> TrainingTable:
    paths = {}
    for number, frame in enumerate(frames.values()):
        paths[(OWN, OTHER)[number]] = written(frame, root.path / f"{number}.parquet")
    return read_training_table(paths, schema_of(recipe_with(root, settings), settings), settings.allow_missing_features)


def test_a_schema_of_a_backbone_alone_or_joined_reads_blocks_after_the_scalars(root: DataRoot) -> None:
    alone, joined = manifest_of(root), manifest_of(root, "konvid_1k_mos_head.joined")
    blocks = [f"{MEAN}[0:3]", f"{SD}[0:3]"]
    assert (alone["feature_schema"], alone["feature_order"]) == ("backbone:tiny", blocks)
    assert (joined["feature_schema"], joined["feature_order"]) == (SCHEMA, [*KONVID_V1.columns, *blocks])
    assert len(joined["feature_mean"]) == len(KONVID_V1.columns) + 6
    frame = with_vectors()
    table = read(root, QUICK, own=frame)
    np.testing.assert_array_equal(table.features[:, -6:-3], frame[MEAN].to_numpy())
    np.testing.assert_array_equal(table.features[:, 0], frame["adm2"].to_numpy().astype(np.float32))
    assert table.schema.columns[-1] == f"{SD}[2]"


def test_manifest_and_card_name_blocks_and_the_licence_of_a_backbone_rules_too(root: DataRoot) -> None:
    manifest = manifest_of(root)
    backbone = read_backbone(root.path / "backbones" / "tiny")
    assert manifest["backbones"]["tiny"] == {
        **{"title": "Tiny", "version": "7", "citation": "T. 2026", "licence": "Mine | 2"},
        "redistribution": "research-only",
        "sha256": backbone.content,
        "declaration": backbone.numbers,
        "blocks": ["mean and SD over time of 3 numbers from embedding, shown as resize"],
    }
    attribution = build_head(
        recipe_with(root, ALONE),
        {OTHER: root.path / "train.parquet"},
        FACTS,
        ALONE.but(tables={OTHER: str(root.path / "train.parquet")}),
        TorchTrainer(),
        quiet,
    )
    assert FACTS[OTHER].redistribution == "attribution"
    assert attribution.manifest["redistribution"] == {
        "strictest": "research-only",
        "consequence": REDISTRIBUTION["research-only"],
    }
    card = render_card(manifest)
    assert "- Tiny: mean and SD over time of 3 numbers from embedding, shown as resize" in card
    assert "- Tiny (`tiny`, version 7): licence Mine \\| 2, redistribution research-only; T. 2026" in card
    assert f"`{MEAN}[0:3]`, `{SD}[0:3]`." in card
    onnx = onnxruntime.InferenceSession(str(root.models() / "konvid_1k_mos_head.onnx"))
    assert "backbone:tiny: Mine | 2" in onnx.get_modelmeta().custom_metadata_map["licence"]


def test_the_code_on_a_card_scores_the_training_rows_means(root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", render_card(manifest_of(root)), re.DOTALL)
    monkeypatch.chdir(root.models())
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["features"].shape == (1, 6)
    assert names["mos"][0] == pytest.approx(3, abs=0.5)


@pytest.mark.parametrize("name", ["konvid_1k_mos_head", "konvid_1k_mos_head.joined"])
def test_a_head_scores_tables_of_vectors_as_they_are(root: DataRoot, name: str, tmp_path: Path) -> None:
    folder = root.experiments() if name.endswith(".joined") else root.models()
    head = open_head(folder / f"{name}.onnx")
    frame = with_vectors(40, seed=5)
    assert np.corrcoef(head.scores(frame.lazy(), "t"), frame["mos"].to_numpy())[0, 1] > 0.9
    lists = frame.with_columns(pl.col(MEAN, SD).arr.to_list())
    np.testing.assert_array_equal(head.scores(lists.lazy(), "t"), head.scores(frame.lazy(), "t"))
    gone = frame.with_columns(pl.when(pl.int_range(pl.len()) > 0).then(pl.col(MEAN)).alias(MEAN))
    assert np.isnan(head.scores(gone.lazy(), "t")).tolist() == [True] + [False] * 39


def test_a_clip_is_shown_to_the_backbone_and_scored_by_the_known_law(
    root: DataRoot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = [lossless(tmp_path / f"{level}.mkv", plain_pictures([level] * 3)) for level in (60, 200)]
    assert main(["konvid_1k_mos_head", *map(str, clips), "--root", str(root.path), "--json", "--workers", "1"]) == 0
    scores = {one["key"]: one for one in json.loads(capsys.readouterr().out)["scores"]}
    for level in (60, 200):
        assert scores[f"{level}.mkv"]["mos"] == pytest.approx(1 + 4 * level / 255, abs=0.35)
        assert scores[f"{level}.mkv"]["out_of_range"] == []


def test_each_window_of_a_clip_is_shown_to_the_backbone(
    root: DataRoot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = lossless(tmp_path / "a.mkv", plain_pictures([60] * 10 + [200] * 10))
    arguments = ["konvid_1k_mos_head", str(clip), "--root", str(root.path), "--json", "--workers", "1"]
    assert main([*arguments, "--every", "0.4s"]) == 0
    (scored,) = json.loads(capsys.readouterr().out)["clips"]
    assert [one["mos"] for one in scored["windows"]] == [
        pytest.approx(1 + 4 * level / 255, abs=0.35) for level in (60, 200)
    ]
    listed, out = tmp_path / "list.csv", tmp_path / "s.csv"
    listed.write_text("path\na.mkv\ngone.mkv\n")
    # As one of a list, too, beside one that is not there.
    assert main([*arguments[:1], "--root", str(root.path), "--from", str(listed), "--out", str(out)]) == 1
    assert pl.read_csv(out)["mos"].to_list() == [scored["mos"], None]


def test_predict_says_which_backbone_is_not_there_or_is_another(
    root: DataRoot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = lossless(tmp_path / "a.mkv", plain_pictures([60]))
    other = tmp_path / "data"
    shutil.copytree(root.models(), other / "models")

    def said() -> str:
        assert main(["konvid_1k_mos_head", str(clip), "--root", str(other)]) == 1
        return capsys.readouterr().err

    assert "backbone tiny: no such folder in" in said()
    backbone_folder(other / "backbones", TEXT, opset=16)
    sha256 = manifest_of(root)["backbones"]["tiny"]["sha256"]
    assert re.search(
        rf"konvid_1k_mos_head reads vectors of tiny: a network with SHA-256 \w+, expected {sha256}, which it learned",
        said(),
    )
    shutil.rmtree(other / "backbones")
    backbone_folder(other / "backbones", declared(input=AS_THEY_ARE, sampling={"frames": 3}))
    assert "its network under a declaration that gives other numbers" in said()


def test_a_table_that_another_network_measured_is_no_ones_to_score_judge_or_learn_from(
    root: DataRoot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = read_backbone(root.path / "backbones" / "tiny").recorded
    head = ["konvid_1k_mos_head"]

    def table(network: RecordedNetwork | None) -> Path:
        path = tmp_path / "measured.parquet"
        with_vectors(60, 3).write_parquet(path, metadata=networks_mark({"tiny": network} if network else {}))
        return path

    def said(network: RecordedNetwork | None) -> list[tuple[int, str]]:
        rest = [str(table(network)), "--root", str(root.path)]
        return [(run([*head, *rest]), capsys.readouterr().err) for run in (main, judge)]

    def trained(network: RecordedNetwork | None) -> list[str]:
        lines: list[str] = []
        chosen_rows(recipe_with(root, ALONE), {OWN: table(network)}, FACTS, ALONE, lines.append)
        return lines

    assert [status for status, _ in said(own)] == [0, 0]
    assert not trained(own)
    others = replace(own, sha256="0" * 64), replace(own, declaration="1" * 64)
    differences = (
        f"by a network with SHA-256 {'0' * 64}",
        "by that network, under a declaration that gives other numbers",
    )
    for other, difference in zip(others, differences, strict=True):
        for status, told in said(other):
            assert status in (1, 2)
            assert f"not the vectors of konvid_1k_mos_head: vectors of tiny {difference}, expected those of" in told
        with pytest.raises(
            TrainingError, match=rf"labelled table of {OWN}: .*: vectors of tiny {difference}, expected"
        ):
            trained(other)
    sources = HelpSources({OTHER: table(others[0])})
    with pytest.raises(TrainingError, match=f"help_from: labelled table of {OTHER}: .* vectors of tiny by a network"):
        build_head(
            recipe_with(root, ALONE),
            {OWN: root.path / "train.parquet"},
            FACTS,
            ALONE,
            TorchTrainer(),
            quiet,
            help_from=sources,
        )
    # An earlier edition's table, and somebody's own, do not say: it is told, and nobody is kept from them.
    assert trained(None) == [f"warning: nothing says which network measured the vectors of {OWN} (tiny)"]
    (scored, told), (judged, _) = said(None)
    assert (scored, judged) == (0, 0)
    assert "nothing says which network measured its vectors of tiny" in told


def test_out_of_range_a_vector_is_named_once_and_only_where_many_of_its_numbers_are(root: DataRoot) -> None:
    head = open_head(root.models() / "konvid_1k_mos_head.onnx")
    far = with_vectors(3).with_columns(pl.Series(MEAN, np.full((3, 3), 9, np.float32)))
    beyond = head.scored(far.lazy(), "t").out_of_range
    assert beyond == ((MEAN,),) * 3


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({MEAN: None}, rf"{OWN}: {MEAN} \(absent\), expected vectors of tiny, as fixed-size lists of float32; measure"),
        ({MEAN: pl.Series(["x"] * 120)}, rf"{OWN}: {MEAN} \(String\)"),
        ({MEAN: pl.Series([[1.0, 2.0, 3.0]] * 120)}, rf"{OWN}: {MEAN} \(List\(Float64\)\)"),
        ({MEAN: pl.Series([None] * 120, dtype=pl.Array(pl.Float32, 3))}, rf"{OWN}: {MEAN}\[0:3\] \(all missing\)"),
        (
            {MEAN: pl.Series(np.full((120, 3), np.nan, np.float32))},
            rf"{OWN}: {MEAN}\[0:3\] \(all missing\)",
        ),
        (
            {SD: pl.Series(np.full((120, 3), 0.5, np.float32))},
            rf"{OWN}: {SD}\[0:3\] \(the same vector in all 120 rows\)",
        ),
    ],
)
def test_a_block_that_is_absent_missing_or_constant_is_refused_by_name(
    root: DataRoot, changed: dict[str, pl.Series | None], told: str
) -> None:
    frame = with_vectors()
    for name, values in changed.items():
        frame = frame.drop(name) if values is None else frame.with_columns(values.alias(name))
    with pytest.raises(TrainingError, match=told):
        read(root, QUICK, own=frame)


def test_a_number_of_a_block_that_is_the_label_is_refused(root: DataRoot) -> None:
    frame = with_vectors()
    leaking = frame[MEAN].to_numpy().copy()
    leaking[:, 1] = frame["mos"].to_numpy() * 7 - 2
    with pytest.raises(
        TrainingError, match=rf"features that are the label: {re.escape(MEAN)}\[1\]: a straight line of"
    ):
        read(root, ALONE, own=frame.with_columns(pl.Series(MEAN, leaking)))


def test_single_numbers_of_one_value_stay_and_cost_nothing(root: DataRoot) -> None:
    frame = with_vectors()
    half_dead = frame[MEAN].to_numpy().copy()
    half_dead[:, 2] = 0
    path = written(frame.with_columns(pl.Series(MEAN, half_dead)), root.path / "dead.parquet")
    built = build_head(recipe_with(root, ALONE), {OWN: path}, FACTS, ALONE, TorchTrainer(), quiet)
    assert built.manifest["constant"] == []
    assert built.manifest["feature_std"][2] == 1
    assert built.manifest["folds"]["mean"]["srocc"] > 0.8


def test_clips_without_a_whole_vector_are_left_out_and_counted(root: DataRoot) -> None:
    frame = with_vectors()
    broken = frame[MEAN].to_numpy().copy()
    broken[3, 1] = np.inf
    frame = frame.with_columns(pl.Series(MEAN, broken))
    frame = frame.with_columns(pl.when(pl.int_range(pl.len()) != 5).then(pl.col(SD)).alias(SD))
    table = read(root, ALONE, own=frame)
    assert (table.counts[OWN].used, table.counts[OWN].rows_missing_features) == (118, 2)
    with pytest.raises(
        TrainingError, match=rf"could be filled: {MEAN}, expected .*all are vectors; .*clips without a vector"
    ):
        read(root, ALONE.but(allow_missing_features=(MEAN,)), own=frame)


def test_vectors_of_two_lengths_are_refused_with_their_corpora(root: DataRoot) -> None:
    longer = with_vectors(seed=1, **{MEAN: pl.Series(np.ones((120, 4), np.float32))})
    with pytest.raises(TrainingError, match=rf"{MEAN}: {OWN} 3, {OTHER} 4, expected the same network for all clips"):
        read(root, ALONE, own=with_vectors(), other=longer)
    head = open_head(root.models() / "konvid_1k_mos_head.onnx")
    with pytest.raises(
        HeadError, match=rf"not the vectors of konvid_1k_mos_head: {MEAN}: Array\(Float32, shape=\(4,\)\)"
    ):
        head.scores(longer.lazy(), "t")
    with pytest.raises(HeadError, match=rf"no column for {re.escape(MEAN)}\[0:3\]"):
        head.scores(longer.drop(MEAN).lazy(), "t")


def test_heads_over_corpora_and_help_read_vectors(root: DataRoot) -> None:
    tables = {OWN: with_vectors(60, 1), OTHER: with_vectors(90, 2)}
    path = written(pl.concat([f.with_columns(corpus=pl.lit(n)) for n, f in tables.items()]), root.path / "all.parquet")
    recipe = with_backbones(recipe_of(tuple(tables)), "backbone:tiny", root)
    across = evaluate_across(recipe, dict.fromkeys(tables, path), FACTS, ALONE, TorchTrainer(), quiet)
    assert across.matrix("srocc")[OWN][OTHER] == pytest.approx(1, abs=0.1)
    labelled_tables = {name: written(frame, root.path / f"{name}.parquet") for name, frame in tables.items()}
    settings = ALONE.but(help_from=[OTHER])
    own = recipe_with(root, settings)
    sources = sources_of_help(own, settings, labelled_tables)
    built = build_head(own, {OWN: labelled_tables[OWN]}, FACTS, settings, TorchTrainer(), quiet, help_from=sources)
    assert built.manifest["help"]["corpora"][OTHER]["rows"] == 90
    assert sources_of_help(own, ALONE, labelled_tables).able == (OTHER,)


def test_a_head_of_another_network_neither_helps_nor_is_replaced_without_a_word(root: DataRoot, tmp_path: Path) -> None:
    other = DataRoot(tmp_path)
    backbone_folder(tmp_path / "backbones", TEXT, opset=16)
    shutil.copytree(root.models(), other.models())
    recipe = recipe_with(other, ALONE)
    check_same_head(recipe_with(root, ALONE), ALONE, other, quiet)
    with pytest.raises(SettingsError, match="backbone tiny: another network, or one that is shown other pictures"):
        check_same_head(recipe, ALONE, other, quiet)
    table = written(with_vectors(60, 3), tmp_path / "own.parquet")
    settings = ALONE.but(help_from=[str(other.models() / "konvid_1k_mos_head.onnx")])
    sources = sources_of_help(recipe, settings, {})
    with pytest.raises(HeadError, match=r"help_from: konvid_1k_mos_head.onnx reads vectors of tiny: a network with"):
        build_head(recipe, {OWN: table}, FACTS, settings, TorchTrainer(), quiet, help_from=sources)


@pytest.mark.parametrize(
    "name", ["nr-v1+nr-v1", "backbone:Tiny", "fr-v2+backbone:tiny", "konvid-v1+chug-hdr-wide-v1", "+"]
)
def test_a_schema_that_cannot_be_joined_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=r"feature_schema: .*, backbone:<id>, or some of them joined by \+"):
        TrainingSettings.of({"feature_schema": name}, "")


def test_a_backbone_without_a_folder_trains_no_head(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="backbone tiny: no such folder in"):
        recipe_with(DataRoot(tmp_path), QUICK)


def test_a_smoke_run_needs_no_vectors(root: DataRoot) -> None:
    table, chosen = chosen_rows(recipe_with(root, QUICK), {}, FACTS, QUICK.but(smoke=True), quiet)
    assert table.schema.feature_order[-1] == f"{SD}[0:16]"
    assert table.features.shape[1] == len(KONVID_V1.columns) + 32
    assert chosen.backbones == {}
