import json
import subprocess
import sys
from pathlib import Path

import pytest

from vqa_assets import heads
from vqa_assets.corpora import CORPORA
from vqa_assets.corpora.corpus import REDISTRIBUTION, strictest
from vqa_assets.errors import SettingsError, TrainingError
from vqa_assets.feature_names import KONVID_V1
from vqa_assets.heads.recipe import HEAD_RECIPES, KONVID_MOS_HEAD_V1, SMOKE_GATE, CorpusFacts, Gate, corpus_head_recipe
from vqa_assets.heads.settings import TrainingSettings, schema_of

HEADS = Path(heads.__file__).parent


def test_the_gate_is_the_published_one():
    assert KONVID_MOS_HEAD_V1.gate == Gate(mean_plcc=0.85, mean_srocc=0.82, mean_rmse=0.45, plcc_spread=0.005)
    assert Gate(0.75, None, None, None) == SMOKE_GATE


def test_recipes_are_found_by_their_name():
    assert all(name == recipe.name for name, recipe in HEAD_RECIPES.items())
    assert KONVID_MOS_HEAD_V1.corpora == ("konvid-1k", "konvid-150k")


def test_a_corpus_has_a_head_of_its_own_name():
    recipe = corpus_head_recipe("live-vqc")
    assert (recipe.name, recipe.corpora, recipe.feature_schema) == ("live_vqc_mos_head", ("live-vqc",), "konvid-v1")


def test_no_module_of_the_heads_but_the_recipes_knows_a_corpus_by_name():
    modules = [path for path in HEADS.iterdir() if path.is_file() and path.stem != "recipe"]
    names = {name for corpus in CORPORA.values() for name in (corpus.name, corpus.stem)}
    texts = {path.name: path.read_text(encoding="utf-8").lower() for path in modules}
    assert not [(module, name) for module, text in texts.items() for name in names if name in text]


def test_the_batch_grows_with_the_rows_unless_set():
    assert [TrainingSettings().batch_rows(n) for n in (10, 5_000, 5_001)] == [64, 64, 2_048]
    assert TrainingSettings(batch_size=7).batch_rows(10_000) == 7


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"lr": 0.0},
        {"weight_decay": -1.0},
        {"batch_size": 0},
        {"k_folds": 1},
        {"feature_schema": "konvid-v9"},
        {"columns": ("a", "a")},
        {"columns": ("a",), "feature_schema": "konvid-v1"},
    ],
    ids=str,
)
def test_a_setting_without_meaning_is_named(wrong):
    with pytest.raises(SettingsError, match=f"^{next(iter(wrong))}: "):
        TrainingSettings.of(wrong, "")


def test_settings_become_json_without_paths():
    told = TrainingSettings(tables={"mine": "/secret/place.parquet"}, exclude_corpora=("lsvq",)).public_values()
    assert told["tables"] == ["mine"]
    assert "secret" not in json.dumps(told)


def test_the_schema_is_the_recipes_unless_a_run_names_columns():
    assert schema_of(KONVID_MOS_HEAD_V1, TrainingSettings()) is KONVID_V1
    own = schema_of(KONVID_MOS_HEAD_V1, TrainingSettings(columns=("adm2", "mine", "duration_s_norm", "chug_ref")))
    assert own.columns == ("adm2", "mine", "duration_s_norm", "chug_ref")
    assert own.measured == {"adm2", "mine"}


def test_the_strictest_licence_rules():
    assert strictest(["attribution", "research-only"]) == "research-only"
    assert strictest([*REDISTRIBUTION]) == "unknown"
    assert strictest([]) == "unknown"


def test_an_unknown_word_for_redistribution_is_refused():
    with pytest.raises(TrainingError, match="'free', expected attribution"):
        CorpusFacts("t", "l", "c", "v", "free")


def test_what_definitions_import_of_heads_loads_nothing_heavy():
    program = (
        "import sys, vqa_assets.heads.recipe, vqa_assets.heads.members.method\n"
        "print([m for m in ('numpy', 'torch', 'onnx', 'polars', 'scipy', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
