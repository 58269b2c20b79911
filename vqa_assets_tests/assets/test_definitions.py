"""The one assembly: which assets, checks, partitions and resources there are, and what loading them costs."""

import subprocess
import sys
from typing import Any

import dagster as dg
import pytest

from vqa_assets.corpora import CORPORA, ENCODE_GRID_SOURCES
from vqa_assets.definitions import build_defs, defs
from vqa_assets.heads.recipe import HEAD_RECIPES, VMAF_TARGET
from vqa_assets.ingest.fakes import FakeProber

CORPUS_ASSETS = {"corpus_annotations", "corpus_jsonl", "clip_features", "mos_features", "mos_head"}
GRID_ASSETS = {"libvmaf_reports", "encode_grid_jsonl", "fr_training_corpus"}
RECIPES = {"konvid_mos_head_v1", "chug_hdr_mos_head_v1", "unified_mos_head_v1", "fr_regressor_v2"}
HEADS = {"mos_head", *RECIPES}
BLOCKING = {
    "corpus_jsonl_schema",
    "corpus_jsonl_reconciles",
    "unified_corpus_schema",
    "clip_features_schema",
    "mos_features_schema",
    "mos_features_match_rate",
    "mos_label_batch_schema",
    "mos_label_batch_match_rate",
    "unified_features_schema",
    "unified_features_reconciles",
    *(f"{head}_{check}" for head in HEADS for check in ("runs_anywhere", "schema")),
    "encode_grid_jsonl_schema",
    "fr_training_corpus_schema",
}
WARNING = {
    "corpus_jsonl_attrition",
    "corpus_jsonl_label_scale",
    "corpus_jsonl_fresh",
    "unified_corpus_dropped",
    "unified_corpus_spread",
    "unified_corpus_raw_scores",
    "clip_features_coverage",
    "clip_features_audit",
    "mos_features_split_leakage",
    "mos_features_labels",
    "mos_label_batch_split_leakage",
    "unified_features_coverage",
    *(f"{head}_{check}" for head in HEADS for check in ("gate", "columns", "regression")),
    *(f"{head}_beats_{rival}" for head in HEADS for rival in ("ridge", "svr", "kernel_ridge", "constant")),
    "encode_grid_jsonl_dropped",
    "fr_training_corpus_conflicts",
}


def graph() -> Any:
    return defs.resolve_asset_graph()


def test_the_assets_are_those_of_the_contract() -> None:
    found = {key.to_user_string() for key in graph().get_all_asset_keys()}
    unpartitioned = {"unified_corpus", "unified_features", "mos_label_batch", "cross_corpus_evaluation", "overview"}
    assert found == CORPUS_ASSETS | GRID_ASSETS | unpartitioned | {*RECIPES}


def test_every_per_corpus_asset_has_the_one_partitions_definition() -> None:
    for node in graph().asset_nodes:
        name = node.key.to_user_string()
        keys = node.partitions_def.get_partition_keys() if node.partitions_def else None
        sources = list(ENCODE_GRID_SOURCES) if name == "encode_grid_jsonl" else None
        assert keys == (list(CORPORA) if name in CORPUS_ASSETS else sources), name


def test_the_grid_depends_on_its_inputs_and_the_training_corpus_on_every_grid() -> None:
    found = {
        spec.key.to_user_string(): {d.asset_key.to_user_string(): d.partition_mapping for d in spec.deps}
        for spec in defs.resolve_all_asset_specs()
    }
    for name, upstream in (("encode_grid_jsonl", "libvmaf_reports"), ("fr_training_corpus", "encode_grid_jsonl")):
        assert list(found[name]) == [upstream]
        assert isinstance(found[name][upstream], dg.AllPartitionMapping)


def test_the_checks_and_which_of_them_block_are_pinned() -> None:
    keys = graph().asset_check_keys
    blocking = {key.name for key in keys if graph().get(key).blocking}
    assert blocking == BLOCKING
    assert {key.name for key in keys} - blocking == WARNING


def test_every_asset_and_check_says_what_it_is() -> None:
    for node in graph().asset_nodes:
        assert node.description, node.key
        assert node.group_name != "default", node.key
        assert node.code_version, node.key
    assert all(graph().get(key).description for key in graph().asset_check_keys)


def test_a_head_depends_on_its_corpora_and_only_the_full_reference_one_on_the_grid() -> None:
    found = {spec.key.to_user_string(): list(spec.deps) for spec in defs.resolve_all_asset_specs()}
    for name, recipe in HEAD_RECIPES.items():
        (dep,) = found[name]
        grid = recipe.target == VMAF_TARGET
        upstream = "unified_features" if recipe.every_corpus else "fr_training_corpus" if grid else "mos_features"
        assert dep.asset_key.to_user_string() == upstream
        if not grid and not recipe.every_corpus:
            assert isinstance(dep.partition_mapping, dg.SpecificPartitionsPartitionMapping)
            assert list(dep.partition_mapping.partition_keys) == list(recipe.corpora)
        assert set(recipe.corpora) <= set(ENCODE_GRID_SOURCES if grid else CORPORA)


def test_the_table_of_all_corpora_follows_the_unified_corpus_and_every_labelled_table() -> None:
    found = {spec.key.to_user_string(): list(spec.deps) for spec in defs.resolve_all_asset_specs()}
    unified, labelled = found["unified_features"]
    assert unified.asset_key.to_user_string() == "unified_corpus"
    assert labelled.asset_key.to_user_string() == "mos_features"
    assert isinstance(labelled.partition_mapping, dg.AllPartitionMapping)
    assert [dep.asset_key.to_user_string() for dep in found["cross_corpus_evaluation"]] == ["unified_features"]


def test_a_resource_can_be_injected_and_a_misspelt_one_is_refused() -> None:
    assert build_defs(prober=FakeProber()).resources["prober"] != defs.resources["prober"]  # type: ignore[index]
    with pytest.raises(TypeError, match="unknown resources probr, expected some of data_root, prober"):
        build_defs(probr=FakeProber())


def test_loading_the_definitions_imports_nothing_heavy() -> None:
    heavy = ("torch", "onnx", "onnxruntime", "av", "pandas", "pandera", "polars", "numpy", "scipy", "pyarrow", "pycurl")
    heavy += ("dask", "distributed")
    program = f"import sys, vqa_assets.definitions; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_package_itself_imports_nothing() -> None:
    program = "import sys; before = set(sys.modules); import vqa_assets; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['vqa_assets']"
