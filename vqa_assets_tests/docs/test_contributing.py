"""CONTRIBUTING.md shows the house as it is: its rooms, and the modules and functions that its walks pass through."""

import importlib
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "vqa_assets"
PAGE = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
WALKS = PAGE.partition("## Four walks")[2].partition("\n## ")[0]
STOPS = sorted(set(re.findall(r"`([a-z_]+/[a-z_]+(?:\.\w+)?)`", WALKS)))


def test_every_room_of_the_package_has_its_row() -> None:
    rows = "\n".join(line for line in PAGE.splitlines() if line.startswith("| `"))
    named = set(re.findall(r"`([a-z_]+)/?`", rows))
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    modules = {path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__"}
    assert named == rooms | modules


def test_tests_stand_in_folders_of_the_rooms_names() -> None:
    tests = {path.name for path in (REPOSITORY / "vqa_assets_tests").iterdir() if path.is_dir()} - {"__pycache__"}
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    assert tests - {"shared", "docs", "commands"} <= rooms


@pytest.mark.parametrize("stop", STOPS)
def test_what_a_walk_passes_through_is_there(stop: str) -> None:
    module, _, name = stop.replace("/", ".", 1).partition(".")[2].partition(".")
    room = stop.partition("/")[0]
    found = importlib.import_module(f"vqa_assets.{room}.{module}")
    assert not name or hasattr(found, name)


def test_a_walk_is_at_most_twelve_lines() -> None:
    walks = [walk for walk in WALKS.split("\n\n") if walk.strip().startswith("**")]
    assert len(walks) == 4
    assert max(len(walk.strip().splitlines()) for walk in walks) <= 12
