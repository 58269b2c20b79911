"""The launchpad's form: every setting of every asset has a sentence, its default and its bounds."""

import inspect
import re
from typing import Any

import dagster as dg
import pytest
from pydantic import Field

from vqa_assets.assets.metadata import records
from vqa_assets.assets.told_config import ToldConfig
from vqa_assets.definitions import defs
from vqa_assets.settings import INGEST_SETTINGS

ASSETS = sorted(key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys())


def form(asset: str) -> dict[str, str]:
    """Setting → description, as the web UI gets them."""
    schema = defs.resolve_assets_def(dg.AssetKey(asset)).op.config_schema.as_field().config_type
    return {name: field.description or "" for name, field in getattr(schema, "fields", {}).items()}


def bounds(asset: str) -> dict[str, list[float]]:
    """Setting → its bounds, as the config's class enforces them."""
    function: Any = defs.resolve_assets_def(dg.AssetKey(asset)).op.compute_fn
    config = inspect.signature(function.decorated_fn).parameters["config"].annotation
    names = ("ge", "gt", "le", "lt")
    return {
        setting: [getattr(m, name) for m in field.metadata for name in names if hasattr(m, name)]
        for setting, field in config.model_fields.items()
    }


@pytest.mark.parametrize("asset", [name for name in ASSETS if form(name)])
def test_every_setting_tells_what_it_does_its_default_and_its_bounds(asset: str) -> None:
    limits = bounds(asset)
    for setting, told in form(asset).items():
        sentence, _, rest = told.partition("Default: ")
        assert len(sentence) > 8, setting
        assert rest.rstrip().endswith("."), setting
        numbers = re.findall(r"[\d.]*\d", rest)
        assert [f"{bound:g}" for bound in limits[setting] if f"{bound:g}" not in numbers] == [], f"{setting}: {told}"


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


def test_the_settings_of_an_ingest_are_those_of_the_table() -> None:
    assert form("corpus_jsonl") == {setting.name: setting.help for setting in INGEST_SETTINGS}


def test_a_value_out_of_bounds_or_of_another_type_is_told_in_few_words() -> None:
    class Example(ToldConfig):
        few: int = Field(default=1, ge=1, le=9, description="How many.")
        much: float = Field(default=0.5, gt=0, lt=1, description="How much.")

    for wrong, told in (
        ({"few": 0}, "few: 0, expected at least 1; correct the run config"),
        ({"few": 10}, "few: 10, expected at most 9; correct the run config"),
        ({"much": 0.0}, "much: 0.0, expected above 0; correct the run config"),
        ({"much": 1.0}, "much: 1.0, expected below 1; correct the run config"),
        ({"few": [2]}, "few: [2], expected a valid integer; correct the run config"),
    ):
        with pytest.raises(dg.Failure) as failure:
            Example(**wrong)
        assert failure.value.description == told


def test_a_description_is_completed_and_what_it_tells_already_is_not_told_twice() -> None:
    class Example(ToldConfig):
        bare: int = Field(default=5, ge=2, lt=50, description="How many.")
        full: float = Field(default=0.01, gt=0, le=1, description="How much. Default: 0.01. Above 0, at most 1.")
        names: list[str] = Field(default=[], description="Which.")
        off: bool = Field(default=False, description="Whether.")

    assert {name: field.description for name, field in Example.model_fields.items()} == {
        "bare": "How many. Default: 5. At least 2. Below 50.",
        "full": "How much. Default: 0.01. Above 0, at most 1.",
        "names": "Which. Default: none.",
        "off": "Whether. Default: false.",
    }
