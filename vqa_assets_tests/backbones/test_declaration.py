"""A backbone's folder: what its file may leave out, what is refused of declaration and ONNX, and in which words."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from vqa_assets.backbones.folder import Backbone, backbone_folders, backbone_named, place_of_new, read_backbone
from vqa_assets.backbones.network import Network, as_batch, over_places, tried_out
from vqa_assets.errors import FeatureError, SettingsError
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.networks import backbone_folder, channel_means, declared, saved

IN_FULL = """\
id = "tiny"
title = "Tiny"
version = "1"
citation = "Somebody, 2026"
licence = "Apache-2.0"
redistribution = "attribution"
onnx = "tiny.onnx"
[input]
name = "pixels"
layout = "NCHW"
height = 8
width = 8
range = [0.0, 255.0]
mean = [1, 2, 3]
sd = [4, 5, 6]
colour = "bgr"
[outputs]
last = "embedding"
inner = "lighter"
[views]
resize = { short_side = 9 }
fragments = { grid = 2, patch = 4 }
difference = { short_side = 16 }
[sampling]
rate = 1.0
pooling = ["mean", "p10"]
"""


def refusal(folder: Path) -> str:
    with pytest.raises(SettingsError) as caught:
        read_backbone(folder)
    return str(caught.value)


def test_a_declaration_in_full_is_read_as_it_says(tmp_path: Path) -> None:
    backbone = read_backbone(backbone_folder(tmp_path, IN_FULL))
    assert (backbone.title, backbone.version, backbone.citation) == ("Tiny", "1", "Somebody, 2026")
    assert (backbone.licence, backbone.redistribution, backbone.pinned) == ("Apache-2.0", "attribution", False)
    (one,) = backbone.inputs
    assert (one.name, one.layout, one.shape(2)) == ("pixels", "NCHW", (2, 3, 8, 8))
    assert (one.range, one.mean, one.sd, one.colour) == ((0, 255), (1, 2, 3), (4, 5, 6), "bgr")
    assert backbone.outputs == (("last", "embedding"), ("inner", "lighter"))
    assert backbone.views.names == ("resize", "fragments", "difference")
    assert backbone.columns[:3] == ("tiny.resize.last_mean", "tiny.resize.last_p10", "tiny.resize.inner_mean")
    assert len(backbone.columns) == 12


def test_what_is_left_out_is_what_the_graph_tells_and_no_licence_is_guessed(tmp_path: Path) -> None:
    folder = tmp_path / "my-net"
    channel_means(folder / "net.onnx", ("n", 3, 240, 320))
    (folder / "backbone.toml").write_text("")
    backbone = read_backbone(folder)
    assert (backbone.id, backbone.title, backbone.version) == ("my-net", "my-net", backbone.file.sha256[:12])
    assert (backbone.licence, backbone.redistribution, backbone.citation) == ("unknown", "unknown", "")
    (one,) = backbone.inputs
    assert (one.name, one.layout, one.height, one.width, one.frames) == ("pixels", "NCHW", 240, 320, 1)
    assert backbone.outputs == (("embedding", "embedding"),)
    assert backbone.views.resize is not None
    assert backbone.views.resize.short_side == 366
    assert (backbone.sampling.frames, backbone.sampling.pooling) == (8, ("mean", "sd"))


def test_a_size_that_the_graph_leaves_open_is_224_and_cut_out_of_256(tmp_path: Path) -> None:
    backbone = read_backbone(backbone_folder(tmp_path, sides=("n", 3, "h", "w")))
    assert (backbone.inputs[0].height, backbone.views.resize) == (224, type(backbone.views.resize)(short_side=256))


@pytest.mark.parametrize(
    ("sides", "options", "layout", "span"),
    [(("n", 3, 4, 8, 8), {}, "NCTHW", 4), (("n", 4, 3, 8, 8), {"time_first": True}, "NTCHW", 4)],
)
def test_a_piece_of_video_is_told_by_its_three_channels(
    tmp_path: Path, sides: Any, options: dict[str, Any], layout: str, span: int
) -> None:
    backbone = read_backbone(backbone_folder(tmp_path, sides=sides, **options))
    assert (backbone.inputs[0].layout, backbone.inputs[0].span) == (layout, span)
    assert tried_out(Network(backbone, "cpu")) == {"embedding": 3}


def test_an_input_each_where_there_are_several_with_strides_of_their_own(tmp_path: Path) -> None:
    folder = tmp_path / "slowfast"
    means = [
        helper.make_node("ReduceMean", [name], [f"{name}_mean"], axes=[2, 3, 4], keepdims=0)
        for name in ("slow", "fast")
    ]
    join = helper.make_node("Concat", ["slow_mean", "fast_mean"], ["joined"], axis=1)
    saved(folder / "a.onnx", [*means, join], {"slow": ("n", 3, 2, 8, 8), "fast": ("n", 3, 8, 8, 8)}, ["joined"])
    (folder / "backbone.toml").write_text('[[input]]\nname = "slow"\nstride = 3\n[[input]]\nname = "fast"\n')
    backbone = read_backbone(folder)
    assert [(one.name, one.frames, one.span) for one in backbone.inputs] == [("slow", 2, 4), ("fast", 8, 8)]
    (folder / "backbone.toml").write_text('[[input]]\nname = "slow"\n[[input]]\nname = "fast"\nstride = 2\n')
    backbone = read_backbone(folder)
    assert [(one.name, one.stride) for one in backbone.inputs] == [("slow", 8), ("fast", 2)]
    assert tried_out(Network(backbone, "cpu")) == {"joined": 6}
    (folder / "backbone.toml").write_text('[input]\nname = "slow"\n')
    assert refusal(folder).endswith(
        "backbone.toml: input: slow, expected each input of a.onnx once: slow, fast; declare an [[input]] for each"
    )


MISTAKES: dict[str, tuple[str, str]] = {
    'license = "MIT"': ("unknown key 'license'", "expected one of id, title, version"),
    "[input]\nmeans = [1, 2, 3]": ("unknown key 'means'", "expected one of name, layout"),
    "[views]\nzoom = {}": ("unknown key 'zoom'", "expected one of resize, fragments, difference"),
    "[views]\nresize = { side = 3 }": ("unknown key 'side'", "expected one of short_side"),
    "[views]": ("views.resize: none", "at least one of resize"),
    'id = "other"': (": id: 'other'", "'tiny', the folder's name"),
    'id = "Tiny 2"': (": id: 'Tiny 2'", "lower-case words joined by -"),
    'redistribution = "free"': ("redistribution: 'free'", "one of attribution, research-only"),
    'onnx = "../x.onnx"': ("onnx: '../x.onnx'", "a path inside"),
    'onnx = "x.onnx"': ("x.onnx: found nothing there", "expected an ONNX file"),
    'sha256 = "abc"': ("sha256: 'abc'", "64 hexadecimal digits"),
    f'sha256 = "{"0" * 64}"': ("sha256: ", "bring the declared file back"),
    '[input]\nlayout = "NHWC"': ("layout: 'NHWC'", "one of NCHW, NCTHW, NTCHW"),
    '[input]\nlayout = "NCTHW"': (
        "input.layout: NCTHW, and pixels of (open, 3, 8, 8) in tiny.onnx: 4 sides",
        "5 sides",
    ),
    '[input]\nname = "pixel"': ("input.name: 'pixel'", "an input of tiny.onnx: pixels"),
    "[input]\nheight = 9": ("input.height: 9", "expected 8, which tiny.onnx is made for"),
    "[input]\nheight = 200000": ("height: 200000", "at most 16384"),
    "[views]\nresize = { short_side = 1000000 }": ("short_side: 1000000", "at most 16384"),
    "[input]\nwidth = 0": ("width: 0", "a whole number of at least 1"),
    "[input]\nframes_per_piece = 4": ("input.frames_per_piece: a picture's layout", "leave frames_per_piece out"),
    "[input]\nstride = 4": ("input.stride: a picture's layout", "leave stride out"),
    "[input]\nmean = [1, 2]": ("mean: [1.0, 2.0]", "three numbers, red first"),
    "[input]\nsd = [1, 0, 1]": ("sd: [1.0, 0.0, 1.0]", "three numbers above 0"),
    "[input]\nrange = [1, 0]": ("range: [1.0, 0.0]", "two numbers, low first"),
    '[outputs]\nlast = "score"': ("outputs.last: 'score'", "an output of tiny.onnx (embedding) or one of its inner"),
    '[outputs]\n"A.b" = "embedding"': ("'A.b'", "a word of small letters"),
    "[views]\nresize = { short_side = 7 }": ("views.resize.short_side: 7", "at least 8"),
    "[views]\nfragments = {}": ("views.fragments: 7 × 32 = 224 pixels", "the network's input, 8 × 8"),
    "[sampling]\nframes = 0": ("sampling.frames: 0", "at least 1"),
    "[sampling]\nframes = 4\nrate = 1.0": ("rate: 1 beside frames (4)", "one of rate and frames"),
    '[sampling]\npooling = ["mean", "mean"]': ("pooling: ['mean', 'mean']", "each word once"),
    '[sampling]\npooling = ["max"]': ("'max'", "one of mean, sd, p10, p90"),
    "id = ": ("not TOML", "lines such as id ="),
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_names_file_key_and_remedy(tmp_path: Path, text: str) -> None:
    folder = backbone_folder(tmp_path, text + "\n")
    told = refusal(folder)
    assert told.startswith(str(tmp_path))
    found, expected = MISTAKES[text]
    assert found in told
    assert expected in told
    assert "; " in told


def test_a_folder_without_a_declaration_or_with_two_networks_says_so(tmp_path: Path) -> None:
    folder = backbone_folder(tmp_path)
    channel_means(folder / "other.onnx")
    assert "not stated, and 2 .onnx files in the folder: other.onnx, tiny.onnx" in refusal(folder)
    (folder / "backbone.toml").unlink()
    assert "backbone.toml: found nothing there, expected the declaration of a backbone" in refusal(folder)


def external(folder: Path, place: str) -> None:
    """Move the weights of the folder's network into a file of that place, from its folder."""
    path = folder / "tiny.onnx"
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    (folder / place).parent.mkdir(exist_ok=True)
    (folder / place).write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place)
    path.write_bytes(model.SerializeToString())


def test_weights_beside_the_file_are_part_of_it_and_those_outside_its_folder_are_refused(tmp_path: Path) -> None:
    folder = backbone_folder(tmp_path)
    external(folder, "weights.bin")
    backbone = read_backbone(folder)
    before = backbone.content
    assert backbone.file.weights == (folder / "weights.bin",)
    assert tried_out(Network(backbone, "cpu")) == {"embedding": 3}
    (folder / "weights.bin").write_bytes(np.full(1, 2, np.float32).tobytes())
    assert read_backbone(folder).content != before
    (folder / "weights.bin").unlink()
    assert "no file weights.bin, in which its weights are" in refusal(folder)
    secret = tmp_path / "secret.bin"
    secret.write_bytes(np.ones(1, np.float32).tobytes())
    (folder / "weights.bin").symlink_to(secret)
    assert "weights in weights.bin, outside its folder" in refusal(folder)
    other = backbone_folder(tmp_path, name="b")
    (other / "b.onnx").rename(other / "tiny.onnx")
    external(other, "../outside.bin")
    assert "weights in ../outside.bin, outside its folder" in refusal(other)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sides": (4, 3, 8, 8)}, "pixels of (4, 3, 8, 8) in tiny.onnx: a batch of 4 and no other"),
        ({"sides": ("n", "c", 8, 8)}, "whose channels are left open"),
        ({"sides": ("n", 1, 8, 8)}, "pixels of (open, 1, 8, 8), float32, in tiny.onnx, which is no picture"),
        ({"sides": ("n", 8, 8, 3)}, "which is no picture"),
        ({"sides": ("n", 77)}, "pixels of (open, 77) in tiny.onnx, expected four sides (pictures) or five"),
        ({"sides": ("n", 3, 3, 8, 8)}, "state the layout: one of NCHW, NCTHW, NTCHW"),
        ({"sides": ("n", 3, "t", 8, 8)}, "frames_per_piece: nothing"),
        ({"kind": TensorProto.INT64}, "int64, in tiny.onnx, which is no picture"),
        (
            {"custom": True, "more": [helper.make_node("Magic", ["embedding"], ["x"], domain="mine")]},
            "a custom operator, mine.Magic",
        ),
        ({"more": [helper.make_node("Magic", ["embedding"], ["x"])]}, "a custom operator, ai.onnx.Magic"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_onnx_that_takes_no_pictures_or_needs_more_than_onnx_is_refused(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    assert said in refusal(backbone_folder(tmp_path, **changes))


@pytest.mark.parametrize("content", [b"", b"hello\n" * 9, b"version https://git-lfs.github.com/spec/v1\n"])
def test_what_is_no_onnx_file_is_refused_by_what_it_is(tmp_path: Path, content: bytes) -> None:
    folder = backbone_folder(tmp_path)
    (folder / "tiny.onnx").write_bytes(content)
    told = refusal(folder)
    assert ("a Git-LFS pointer" if content.startswith(b"version") else "no ONNX graph") in told


def test_a_file_of_two_gigabytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    folder = backbone_folder(tmp_path)
    os.truncate(folder / "tiny.onnx", 1 << 31)
    assert "2.0 GiB in one file, expected less than 2 GiB" in refusal(folder)
    assert "save_as_external_data" in refusal(folder)


def open_network(folder: Path) -> Any:
    return tried_out(Network(read_backbone(folder), "cpu"))


@pytest.mark.parametrize("changes", [{"opset": 99}, {"ir": 99}])
def test_an_opset_that_is_too_new_is_told_with_the_runtimes_version(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = backbone_folder(tmp_path, **changes)
    with pytest.raises(
        SettingsError, match=r"expected a network that onnxruntime \S+ can run; export it with an older"
    ) as refused:
        open_network(folder)
    assert "onnxruntime_src" not in str(refused.value)


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([helper.make_node("Log", ["negative"], ["answer"])], "NaN or infinity of two pictures of noise"),
        ([helper.make_node("ReduceMean", ["embedding"], ["answer"], axes=[0], keepdims=1)], "a row a picture"),
        ([helper.make_node("ReduceMean", ["embedding"], ["answer"], keepdims=0)], "a row a picture"),
        ([helper.make_node("Softmax", ["embedding"], ["answer"], axis=0)], "other numbers beside another picture"),
    ],
    ids=["nan", "one row", "one number", "mixed"],
)
def test_an_answer_that_is_no_vector_of_each_picture_is_refused(tmp_path: Path, nodes: list[Any], said: str) -> None:
    below_zero = helper.make_node("Sub", ["means", "ten"], ["negative"])
    ten = {"ten": np.full(1, 10, np.float32)}
    text = declared(outputs={"last": "answer"})
    folder = backbone_folder(tmp_path, text, more=[below_zero, *nodes], weights=ten)
    with pytest.raises(SettingsError, match=rf"outputs.last \(answer\): .*{said}.*; name another output"):
        open_network(folder)


def test_a_network_gives_its_declared_outputs_inner_ones_as_means_and_sds(tmp_path: Path) -> None:
    text = declared(outputs={"last": "embedding", "inner": "lighter"}, input={"mean": [0, 0, 0], "sd": [1, 1, 1]})
    network = Network(read_backbone(backbone_folder(tmp_path, text)), "cpu")
    pictures = np.random.default_rng(1).random((5, 1, 8, 8, 3), np.float32)
    found = network.embed([as_batch(pictures, network.backbone.inputs[0])])
    assert found["last"] == pytest.approx(pictures.mean(axis=(1, 2, 3)), abs=1e-5)
    assert found["inner"].shape == (5, 6)
    assert found["inner"][:, 3:] == pytest.approx(pictures.std(axis=(1, 2, 3)), abs=1e-5)


def test_places_are_pooled_whatever_the_shape() -> None:
    values = np.arange(2 * 5 * 3, dtype=np.float32).reshape(2, 5, 3)
    assert over_places(values)[0] == pytest.approx([*values[0].mean(axis=0), *values[0].std(axis=0)])
    assert over_places(values.transpose(0, 2, 1)[..., None]) == pytest.approx(over_places(values))
    assert over_places(values[:, 0, 0]).shape == (2, 1)


def test_pixels_are_scaled_channel_by_channel_and_turned_round_for_bgr(tmp_path: Path) -> None:
    (layout,) = read_backbone(backbone_folder(tmp_path, IN_FULL)).inputs
    batch = as_batch(np.full((1, 1, 8, 8, 3), (0.0, 0.5, 1.0), np.float32), layout)
    assert batch[0, :, 0, 0] == pytest.approx([(255 - 3) / 6, (127.5 - 2) / 5, (0 - 1) / 4])


def test_the_hash_of_what_changes_numbers_stays_under_another_title_or_licence(tmp_path: Path) -> None:
    def read(text: str) -> Backbone:
        (folder / "backbone.toml").write_text(text)
        return read_backbone(folder)

    folder = backbone_folder(tmp_path)
    one, named = read(""), read('title = "T"\nlicence = "MIT"\nversion = "2"\n')
    assert (one.content, one.numbers) == (named.content, named.numbers)
    changed = [declared(sampling={"frames": 4}), declared(input={"colour": "bgr"}), declared(views={"difference": {}})]
    assert len({one.numbers, *(read(text).numbers for text in changed)}) == 4


def test_the_folder_that_the_variable_names_wins_over_the_data_roots(root_path: Path, tmp_path: Path) -> None:
    root, elsewhere = DataRoot(root_path), {"VQA_BACKBONES_DIR": f"{tmp_path / 'elsewhere'}"}
    backbone_folder(root_path / "backbones", 'title = "of the root"\n')
    backbone_folder(root_path / "backbones", name="second")
    with pytest.raises(SettingsError, match=r"\$VQA_BACKBONES_DIR .*elsewhere: found nothing there, expected a folder"):
        backbone_folders(root, elsewhere)
    backbone_folder(tmp_path / "elsewhere", 'title = "of the variable"\n')
    assert list(backbone_folders(root, elsewhere)) == ["second", "tiny"]
    assert backbone_named("tiny", root, elsewhere).title == "of the variable"
    assert backbone_named("tiny", root, {}).title == "of the root"
    assert place_of_new(root, elsewhere) == tmp_path / "elsewhere"
    with pytest.raises(
        SettingsError, match=r"backbone other: no such folder in .*, expected one of second, tiny; vqa-assets"
    ):
        backbone_named("other", root, {})


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="CUDA is there")
def test_cuda_without_a_runtime_that_has_it_is_an_error_that_names_the_swap(tmp_path: Path) -> None:
    backbone = read_backbone(backbone_folder(tmp_path))
    assert Network(backbone, "auto").device == "cpu"
    with pytest.raises(
        FeatureError, match=r"device cuda: an onnxruntime with .*CPUExecutionProvider only.*onnxruntime-gpu"
    ):
        Network(backbone, "cuda")


@pytest.mark.parametrize("is_opened", [True, False])
def test_cuda_is_opened_without_tf32_and_a_fall_back_to_the_cpu_is_told(
    tmp_path: Path, is_opened: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cuda, cpu = "CUDAExecutionProvider", "CPUExecutionProvider"
    asked: list[Any] = []

    class Session:
        def __init__(self, content: bytes, options: Any, providers: list[Any]) -> None:
            asked.append(providers)

        def get_providers(self) -> list[str]:
            return [cuda, cpu] if is_opened else [cpu]

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [cuda, cpu])
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    backbone = read_backbone(backbone_folder(tmp_path))
    network = Network(backbone, "auto")
    assert asked == [[(cuda, {"use_tf32": "0"}), cpu]]
    assert network.device == ("cuda" if is_opened else "cpu")
    told = [record.getMessage() for record in caplog.records]
    assert told == ([] if is_opened else ["backbones run on the CPU: onnxruntime could not open a CUDA device"])
    if not is_opened:
        with pytest.raises(FeatureError, match="device cuda: no device that onnxruntime could open"):
            Network(backbone, "cuda")
    assert Network(backbone, "cpu").device == "cpu"
    assert asked[-1] == [cpu]
