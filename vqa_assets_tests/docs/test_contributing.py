"""CONTRIBUTING.md shows the house as it is: its rooms, the stops of its walks, and what is added by its examples."""

import ast
import importlib
import re
import sys
import types
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from vqa_assets.assets import heads
from vqa_assets.assets.catalog import Catalog
from vqa_assets.assets.corpora import make_corpus_jsonl
from vqa_assets.assets.run_config import form
from vqa_assets.corpora import CORPORA
from vqa_assets.corpora.corpus import by_name
from vqa_assets.definitions import build_defs
from vqa_assets.doc_tables import settings_table
from vqa_assets.errors import SettingsError
from vqa_assets.features.extractor import ClipExtractor
from vqa_assets.heads.build import build_head
from vqa_assets.heads.members.training import TorchTrainer
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.settings import Level, resolve_levels
from vqa_assets.stages import heads as stages_heads
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.clips import tiny_clip
from vqa_assets_tests.shared.fakes import SmallCorpus
from vqa_assets_tests.shared.head_tables import FACTS, labelled, quiet, written

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "vqa_assets"
PAGE = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
WALKS = PAGE.partition("## Four walks")[2].partition("\n## ")[0]
STOPS = sorted(set(re.findall(r"`([a-z_]+(?:/[a-z_]+)+(?:\.\w+)?)`", WALKS)))


def test_every_room_of_the_package_has_its_row() -> None:
    rows = "\n".join(line for line in PAGE.splitlines() if line.startswith("| `"))
    named = set(re.findall(r"`([a-z_]+)/?`", rows))
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    modules = {path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__"}
    assert named == rooms | modules


def test_a_class_name_stands_once_in_the_package() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in PACKAGE.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(path.relative_to(PACKAGE).as_posix())
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


def test_tests_stand_in_folders_of_the_rooms_names() -> None:
    tests = {path.name for path in (REPOSITORY / "vqa_assets_tests").iterdir() if path.is_dir()} - {"__pycache__"}
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    assert tests - {"shared", "docs", "commands", "faults"} <= rooms


@pytest.mark.parametrize("stop", STOPS)
def test_what_a_walk_passes_through_is_there(stop: str) -> None:
    path, _, name = stop.partition(".")
    found = importlib.import_module(f"vqa_assets.{path.replace('/', '.')}")
    assert not name or hasattr(found, name)


def test_a_walk_is_at_most_twelve_lines() -> None:
    walks = [walk for walk in WALKS.split("\n\n") if walk.strip().startswith("**")]
    assert len(walks) == 4
    assert max(len(walk.strip().splitlines()) for walk in walks) <= 12


EXAMPLES = dict(re.findall(r"^```python (\w+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))


def example(name: str, wanted: str) -> Any:
    """What an example of the page defines under a name."""
    module = types.ModuleType(f"example_{name}")
    sys.modules[module.__name__] = module  # dataclasses look their module up
    exec(EXAMPLES[name], module.__dict__)
    return getattr(module, wanted)


def test_there_is_an_example_of_each_thing_that_is_added() -> None:
    assert list(EXAMPLES) == ["corpus", "family", "recipe", "setting"]


def test_the_corpus_is_ingested(root_path: Path) -> None:
    corpus = SmallCorpus(DataRoot(root_path), corpus=example("corpus", "STREET_CLIPS"))
    corpus.drop("ratings.csv", "video,quality,place\na.mp4,4.5,square\n")
    corpus.drop("clips/a.mp4", b"a")
    corpus.ingest()
    (row,) = corpus.rows()
    assert (row["src"], row["mos"], row["content_id"]) == ("a.mp4", 4.5, "square")
    asset = make_corpus_jsonl(Catalog(by_name([*CORPORA.values(), corpus.corpus])))
    assert asset.partitions_def is not None
    assert asset.partitions_def.get_partition_keys()[-1] == "street-clips"


def test_the_family_is_measured_beside_the_others(tmp_path: Path) -> None:
    tiny_clip(tmp_path / "a.mp4", seed=1)
    family = example("family", "BrightestLuma")()
    measured = ClipExtractor(feature_sets=("nr-v1",), further=(family,)).measure(tmp_path / "a.mp4")
    assert 0 < measured["brightest-luma"]["brightest"] <= 255
    assert measured["nr-v1"]["si_mean"] > 0


def test_the_recipe_is_an_asset_with_its_checks_and_trains_a_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = example("recipe", "STREET_MOS_HEAD_V1")
    for module in (heads, stages_heads):
        monkeypatch.setattr(module, "HEAD_RECIPES", {recipe.name: recipe})
    definitions = build_defs()
    assert definitions.resolve_assets_def(recipe.name)
    checks = {key.name for key in definitions.resolve_asset_graph().asset_check_keys}
    assert f"{recipe.name}_gate" in checks
    table = written(labelled(60), tmp_path / "features_with_mos.parquet")
    settings = TrainingSettings(epochs=1, device="cpu", protocol_splits=0)
    built = build_head(recipe, {"konvid-1k": table}, FACTS, settings, TorchTrainer(), quiet)
    assert built.manifest["absent"] == ["street-clips"]
    assert built.onnx


def test_the_setting_is_in_form_file_docs_manifest_and_message(tmp_path: Path) -> None:
    stage = example("setting", "PoliteSettings")
    sentence = "Pause between two transfers from one host, in seconds."
    assert form(stage).config_type.fields["pause_s"].description == f"{sentence} Default: 0. At least 0. At most 60."
    assert f"| `pause_s` | {sentence} At least 0. At most 60. | 0 |" in settings_table(stage)
    corpus = CORPORA["konvid-1k"]
    resolved = resolve_levels(stage, [Level("ingest.toml", {"pause_s": 2})], corpus, corpus.name)
    assert resolved.described()["pause_s"] == {"value": 2.0, "from": "ingest.toml"}
    with pytest.raises(SettingsError, match="pause_s: 61, expected a number of at least 0 and at most 60"):
        stage.of({"pause_s": 61}, "run config")
