"""Backbones as they lie on disk: which folders there are, and what a folder's declaration and ONNX file say together.

What is written there by a person is in ``declaration``; how a new one is made is in ``making``.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from vqa_assets.backbones.declaration import (
    BackboneDeclaration,
    DifferenceView,
    InputDeclaration,
    Layout,
    ResizeView,
    Sampling,
    Views,
)
from vqa_assets.backbones.graph import GraphInput, OnnxFile, hash_of, read_onnx
from vqa_assets.errors import SettingsError
from vqa_assets.settings import toml_table, typed_path
from vqa_assets.tables.networks import RecordedNetwork
from vqa_assets.tables.paths import DataRoot

DECLARATION = "backbone.toml"
FOLDER = "backbones"
ENVIRONMENT_NAME = "VQA_BACKBONES_DIR"
NEXT = "correct the declaration; docs/backbones.md names every key"
DEFAULT_SIDE = 224
"""Pixels of an input whose size neither graph nor declaration says: what networks on ImageNet are trained at."""
PICTURES = 2
"""Raised with every change of how frames become pictures (``features/decoding``); 1 halved chroma in some sizes."""

_LAYOUTS: Mapping[Layout, int] = {"NCHW": 4, "NCTHW": 5, "NTCHW": 5}
_ADD = "vqa-assets backbones add makes one"


@dataclass(frozen=True)
class NetworkInput:
    """One input of a network, every fact of it decided; see ``InputDeclaration``. ``frames`` is 1 for pictures."""

    name: str
    layout: Layout
    height: int
    width: int
    frames: int
    stride: int
    range: tuple[float, float]
    mean: tuple[float, float, float]
    sd: tuple[float, float, float]
    colour: str

    @property
    def span(self) -> int:
        """How many frames of a clip a piece reaches over."""
        return (self.frames - 1) * self.stride + 1

    def shape(self, batch: int) -> tuple[int, ...]:
        """The shape of a batch."""
        if self.layout == "NCHW":
            return batch, 3, self.height, self.width
        time = (3, self.frames) if self.layout == "NCTHW" else (self.frames, 3)
        return batch, *time, self.height, self.width


@dataclass(frozen=True)
class Backbone:
    """A backbone that was found whole: its declaration and what its ONNX file says agree.

    ``outputs`` are our names with the graph's; ``views`` have every size decided. ``pinned`` says whether the
    declaration states the hash of the ONNX file.
    """

    folder: Path
    id: str
    title: str
    version: str
    citation: str
    licence: str
    redistribution: str
    file: OnnxFile
    pinned: bool
    inputs: tuple[NetworkInput, ...]
    outputs: tuple[tuple[str, str], ...]
    views: Views
    sampling: Sampling

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of vectors that it gives: one per view, output and pooling."""
        return tuple(
            f"{self.id}.{view}.{output}_{pooling}"
            for view in self.views.names
            for output, _ in self.outputs
            for pooling in self.sampling.pooling
        )

    @property
    def recorded(self) -> RecordedNetwork:
        """What tables of its vectors, and heads that read them, record of it."""
        return RecordedNetwork(self.content, self.numbers)

    @property
    def files(self) -> dict[str, Path]:
        """Its files, under the names that replay manifests give them."""
        name = f"backbone_{self.id}"
        weights = {f"{name}_weights_{number}": path for number, path in enumerate(self.file.weights)}
        return {name: self.file.path, f"{name}_declaration": self.folder / DECLARATION, **weights}

    @cached_property
    def content(self) -> str:
        """A hash of the network: of the ONNX file, and of the files of its weights."""
        if not self.file.weights:
            return self.file.sha256
        return hashlib.sha256(f"{self.file.sha256} {hash_of(iter(self.file.weights))}".encode()).hexdigest()

    @cached_property
    def numbers(self) -> str:
        """A hash of all in the declaration that changes numbers: not of title, version, licence or citation.

        And of how pictures are made from frames: vectors of other pictures are another network's to a head.
        """
        said = {
            "pictures": PICTURES,
            "inputs": [vars(one) for one in self.inputs],
            "outputs": self.outputs,
            "views": self.views.model_dump(),
            "sampling": self.sampling.model_dump(),
        }
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def backbone_folders(root: DataRoot | None, environment: Mapping[str, str] | None = None) -> dict[str, Path]:
    """Every folder of a backbone by its name: those of ``$VQA_BACKBONES_DIR``, which win, and ``<root>/backbones``."""
    folders: dict[str, Path] = {}
    for parent in _parents(root, environment):
        for folder in sorted(parent.iterdir()) if parent.is_dir() else ():
            if folder.is_dir() and not folder.name.startswith("."):
                folders.setdefault(folder.name, folder)
    return dict(sorted(folders.items()))


def place_of_new(root: DataRoot, environment: Mapping[str, str] | None = None) -> Path:
    """Where folders of new backbones are made."""
    return _parents(root, environment)[0]


def _parents(root: DataRoot | None, environment: Mapping[str, str] | None) -> list[Path]:
    """Where backbones lie, the first wins; SettingsError where ``$VQA_BACKBONES_DIR`` is no folder."""
    env = os.environ if environment is None else environment
    named = env.get(ENVIRONMENT_NAME)
    folder = typed_path(named).absolute() if named else None
    if folder is not None and not folder.is_dir():
        raise SettingsError(
            f"${ENVIRONMENT_NAME} {folder}",
            found="found something that is no folder" if folder.exists() else "found nothing there",
            expected="a folder with a folder for each backbone",
            next_step=f"create it, or unset {ENVIRONMENT_NAME}",
        )
    return [*filter(None, [folder]), *([root.path / FOLDER] if root is not None else [])]


def backbone_named(name: str, root: DataRoot | None, environment: Mapping[str, str] | None = None) -> Backbone:
    """The backbone of that id; SettingsError names those that are there, or what is wrong with it."""
    folders = backbone_folders(root, environment)
    if name not in folders:
        raise SettingsError(
            f"backbone {name}",
            found=f"no such folder in {' or in '.join(map(str, _parents(root, environment)))}",
            expected=f"one of {', '.join(folders)}" if folders else f"a folder with an ONNX file and {DECLARATION}",
            next_step=_ADD,
        )
    return read_backbone(folders[name])


def read_backbone(folder: Path) -> Backbone:
    """The backbone of a folder; SettingsError names the file, the key and the remedy."""
    path = folder / DECLARATION
    try:
        table = toml_table(path)
    except (ValueError, RecursionError, OSError) as error:
        absent = isinstance(error, FileNotFoundError)
        raise SettingsError(
            f"{path}",
            found="found nothing there" if absent else f"not TOML ({error})",
            expected="the declaration of a backbone" if absent else 'lines such as id = "my-network"',
            next_step=_ADD if absent else "correct it",
        ) from error
    stated = BackboneDeclaration.of(table, f"{path}", NEXT)
    # Also where no id is stated: the folder's name is one.
    BackboneDeclaration.of({"id": folder.name}, f"{folder}", "rename the folder")
    if stated.id not in (None, folder.name):
        raise SettingsError(
            f"{path}: id",
            found=repr(stated.id),
            expected=f"{folder.name!r}, the folder's name",
            next_step="correct the id, or rename the folder",
        )
    return decided(folder, stated)


def decided(folder: Path, stated: BackboneDeclaration) -> Backbone:
    """The backbone with all that the declaration leaves out, by what its ONNX file says; SettingsError as above."""
    where = f"{folder / DECLARATION}"
    file = read_onnx(folder / (stated.onnx or _only_onnx(folder)))
    if stated.sha256 not in (None, file.sha256):
        raise SettingsError(
            f"{where}: sha256",
            found=f"{file.sha256}, the SHA-256 of {file.path.name}",
            expected=f"{stated.sha256}, as it is declared",
            next_step="bring the declared file back; or, where the new one is meant, state its hash",
        )
    inputs = _inputs(where, stated, file)
    return Backbone(
        folder=folder,
        id=folder.name,
        title=stated.title or folder.name,
        version=stated.version or file.sha256[:12],
        citation=stated.citation,
        licence=stated.licence,
        redistribution=stated.redistribution,
        file=file,
        pinned=stated.sha256 is not None,
        inputs=inputs,
        outputs=_outputs(where, stated, file),
        views=_views(where, stated.views, inputs[0]),
        sampling=stated.sampling if stated.sampling.frames or stated.sampling.rate else stated.sampling.but(frames=8),
    )


def _only_onnx(folder: Path) -> str:
    names = sorted(path.name for path in folder.glob("*.onnx"))
    if len(names) != 1:
        raise SettingsError(
            f"{folder / DECLARATION}: onnx",
            found=f"not stated, and {len(names)} .onnx files in the folder{': ' if names else ''}{', '.join(names)}",
            expected="the ONNX file's name, or one such file",
            next_step="state it, or put it there",
        )
    return names[0]


def _inputs(where: str, stated: BackboneDeclaration, file: OnnxFile) -> tuple[NetworkInput, ...]:
    """Every input of the graph with all facts; SettingsError where declaration and graph do not agree."""
    known = {one.name: one for one in file.inputs}
    several = len(stated.input) > 1
    decided_inputs = []
    for number, declared in enumerate(stated.input):
        key = f"{where}: input[{number}]" if several else f"{where}: input"
        names = list(known)
        name = declared.name or (names[0] if len(names) == 1 and not several else "")
        if name not in known:
            raise SettingsError(
                f"{key}.name",
                found=repr(declared.name) if declared.name else "nothing",
                expected=f"an input of {file.path.name}: {', '.join(names) or 'it has none'}",
                next_step="name it; an [[input]] each where there are several" if names else NEXT,
            )
        decided_inputs.append(_input(key, declared, known[name], file.path.name))
    named = [one.name for one in decided_inputs]
    if sorted(named) != sorted(known):
        raise SettingsError(
            f"{where}: input",
            found=", ".join(named),
            expected=f"each input of {file.path.name} once: {', '.join(known)}",
            next_step="declare an [[input]] for each",
        )
    pieces = {one.layout != "NCHW" for one in decided_inputs}
    if len(pieces) > 1:
        raise SettingsError(
            f"{where}: input", found="pictures and pieces of video", expected="one or the other", next_step=NEXT
        )
    sizes = {(one.height, one.width) for one in decided_inputs}
    if len(sizes) > 1:
        raise SettingsError(
            f"{where}: input",
            found=" and ".join(f"{height} × {width}" for height, width in sorted(sizes)),
            expected="one size for all inputs",
            next_step="export the network with inputs of one size",
        )
    # Two rates of one piece (SlowFast): the input with fewer frames has them further apart.
    longest = max(one.frames * one.stride for one in decided_inputs)
    return tuple(
        one if declared.stride is not None else replace(one, stride=max(1, longest // one.frames))
        for one, declared in zip(decided_inputs, stated.input, strict=True)
    )


def _input(key: str, declared: InputDeclaration, graph: GraphInput, file: str) -> NetworkInput:
    layout = _layout(key, declared, graph, file)
    places = {side: place for place, side in enumerate(layout)}
    batch, channels = graph.sides[places["N"]], graph.sides[places["C"]]
    shape = _shape(graph)
    if batch is not None:
        raise SettingsError(
            f"{key}.name",
            found=f"{graph.name} of {shape} in {file}: a batch of {batch} and no other",
            expected="a batch that is left open",
            next_step="export it with a dynamic first side (dynamic_axes of torch.onnx.export)",
        )
    if channels not in (3, None) or graph.kind != "float32":
        raise SettingsError(
            f"{key}.name",
            found=f"{graph.name} of {shape}, {graph.kind}, in {file}, which is no picture",
            expected="float32 with three channels",
            next_step="export the network with pictures as its input",
        )
    if channels is None:
        raise SettingsError(
            f"{key}.name",
            found=f"{graph.name} of {shape} in {file}, whose channels are left open",
            expected="three channels; only N, T, H and W may be left open",
            next_step="export it again with no other dynamic sides",
        )
    frames = 1
    if "T" in places:
        frames = _side(f"{key}.frames_per_piece", declared.frames_per_piece, graph.sides[places["T"]], file)
    elif declared.frames_per_piece is not None or declared.stride not in (None, 1):
        pieces = "frames_per_piece" if declared.frames_per_piece is not None else "stride"
        raise SettingsError(
            f"{key}.{pieces}",
            found="a picture's layout, NCHW",
            expected="NCTHW or NTCHW, whose pieces have frames",
            next_step=f"leave {pieces} out",
        )
    height, width = (
        _side(f"{key}.{name}", value, graph.sides[places[side]], file, DEFAULT_SIDE)
        for name, value, side in (("height", declared.height, "H"), ("width", declared.width, "W"))
    )
    return NetworkInput(
        name=graph.name,
        layout=layout,
        height=height,
        width=width,
        frames=frames,
        stride=declared.stride or 1,
        range=(declared.range[0], declared.range[1]),
        mean=(declared.mean[0], declared.mean[1], declared.mean[2]),
        sd=(declared.sd[0], declared.sd[1], declared.sd[2]),
        colour=declared.colour,
    )


def _layout(key: str, declared: InputDeclaration, graph: GraphInput, file: str) -> Layout:
    """The layout as declared, if the graph's rank is its; else the one that the graph's three channels tell."""
    rank = len(graph.sides)
    if declared.layout is not None:
        if rank != _LAYOUTS[declared.layout]:
            raise SettingsError(
                f"{key}.layout",
                found=f"{declared.layout}, and {graph.name} of {_shape(graph)} in {file}: {rank} sides",
                expected=f"{_LAYOUTS[declared.layout]} sides",
                next_step="correct the layout, or leave it to the graph",
            )
        return declared.layout
    fitting: list[Layout] = [
        layout for layout, sides in _LAYOUTS.items() if sides == rank and graph.sides[layout.index("C")] == 3
    ]
    if rank == 4 or len(fitting) == 1:
        return fitting[0] if fitting else "NCHW"
    raise SettingsError(
        f"{key}.layout",
        found=f"nothing, and {graph.name} of {_shape(graph)} in {file}",
        expected="four sides (pictures) or five (pieces of video) of which one is three channels",
        next_step=f"state the layout: one of {', '.join(_LAYOUTS)}" if rank == 5 else NEXT,
    )


def _side(key: str, declared: int | None, graph: int | None, file: str, default: int | None = None) -> int:
    if declared is not None and graph is not None and declared != graph:
        raise SettingsError(
            key,
            found=f"{declared}",
            expected=f"{graph}, which {file} is made for",
            next_step="correct it, or leave it to the graph",
        )
    side = declared or graph or default
    if side is None:
        raise SettingsError(key, found="nothing", expected=f"a whole number, which {file} leaves open", next_step=NEXT)
    return side


def _shape(graph: GraphInput) -> str:
    return f"({', '.join('open' if side is None else str(side) for side in graph.sides)})"


def _outputs(where: str, stated: BackboneDeclaration, file: OnnxFile) -> tuple[tuple[str, str], ...]:
    """Our names with the graph's: as declared, else all of the graph's by what their names allow."""
    if not stated.outputs:
        ours = [re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") for name in file.outputs]
        ours = [name if name[:1].isalpha() else f"output_{name}".rstrip("_") for name in ours]
        if len(set(ours)) < len(ours):
            ours = [f"output_{number}" for number in range(len(ours))]
        return tuple(zip(ours, file.outputs, strict=True))
    for ours_, name in stated.outputs.items():
        if name not in file.tensors:
            raise SettingsError(
                f"{where}: outputs.{ours_}",
                found=repr(name),
                expected=f"an output of {file.path.name} ({', '.join(file.outputs)}) or one of its inner tensors",
                next_step="correct the name",
            )
    return tuple(stated.outputs.items())


def _views(where: str, views: Views, one: NetworkInput) -> Views:
    """The views with their sizes; SettingsError for one that does not fill the network's inputs."""
    longest = max(one.height, one.width)
    if views.difference is not None and one.layout != "NCHW":
        raise SettingsError(
            f"{where}: views.difference",
            found="a network of pieces of video",
            expected="one of pictures: a difference is one",
            next_step="leave it out",
        )
    changes: dict[str, ResizeView] = {}
    for name, view in (("resize", views.resize), ("difference", views.difference)):
        if view is None:
            continue
        if view.short_side is not None and view.short_side < longest:
            raise SettingsError(
                f"{where}: views.{name}.short_side",
                found=f"{view.short_side}",
                expected=f"at least {longest}, the network's input, which is cut out of it",
                next_step="enlarge it",
            )
        # 8/7 is 256 for 224: the part that evaluation on ImageNet cuts out.
        size = view.short_side or max(256, round(longest * 8 / 7))
        changes[name] = DifferenceView(short_side=size) if name == "difference" else ResizeView(short_side=size)
    if views.fragments is not None:
        grid, patch = views.fragments.grid, views.fragments.patch
        if (one.height, one.width) != (grid * patch, grid * patch):
            raise SettingsError(
                f"{where}: views.fragments",
                found=f"{grid} × {patch} = {grid * patch} pixels",
                expected=f"the network's input, {one.height} × {one.width}",
                next_step="choose grid and patch so that their product is the input's side",
            )
    return views.but(**changes)
