"""A run that chooses otherwise than the head that is there is an experiment, or says that it replaces it."""

import json
from pathlib import Path
from typing import Any

import pytest

from vqa_assets.errors import SettingsError
from vqa_assets.heads.experiments import check_same_head, chosen_by, standing_head
from vqa_assets.heads.manifest import SCHEMA
from vqa_assets.heads.recipe import (
    CHUG_HDR_MOS_HEAD_V1,
    FR_REGRESSOR_V2,
    HEAD_RECIPES,
    KONVID_MOS_HEAD_V1,
    HeadRecipe,
    corpus_head_recipe,
)
from vqa_assets.heads.rows.display import read_profile
from vqa_assets.heads.settings import TrainingSettings, schema_of
from vqa_assets.tables.makers import made_by
from vqa_assets.tables.paths import DataRoot
from vqa_assets.tables.publication import publishing
from vqa_assets_tests.shared.head_tables import quiet

DEFAULT = TrainingSettings()


def stand(root: DataRoot, recipe: HeadRecipe, settings: TrainingSettings = DEFAULT, **changes: Any) -> Path:
    """The manifest of a head that these settings made, as far as it says what was chosen."""
    schema = schema_of(recipe, settings)
    manifest = {
        "schema": SCHEMA,
        "feature_schema": schema.name,
        "feature_order": list(schema.columns),
        "choices": chosen_by(settings, root),
    }
    if settings.display_profile_json:
        manifest["display_profile"] = read_profile(Path(settings.display_profile_json)).as_json()
    folder = root.experiments() if settings.name else root.models()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{settings.head_id(recipe.name)}.json"
    path.write_text(json.dumps({**manifest, **changes}))
    return path


def refused(root: DataRoot, recipe: HeadRecipe, settings: TrainingSettings) -> str:
    with pytest.raises(SettingsError) as told:
        check_same_head(recipe, settings, root, quiet)
    return str(told.value)


@pytest.fixture
def root(root_path: Path) -> DataRoot:
    return DataRoot(root_path)


@pytest.fixture
def displays(tmp_path: Path) -> dict[str, str]:
    paths = {}
    for name, nits in (("tv", 1000), ("phone", 600)):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps({"peak_nits": nits}))
        paths[name] = str(path)
    return paths


OTHERWISE: list[tuple[dict[str, Any], str]] = [
    (
        {"columns": ("adm2", "vmaf")},
        "feature_schema: konvid-v1 there, own-columns here; columns: without vif_scale0, vif_scale1, vif_scale2, vif_",
    ),
    ({"feature_schema": "nr-v1"}, "feature_schema: konvid-v1 there, nr-v1 here; columns: without adm2,"),
    ({"tables": {"konvid-1k": "mine.parquet"}}, "tables: none there, konvid-1k = "),
    ({"extra_tables": {"mine": "/x/mine.parquet"}}, "extra_tables: none there, mine = /x/mine.parquet here"),
    ({"corpus_weights": {"konvid-1k": 2.0}}, "corpus_weights: none there, konvid-1k = 2.0 here"),
    ({"target": "mos_technical"}, "target: mos there, mos_technical here"),
    ({"exclude_corpora": ("konvid-1k",)}, "exclude_corpora: none there, konvid-1k here"),
]


@pytest.mark.parametrize(
    ("changes", "difference"), OTHERWISE, ids=lambda one: next(iter(one)) if isinstance(one, dict) else ""
)
@pytest.mark.parametrize("recipe", [KONVID_MOS_HEAD_V1, corpus_head_recipe("konvid-1k")], ids=lambda one: one.name)
def test_each_choice_that_differs_is_listed_with_both_values(root, recipe, changes, difference):
    stand(root, recipe)
    told = refused(root, recipe, DEFAULT.but(**changes))
    assert told.startswith(f"{recipe.name}: another head is there: {difference}")
    assert f"give this run a name (models/experiments/{recipe.name}.<name>.onnx), or state replace: true" in told
    # the other way round: the defaults do not pass for what stands either
    stand(root, recipe, DEFAULT.but(**changes))
    assert "another head is there" in refused(root, recipe, DEFAULT)
    check_same_head(recipe, DEFAULT.but(**changes), root, quiet)


@pytest.mark.parametrize("recipe", HEAD_RECIPES.values(), ids=lambda one: one.name)
def test_every_recipe_is_guarded_and_says_all_differences_at_once(root, recipe):
    stand(root, recipe)
    told = refused(root, recipe, DEFAULT.but(extra_tables={"mine": "/x/a"}, exclude_corpora=recipe.corpora[:1]))
    assert "extra_tables: none there, mine = /x/a here" in told
    assert f"exclude_corpora: none there, {recipe.corpora[0]} here" in told
    assert told.startswith(f"{recipe.name}: another head is there: ")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"epochs": 3, "lr": 0.1, "seed": 4, "k_folds": 3, "protocol_splits": 0},
        {"name": "wide", "columns": ("vmaf",)},
        {"replace": True, "columns": ("vmaf",)},
        {"smoke": True, "columns": ("vmaf",)},
        {"export": False, "columns": ("vmaf",)},
    ],
    ids=["the same", "another training", "named", "replacing", "smoke", "not exported"],
)
def test_what_makes_the_same_head_or_leaves_it_alone_needs_nothing(root, changes):
    stand(root, KONVID_MOS_HEAD_V1)
    check_same_head(KONVID_MOS_HEAD_V1, DEFAULT.but(**changes), root, quiet)


def test_where_none_stands_the_first_run_makes_it_whatever_its_columns(root):
    check_same_head(FR_REGRESSOR_V2, DEFAULT.but(columns=("vmaf",)), root, quiet)
    stand(root, FR_REGRESSOR_V2, schema="another-v1")
    check_same_head(FR_REGRESSOR_V2, DEFAULT.but(columns=("vmaf",)), root, quiet)


def test_a_manifest_that_cannot_be_read_is_no_head_and_the_next_run_makes_it_anew(root):
    stand(root, KONVID_MOS_HEAD_V1).write_text('{"schema": "mos-he')
    assert standing_head(root, KONVID_MOS_HEAD_V1.name) is None
    check_same_head(KONVID_MOS_HEAD_V1, DEFAULT.but(columns=("vmaf",)), root, quiet)


def test_a_manifest_that_was_edited_since_its_head_was_published_binds_nobody(root):
    manifest = stand(root, KONVID_MOS_HEAD_V1)
    onnx, written = manifest.with_suffix(".onnx"), manifest.read_bytes()
    with publishing(KONVID_MOS_HEAD_V1.name, onnx, SCHEMA) as publication:
        publication.write(onnx, b"an ONNX")
        publication.write(manifest, written)
    made = made_by(manifest)
    assert made is not None
    assert (made.stage, made.is_ours) == ("mos_head", True)
    assert "another head is there" in refused(root, KONVID_MOS_HEAD_V1, DEFAULT.but(columns=("vmaf",)))
    manifest.write_bytes(written + b" ")
    said: list[str] = []
    check_same_head(KONVID_MOS_HEAD_V1, DEFAULT.but(columns=("vmaf",)), root, said.append)
    edited = "konvid_mos_head_v1.json was changed since it was published"
    assert said == [f"konvid_mos_head_v1: {edited}: the head is made again"]


def test_what_is_replaced_is_said(root):
    stand(root, KONVID_MOS_HEAD_V1)
    said: list[str] = []
    check_same_head(KONVID_MOS_HEAD_V1, DEFAULT.but(exclude_corpora=("konvid-1k",), replace=True), root, said.append)
    assert said == [
        "konvid_mos_head_v1: the head that is there is replaced by another: exclude_corpora: none there, konvid-1k here"
    ]


def test_an_experiment_is_not_overwritten_by_another_of_its_name_either(root):
    stand(root, KONVID_MOS_HEAD_V1, DEFAULT.but(name="wide", columns=("vmaf", "adm2")))
    check_same_head(KONVID_MOS_HEAD_V1, DEFAULT.but(name="wide", columns=("vmaf", "adm2")), root, quiet)
    told = refused(root, KONVID_MOS_HEAD_V1, DEFAULT.but(name="wide", columns=("vmaf",)))
    assert told.startswith("konvid_mos_head_v1.wide: another head is there: columns: without adm2, expected")
    assert "give this run another name" in told


def test_the_same_table_by_another_spelling_of_its_path_is_the_same(root, monkeypatch):
    monkeypatch.setenv("HOME", str(root.path))
    monkeypatch.chdir(root.path)
    stand(root, KONVID_MOS_HEAD_V1, DEFAULT.but(tables={"konvid-1k": "~/a.parquet"}))
    check_same_head(KONVID_MOS_HEAD_V1, DEFAULT.but(tables={"konvid-1k": "a.parquet"}), root, quiet)
    assert "tables: konvid-1k = a.parquet there, konvid-1k = b.parquet here" in refused(
        root, KONVID_MOS_HEAD_V1, DEFAULT.but(tables={"konvid-1k": "b.parquet"})
    )


def test_another_display_is_another_head_and_the_same_values_in_another_file_are_not(root, displays, tmp_path):
    tv = DEFAULT.but(display_profile_json=displays["tv"])
    stand(root, CHUG_HDR_MOS_HEAD_V1, tv)
    told = refused(root, CHUG_HDR_MOS_HEAD_V1, DEFAULT.but(display_profile_json=displays["phone"]))
    assert "another head is there: display_profile_json: tv.json (SHA-256 " in told
    assert "there, phone.json (SHA-256 " in told
    # without a profile the head reads no display at all
    assert "feature_schema: chug-hdr-display-v1 there, chug-hdr-wide-v1 here" in refused(
        root, CHUG_HDR_MOS_HEAD_V1, DEFAULT
    )
    (tmp_path / "same.json").write_text('{"display": {"peak_luminance_nits": 1000.0}}')
    check_same_head(CHUG_HDR_MOS_HEAD_V1, tv.but(display_profile_json=str(tmp_path / "same.json")), root, quiet)


def test_a_head_of_an_earlier_edition_is_guarded_by_what_its_settings_say(root):
    settings = {"tables": [], "extra_tables": ["mine"], "corpus_weights": {}, "exclude_corpora": []}
    stand(root, KONVID_MOS_HEAD_V1, choices=None, training_recipe={"settings": settings})
    assert "extra_tables: mine there, none here" in refused(root, KONVID_MOS_HEAD_V1, DEFAULT)
    stand(root, KONVID_MOS_HEAD_V1, choices=None, training_recipe={"settings": {**settings, "extra_tables": []}})
    check_same_head(KONVID_MOS_HEAD_V1, DEFAULT, root, quiet)


@pytest.mark.parametrize("name", ["", "a.b", "a/b", "../x", "a b", "ä", "x" * 61])
def test_a_name_is_letters_digits_and_underscores(name):
    with pytest.raises(SettingsError, match=r"name: .*, expected letters, digits and _, at most 60 of them"):
        TrainingSettings.of({"name": name}, "")
