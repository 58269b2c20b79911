"""``backbones add``: a folder with an ONNX file and its declaration, in full, from an ONNX file or a package.

The folder appears whole or not at all, and only after the network was tried out.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from vqa_assets.backbones.declaration import IMAGENET_MEAN, IMAGENET_SD, BackboneDeclaration
from vqa_assets.backbones.folder import DECLARATION, Backbone, decided
from vqa_assets.backbones.graph import read_onnx
from vqa_assets.backbones.network import Network, tried_out
from vqa_assets.errors import SettingsError
from vqa_assets.settings import toml_value


@dataclass(frozen=True)
class Pixels:
    """What networks of a kind expect of a pixel on 0–1."""

    mean: tuple[float, float, float]
    sd: tuple[float, float, float]


LIKE: Mapping[str, Pixels] = MappingProxyType(
    {
        "imagenet": Pixels(IMAGENET_MEAN, IMAGENET_SD),
        "clip": Pixels((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
        "half": Pixels((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        "kinetics": Pixels((0.45, 0.45, 0.45), (0.225, 0.225, 0.225)),
        "raw": Pixels((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    }
)
"""``--like``: torchvision's and timm's networks, CLIP, SigLIP and many ViTs (``half``), SlowFast, and a graph that
scales pixels itself."""


def add_backbone(onnx: Path, parent: Path, facts: Mapping[str, Any]) -> Backbone:
    """The backbone of an ONNX file, copied with the files of its weights into a new folder of ``parent``.

    ``facts`` are keys of the declaration, ``id`` among them; what they leave out is decided by the graph and written
    down. SettingsError where the network cannot be one, or another folder has the id.
    """
    file = read_onnx(onnx)
    stated = BackboneDeclaration.of({**facts, "onnx": onnx.name, "sha256": file.sha256}, f"{onnx}")
    target = parent / str(stated.id)
    if os.path.lexists(target):
        raise SettingsError(
            f"{target}",
            found="something is there already",
            expected="no backbone of this id",
            next_step="give it another one (--id), or move the folder away",
        )
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".adding-", dir=parent) as around:
            folder = Path(around) / target.name
            folder.mkdir()
            for path in (onnx, *file.weights):
                place = folder / path.relative_to(onnx.parent)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, place)
            try:
                made = decided(folder, stated)
                tried_out(Network(made, device="cpu"))
            except SettingsError as error:
                raise _of_the_file(error, onnx, folder) from error
            (folder / DECLARATION).write_text(declaration_text(made), encoding="utf-8")
            folder.rename(target)
    except OSError as error:
        raise SettingsError(
            f"{target}",
            found=error.strerror or str(error),
            expected="a folder that can be written",
            next_step="mend its permissions, or free space",
        ) from error
    return decided(target, stated)


def _of_the_file(error: SettingsError, onnx: Path, folder: Path) -> SettingsError:
    """The same of the file that was to be added: the folder in which it was tried is gone when the message is read."""
    what = error.what.replace(f"{folder / DECLARATION}", f"{onnx}").replace(f"{folder / onnx.name}", f"{onnx}")
    # Only a declaration of one's own can say what neither the graph nor the command's options do.
    by_hand = "export it otherwise, or make its folder by hand, with a declaration that says more (docs/backbones.md)"
    next_step = by_hand if what.startswith(f"{onnx}: input.") else error.next_step
    return SettingsError(what, found=error.found, expected=error.expected, next_step=next_step)


def declaration_text(backbone: Backbone) -> str:
    """The declaration of a backbone in full, as TOML."""
    facts = {
        name: getattr(backbone, name) for name in ("id", "title", "version", "citation", "licence", "redistribution")
    }
    facts |= {"onnx": backbone.file.path.name, "sha256": backbone.file.sha256}
    lines = [f"{name} = {toml_value(value)}" for name, value in facts.items()]
    several = len(backbone.inputs) > 1
    for one in backbone.inputs:
        lines += ["", "[[input]]" if several else "[input]"]
        pieces = {} if one.layout == "NCHW" else {"frames_per_piece": one.frames, "stride": one.stride}
        said = {
            **{name: getattr(one, name) for name in ("name", "layout", "height", "width")},
            **pieces,
            **{name: getattr(one, name) for name in ("range", "mean", "sd", "colour")},
        }
        lines += [f"{name} = {toml_value(value)}" for name, value in said.items()]
    lines += ["", "[outputs]", *(f"{ours} = {toml_value(name)}" for ours, name in backbone.outputs)]
    for table, values in (("views", backbone.views), ("sampling", backbone.sampling)):
        stated = {name: value for name, value in values.model_dump().items() if value is not None}
        lines += ["", f"[{table}]", *(f"{name} = {toml_value(value)}" for name, value in stated.items())]
    return "\n".join(lines) + "\n"
