"""The launchpad's form: every setting of every asset has a sentence, its default and its bounds."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import dagster as dg
import pytest

from vqa_assets.assets.metadata import records
from vqa_assets.assets.run_config import form as form_of
from vqa_assets.assets.run_config import stated
from vqa_assets.assets.runs import dagster_failures, step_failure
from vqa_assets.definitions import defs
from vqa_assets.encode_grid.settings import EncodeGridSettings, MergeSettings, ReportsSettings
from vqa_assets.errors import SettingsError
from vqa_assets.features.settings import ExtractionSettings
from vqa_assets.heads.recipe import HEAD_RECIPES
from vqa_assets.heads.settings import CrossCorpusSettings, TrainingSettings
from vqa_assets.ingest.settings import IngestSettings
from vqa_assets.labels.settings import BatchSettings, JoinSettings
from vqa_assets.settings import Many, SettingPath, Settings, TableFiles, setting
from vqa_assets.tables.allowed import ALLOW_NAME
from vqa_assets.tables.paths import DataRoot
from vqa_assets.unified.settings import AggregationSettings, FeatureRowsSettings

ASSETS = sorted(key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys())
STAGES: dict[str, type[Settings]] = {
    "corpus_jsonl": IngestSettings,
    "unified_corpus": AggregationSettings,
    "unified_features": FeatureRowsSettings,
    "clip_features": ExtractionSettings,
    "mos_features": JoinSettings,
    "mos_label_batch": BatchSettings,
    "libvmaf_reports": ReportsSettings,
    "encode_grid_jsonl": EncodeGridSettings,
    "fr_training_corpus": MergeSettings,
    "mos_head": TrainingSettings,
    **dict.fromkeys(HEAD_RECIPES, TrainingSettings),
    "cross_corpus_evaluation": CrossCorpusSettings,
}


def form(asset: str) -> dict[str, str]:
    """Setting → description, as the web UI gets them."""
    schema = defs.resolve_assets_def(dg.AssetKey(asset)).op.config_schema.as_field().config_type
    return {name: field.description or "" for name, field in getattr(schema, "fields", {}).items()}


def bounds(asset: str) -> dict[str, list[float]]:
    """Setting → its bounds, as the stage's model enforces them."""
    names = ("ge", "gt", "le", "lt")
    return {
        name: [getattr(m, bound) for m in field.metadata for bound in names if hasattr(m, bound)]
        for name, field in STAGES[asset].model_fields.items()
    }


@pytest.mark.parametrize("asset", [name for name in ASSETS if form(name)])
def test_every_setting_tells_what_it_does_its_default_and_its_bounds(asset: str) -> None:
    limits = bounds(asset)
    for name, told in form(asset).items():
        sentence, _, rest = told.partition("Default: ")
        assert len(sentence) > 8, name
        assert rest.rstrip().endswith("."), name
        numbers = re.findall(r"[\d.]*\d", rest)
        assert [bound for bound in limits[name] if f"{bound:.0f}" not in numbers] == [], f"{name}: {told}"


@pytest.mark.parametrize(
    ("resource", "verb"),
    [
        ("data_root", "Names"),
        ("prober", "Reads"),
        ("downloader", "Fetches"),
        ("clip_pool", "Works on"),
        ("extractor", "Measures"),
        ("trainer", "Trains"),
        ("notifier", "Tells of"),
    ],
)
def test_every_resource_says_first_what_it_does(resource: str, verb: str) -> None:
    described = defs.get_repository_def().get_top_level_resources()
    assert str(described[resource].description).startswith(verb)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.008064516129032258, 0.008065),
        (2.9399756097560976, 2.94),
        (-48.187083333, -48.19),
        (13091280.25, 13091280.0),
        (1e-05, 1e-05),
        (0.0, 0.0),
        (7, 7),
        (True, True),
        ("0.123456789", "0.123456789"),
    ],
)
def test_numbers_of_tables_have_four_significant_figures(value: object, shown: object) -> None:
    (row,) = [record.data for record in records([{"number": value}]).records]
    assert row["number"] == shown
    assert type(row["number"]) is type(value)


@pytest.mark.parametrize("asset", ASSETS)
def test_the_form_is_the_settings_that_a_run_may_state_with_their_sentences(asset: str) -> None:
    helps = STAGES[asset].help() if asset in STAGES else {}
    of_a_run = STAGES[asset].of_a_run() if asset in STAGES else {}
    assert form(asset) == {name: str(text) for name, text in helps.items() if name in of_a_run}
    assert helps.keys() - of_a_run.keys() == ({"clips_url"} if asset == "corpus_jsonl" else set())


class Example(Settings):
    """A stage with a setting of each kind."""

    few: int = setting(1, "How many.", ge=1, le=9)
    much: float = setting(0.5, "How much.", gt=0, lt=1)
    names: Many[str] = setting((), "Which.")
    places: Mapping[str, SettingPath] = setting({}, "Where.")
    files: Mapping[str, TableFiles] = setting({}, "Which files.")
    off: bool = setting(False, "Whether.")
    seed: int = setting(7, "Decides.", shown="seven", lt=50)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"few": 0}, "few: 0, expected a whole number of at least 1 and at most 9; correct the run config"),
        ({"few": 10}, "few: 10, expected a whole number of at least 1 and at most 9; correct the run config"),
        ({"few": [2]}, "few: [2], expected a whole number of at least 1 and at most 9; correct the run config"),
        ({"few": True}, "few: True, expected a whole number of at least 1 and at most 9; correct the run config"),
        ({"much": 0.0}, "much: 0.0, expected a number above 0 and below 1; correct the run config"),
        ({"much": float("nan")}, "much: nan, expected a number above 0 and below 1; correct the run config"),
        ({"names": "a"}, "names: 'a', expected a list; correct the run config"),
        ({"names": ["a", 3]}, "names[1]: 3, expected a text; correct the run config"),
        ({"places": {"here": ""}}, "places.here: '', expected a path; correct the run config"),
        ({"places": {3: "x"}}, "places: 3, expected a text; correct the run config"),
        ({"files": {"here": 5}}, "files.here: 5, expected a path, or a list of paths; correct the run config"),
        ({"files": {"here": []}}, "files.here: [], expected a path, or a list of paths; correct the run config"),
        (
            {"files": {"here": ["a", ""]}},
            "files.here: ['a', ''], expected a path, or a list of paths; correct the run config",
        ),
        ({"off": "no"}, "off: 'no', expected true or false; correct the run config"),
        (
            {"fwe": 1},
            (
                "settings: unknown key 'fwe', expected one of few, much, names, places, files, off, seed; "
                "correct the run config"
            ),
        ),
    ],
)
def test_a_value_that_cannot_be_used_is_explained_in_few_words(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Example.of(wrong, "", "correct the run config")
    assert str(caught.value) == message


def test_a_sentence_ends_with_default_and_bounds() -> None:
    assert {name: str(text) for name, text in Example.help().items()} == {
        "few": "How many. Default: 1. At least 1. At most 9.",
        "much": "How much. Default: 0.5. Above 0. Below 1.",
        "names": "Which. Default: none.",
        "places": "Where. Default: none.",
        "files": "Which files. Default: none.",
        "off": "Whether. Default: false.",
        "seed": "Decides. Default: seven. Below 50.",
    }


def test_a_value_out_of_bounds_ends_a_run_in_these_words(root_path: Path) -> None:
    @dg.asset(config_schema=form_of(Example))
    def example(context: dg.AssetExecutionContext) -> None:
        with dagster_failures():
            stated(Example, context, DataRoot(root_path))

    config = {"ops": {"example": {"config": {"few": 12}}}}
    done = dg.materialize([example], run_config=config, raise_on_error=False)
    (event,) = done.get_step_failure_events()
    expected = "few: 12, expected a whole number of at least 1 and at most 9; correct the run config"
    assert step_failure(event) == expected


def test_a_form_takes_one_file_or_several_where_a_setting_does(
    root_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ALLOW_NAME, f"~{os.pathsep}{Path.cwd()}")
    taken: list[Mapping[str, object]] = []

    @dg.asset(config_schema=form_of(Example))
    def example(context: dg.AssetExecutionContext) -> None:
        taken.append(stated(Example, context, DataRoot(root_path)).files)

    config = {"ops": {"example": {"config": {"files": {"one": "a.csv", "two": ["b.csv", "~/c.csv"]}}}}}
    assert dg.materialize([example], run_config=config).success
    assert taken == [{"one": (Path("a.csv"),), "two": (Path("b.csv"), Path("~/c.csv").expanduser())}]


def test_what_a_run_leaves_empty_is_the_default() -> None:
    assert Example.of({"few": None, "names": ["a"]}, "") == Example(names=("a",))
