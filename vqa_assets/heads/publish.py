"""A trained head becomes files: the ONNX, its manifest sidecar, its card. Trains and judges nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqa_assets.heads.build import BuiltHead
from vqa_assets.heads.card import render_card
from vqa_assets.heads.manifest import SCHEMA
from vqa_assets.heads.picture import card_png
from vqa_assets.heads.recipe import TrainingSettings
from vqa_assets.provenance import Manifest, RunContext, told_settings, write_manifest
from vqa_assets.tables.files import read_json_object, write_bytes

NO_HEAD = "no-head"


@dataclass(frozen=True)
class PublishedHead:
    """A head's files, its manifest as written, and the data version of the real head (a smoke run leaves it)."""

    onnx: Path | None
    manifest_path: Path
    card: Path
    picture: Path
    manifest: Mapping[str, Any]
    data_version: str


@dataclass(frozen=True)
class HeadInputs:
    """What a head was trained from: its recipe's name, the settings, the tables by corpus."""

    recipe: str
    settings: TrainingSettings
    tables: Mapping[str, Path]


def publish_head(built: BuiltHead, inputs: HeadInputs, context: RunContext) -> PublishedHead:
    """Write ``<stem>.onnx``, ``.json``, ``_card.md`` and its ``_card.png`` under ``<root>/models``, each atomically.

    Where the settings say that nothing is exported, the stem is ``<stem>.unexported``: the head that stands keeps its
    manifest and card. An ONNX whose bytes would stay the same is left alone.
    """
    folder = context.root.models()
    folder.mkdir(parents=True, exist_ok=True)
    stem = built.file_stem if built.onnx is not None else f"{built.file_stem}.unexported"
    onnx, sidecar, card = (folder / f"{stem}{suffix}" for suffix in (".onnx", ".json", "_card.md"))
    if built.onnx is not None and not (onnx.exists() and onnx.read_bytes() == built.onnx):
        write_bytes(onnx, built.onnx)
    outputs = {} if built.onnx is None else {"onnx": onnx}
    manifest = write_manifest(
        sidecar,
        Manifest(
            schema=SCHEMA,
            body={**built.manifest, "onnx": None if built.onnx is None else onnx.name},
            args=told_settings(inputs.settings.as_json(), TrainingSettings().as_json()),
            inputs=_files_read(inputs, built.manifest),
            outputs=outputs,
        ),
        context,
    )
    drawn = card.with_suffix(".png")
    write_bytes(drawn, card_png(built.predictions, manifest))
    write_bytes(card, render_card(manifest, drawn.name).encode())
    version = _real_version(folder / f"{inputs.recipe}.json")
    return PublishedHead(onnx if outputs else None, sidecar, card, drawn, manifest, version)


def _files_read(inputs: HeadInputs, manifest: Mapping[str, Any]) -> dict[str, Path]:
    what = "features_with_mos" if "mos_range" in manifest else "rows"
    files = {f"{what}_{name}": path for name, path in inputs.tables.items()}
    profile = inputs.settings.display_profile_json if "display_profile" in manifest else None
    return {**files, "display_profile": Path(profile).expanduser()} if profile else files


def _real_version(sidecar: Path) -> str:
    """The data version of the head under its own name: a hash of its ONNX."""
    sha256 = read_json_object(sidecar).get("sha256") if sidecar.is_file() else None
    return str(sha256)[:32] if sha256 else NO_HEAD
