"""Tiny ONNX networks for tests, made on the spot: what they compute of a picture is known."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Sides = Sequence[int | str | None]
OPEN = ("batch", 3, 8, 8)


def saved(
    path: Path, nodes: Sequence[Any], inputs: Mapping[str, Sides], outputs: Sequence[str], **changes: Any
) -> Path:
    """An ONNX file of these nodes; ``changes`` are ``opset``, ``ir``, ``kind`` of the inputs, and ``weights``."""
    kind = changes.get("kind", TensorProto.FLOAT)
    graph = helper.make_graph(
        list(nodes),
        "tiny",
        [helper.make_tensor_value_info(name, kind, list(sides)) for name, sides in inputs.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in changes.get("weights", {}).items()],
    )
    opsets = [helper.make_opsetid("", changes.get("opset", 17)), helper.make_opsetid("mine", 1)]
    model = helper.make_model(graph, opset_imports=opsets[: 2 if changes.get("custom") else 1])
    model.ir_version = changes.get("ir", 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def channel_means(path: Path, sides: Sides = OPEN, **changes: Any) -> Path:
    """``embedding`` (N, 3) holds the mean of each channel; ``lighter`` (N, 3, H, W) is the picture plus 1, inside."""
    axes = list(range(2, len(sides))) or [1]
    if changes.pop("time_first", False):
        axes = [1, 3, 4]
    nodes = [
        helper.make_node("Add", ["pixels", "one"], ["lighter"]),
        helper.make_node("ReduceMean", ["lighter"], ["means"], axes=axes, keepdims=0),
        helper.make_node("Sub", ["means", "one"], ["embedding"]),
    ]
    weights = {"one": np.ones(1, np.float32), **changes.pop("weights", {})}
    return saved(path, [*nodes, *changes.pop("more", [])], {"pixels": sides}, ["embedding"], weights=weights, **changes)


def backbone_folder(parent: Path, text: str = "", name: str = "tiny", **changes: Any) -> Path:
    """A folder of the backbone ``channel_means`` with a declaration: this text, else none but its licence."""
    folder = parent / name
    channel_means(folder / f"{name}.onnx", **changes)
    (folder / "backbone.toml").write_text(text or 'licence = "CC0"\nredistribution = "attribution"\n')
    return folder


def declared(**keys: Any) -> str:
    """The declaration of these keys, tables as mappings."""
    tables = {name: value for name, value in keys.items() if isinstance(value, Mapping)}
    lines = [f"{name} = {json.dumps(value)}" for name, value in keys.items() if name not in tables]
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + " }"
    return json.dumps(value)
