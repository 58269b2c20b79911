"""What the page on heads says is so: recipes, columns, gates, settings, a display, where training happens."""

import json
import re
from pathlib import Path

import pytest

from vqa_assets.corpora.contents import SPLIT_WORDS
from vqa_assets.doc_tables import settings_table
from vqa_assets.heads.recipe import FEATURE_SCHEMAS, FR_REGRESSOR_V2, HEAD_RECIPES, Gate
from vqa_assets.heads.rows.display import FIELDS, read_profile
from vqa_assets.heads.settings import CrossCorpusSettings, TrainingSettings
from vqa_assets.resources.trainer import COMMAND_NAME, JOBS_NAME, TrainerResource

DOCS = Path(__file__).parents[2] / "docs"
HEADS = (DOCS / "features-and-heads.md").read_text(encoding="utf-8").split("\n## Heads\n")[1].split("\n## ")[0]
ELSEWHERE = (DOCS / "deploying.md").read_text(encoding="utf-8").split("\n## Training elsewhere\n")[1].split("\n## ")[0]


def section(title: str) -> str:
    return HEADS.split(f"\n### {title}\n")[1].split("\n### ")[0]


def test_every_recipe_stands_with_its_columns_and_its_corpora() -> None:
    rows = {line.split("`")[1]: line for line in HEADS.splitlines() if line.startswith("| `")}
    for name, recipe in HEAD_RECIPES.items():
        assert f"`{recipe.feature_schema}`" in rows[name]
        assert recipe.display_schema is None or f"`{recipe.display_schema}`" in rows[name]
        assert recipe.every_corpus or recipe.least_sources or all(corpus in rows[name] for corpus in recipe.corpora)
        assert ("source" if recipe.least_sources else "content") in rows[name]


def test_the_thresholds_are_the_gates() -> None:
    for gate in (Gate(), FR_REGRESSOR_V2.gate):
        for limit in (gate.mean_plcc, gate.mean_srocc, gate.mean_rmse, gate.plcc_spread, gate.lowest_plcc):
            assert limit is None or f"{limit:g}" in HEADS


def test_every_schema_stands_with_its_number_of_columns() -> None:
    found = dict(re.findall(r"^\| `([\w-]+)` \| (\d+) \|", section("Columns"), re.MULTILINE))
    assert found == {name: str(len(schema.columns)) for name, schema in FEATURE_SCHEMAS.items()}


def test_the_display_of_the_example_is_read_whole_and_every_field_is_named(tmp_path: Path) -> None:
    (example,) = re.findall(r"```json\n(.*?)```", section("A display"), re.DOTALL)
    path = tmp_path / "display.json"
    path.write_text(json.dumps(json.loads(example)))
    profile = read_profile(path)
    assert (profile.lacking, profile.ignored) == ((), ())
    assert all(f"`{spelling}`" in section("A display") for field in FIELDS for spelling in field.spellings)


def test_every_split_word_is_named() -> None:
    assert all(f"`{word}`" in section("Splits") for word in SPLIT_WORDS)


@pytest.mark.parametrize("stage", [CrossCorpusSettings, TrainingSettings])
def test_every_setting_is_named_and_described(stage: type[CrossCorpusSettings]) -> None:
    for name, field in stage.model_fields.items():
        assert f"`{name}`" in section("Settings"), name
        assert field.description, name


def test_the_table_of_settings_is_the_codes() -> None:
    assert settings_table(TrainingSettings) in section("Settings")


def test_the_settings_of_the_example_exist() -> None:
    (config,) = re.findall(r"--config-json '(.*?)'", section("Settings"))
    ((name, given),) = json.loads(config)["ops"].items()
    assert name in HEAD_RECIPES
    assert set(given["config"]) <= set(TrainingSettings.model_fields)


def test_the_page_on_deploying_names_every_setting_and_variable_of_the_trainer() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", ELSEWHERE, re.MULTILINE)
    assert set(rows) == {*TrainerResource.model_fields, COMMAND_NAME, JOBS_NAME}
    (config,) = re.findall(r"--config-json '(.*?)'", ELSEWHERE)
    TrainerResource(**json.loads(config)["resources"]["trainer"]["config"])
