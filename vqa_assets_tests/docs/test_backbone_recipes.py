"""The recipes for backbones: what can be run without anybody's weights is run, the rest is read."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
import torch

from vqa_assets.backbones.__main__ import main
from vqa_assets.backbones.making import LIKE

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs/backbone-recipes.md").read_text(encoding="utf-8")
RECIPES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_every_recipe_is_python_that_saves_what_it_made() -> None:
    assert len(RECIPES) == 5
    for recipe in RECIPES[1:]:
        calls = [ast.unparse(node.func) for node in ast.walk(ast.parse(recipe)) if isinstance(node, ast.Call)]
        assert "save" in calls


def test_the_table_names_kinds_of_pixels_that_the_command_knows() -> None:
    named = re.findall(r"^\| [^|]+ \| `(\w+)` \|", PAGE, re.MULTILINE)
    assert len(named) == 7
    assert set(named) <= set(LIKE)


class Channels(torch.nn.Module):
    """Two inputs that become one vector, as SlowFast's do, and their maps."""

    def forward(self, slow: torch.Tensor, fast: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.cat([slow.mean((2, 3, 4)), fast.mean((2, 3, 4))], 1), fast.mean(2)


# That the older exporter is on its way out is what the page's dynamo=False says.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_the_function_saves_is_a_backbone(
    tmp_path: Path, root_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(RECIPES[0], names)
    save = names["save"]
    assert callable(save)
    pieces = torch.zeros(1, 3, 2, 8, 8), torch.zeros(1, 3, 8, 8, 8)
    save(Channels(), "two-rates.onnx", *pieces, names=("slow", "fast"), outputs=("vector", "map"))
    assert main(["add", "two-rates.onnx", "--like", "kinetics", "--root", str(root_path)]) == 0
    declared = tomllib.loads((root_path / "backbones/two-rates/backbone.toml").read_text())
    assert declared["outputs"] == {"vector": "vector", "map": "map"}
    assert [one["stride"] for one in declared["input"]] == [4, 1]
