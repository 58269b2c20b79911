"""``python -m vqa_assets.backbones``: ``add`` makes a backbone's folder, ``list`` shows which are there."""

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vqa_assets.arguments import CommandParser
from vqa_assets.backbones.efficientnet_lite0 import FACTS as EFFICIENTNET_LITE0
from vqa_assets.backbones.efficientnet_lite0 import ID, export_onnx
from vqa_assets.backbones.folder import Backbone, backbone_folders, place_of_new, read_backbone
from vqa_assets.backbones.graph import read_onnx
from vqa_assets.backbones.making import LIKE, add_backbone
from vqa_assets.corpora.corpus import REDISTRIBUTION
from vqa_assets.corpora.declarations import corpora_folder, with_declared
from vqa_assets.errors import VqaError
from vqa_assets.printing import plain, tell, tell_error
from vqa_assets.settings import typed_path
from vqa_assets.tables.parquet import column_names
from vqa_assets.tables.paths import DataRoot
from vqa_assets.tables.publication import settle_root

_STATED = ("id", "title", "version", "citation", "licence", "redistribution")


def lines_of(folder: Path, tables: Mapping[str, Sequence[str]]) -> list[str]:
    """What is to be said of a backbone's folder; ``tables`` are the columns of each corpus's feature table."""
    try:
        backbone = read_backbone(folder)
    except VqaError as error:
        return [f"{folder.name}: cannot be used: {error}"]
    corpora = [name for name, columns in tables.items() if any(c.startswith(f"{backbone.id}.") for c in columns)]
    pooled = " and ".join(backbone.sampling.pooling)
    pinned = "" if backbone.pinned else "; its hash is not declared, so that another file would not be refused"
    return [
        f"{backbone.id}: {backbone.title}, {backbone.version}{pinned}",
        f"  licence     {backbone.licence}; what is made with it {REDISTRIBUTION[backbone.redistribution]}",
        f"  shown       {', '.join(backbone.views.names)}; {_sampled(backbone)}",
        f"  outputs     {', '.join(name for name, _ in backbone.outputs)}; {pooled} over time",
        f"  features of {', '.join(corpora) or 'no corpus yet'}",
    ]


def _sampled(backbone: Backbone) -> str:
    what = "frames" if backbone.inputs[0].layout == "NCHW" else "pieces"
    sampling = backbone.sampling
    return f"{sampling.frames} {what}" if sampling.frames else f"{sampling.rate:g} {what} a second"


def _tables(root: DataRoot) -> dict[str, list[str]]:
    """The columns of every corpus's feature table that can be read."""
    tables: dict[str, list[str]] = {}
    for corpus in with_declared(corpora_folder(root.path, os.environ)).values():
        try:
            tables[corpus.name] = column_names(root.features(corpus))
        except VqaError:  # none, or one that its own stage speaks of
            continue
    return tables


def _list(root: DataRoot) -> int:
    settle_root(root)
    folders = backbone_folders(root)
    if not folders:
        tell(f"no backbone in {place_of_new(root)}: vqa-assets backbones add makes one")
    tables = _tables(root) if folders else {}
    said = [lines_of(folder, tables) for folder in folders.values()]
    tell("\n".join(plain(line) for lines in said for line in lines))
    return 1 if any(len(lines) == 1 for lines in said) else 0


def _add(options: argparse.Namespace, root: DataRoot) -> int:
    parent = place_of_new(root)
    stated = {name: value for name in _STATED if (value := getattr(options, name)) is not None}
    if options.what == ID:
        with tempfile.TemporaryDirectory() as folder:
            onnx = export_onnx(Path(folder) / f"{ID}.onnx")
            made = add_backbone(onnx, parent, {**EFFICIENTNET_LITE0, **stated})
    else:
        onnx = typed_path(options.what)
        pixels = LIKE[options.like]
        facts: dict[str, Any] = {"id": re.sub(r"[^a-z0-9]+", "-", onnx.stem.lower()).strip("-"), **stated}
        inputs = [
            {"name": name, "mean": pixels.mean, "sd": pixels.sd}
            for name in (one.name for one in read_onnx(onnx).inputs)
        ]
        made = add_backbone(onnx, parent, {**facts, "input": inputs})
    tell(f"{made.file.path.parent}: look through its backbone.toml, then")
    tell("\n".join(plain(line) for line in lines_of(made.file.path.parent, {})))
    tell(f"  measured    with backbone:{made.id} among the feature_sets of clip_features")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit status 1 where a backbone cannot be made, or one of those listed cannot be used."""
    parser = CommandParser(prog="vqa-assets backbones", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("add", help="make a backbone's folder")
    add.add_argument("what", help=f"an .onnx file, or {ID} (needs the extra of that name)")
    add.add_argument("--like", choices=LIKE, default="imagenet", help="what pixels it expects (default: imagenet)")
    for name in _STATED:
        choices = tuple(REDISTRIBUTION) if name == "redistribution" else None
        add.add_argument(f"--{name}", choices=choices, help=f"the declaration's {name}")
    listed = commands.add_parser("list", help="show which are there, their licences, which corpora have their features")
    for command in (add, listed):
        command.add_argument("--root", help="the data root (default: $VQA_DATA_ROOT, else data)")
    options = parser.parse_args(arguments)
    try:
        root = DataRoot.resolve(options.root)
        return _add(options, root) if options.command == "add" else _list(root)
    except VqaError as error:
        tell_error(error)
        return 1


if __name__ == "__main__":
    sys.exit(main())
