"""What an ONNX file says of itself: inputs, outputs, operators, where its weights lie. Nothing is run here.

Whether onnxruntime can run it is found out in ``network``.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqa_assets.errors import SettingsError
from vqa_assets.tables.files import LFS_POINTER

MOST_BYTES = 1 << 31
"""What protobuf, and so an ONNX file, holds at most; weights beyond that lie in files beside it."""

_RUNTIME = "com.microsoft"
DOMAINS = ("", "ai.onnx.ml", _RUNTIME)
"""Whose operators onnxruntime brings along."""

_HASHED_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class GraphInput:
    """An input of a graph: its name, the type of its numbers (``float32``), and its sides, None where left open."""

    name: str
    kind: str
    sides: tuple[int | None, ...]


@dataclass(frozen=True)
class OnnxFile:
    """A whole ONNX file whose graph was read.

    ``sha256`` is of the file, ``weights`` are the files beside it that hold weights of it, ``tensors`` the names of
    everything that the graph computes.
    """

    path: Path
    sha256: str
    inputs: tuple[GraphInput, ...]
    outputs: tuple[str, ...]
    tensors: frozenset[str]
    weights: tuple[Path, ...]


def read_onnx(path: Path) -> OnnxFile:
    """What a file says of itself; SettingsError where it is no ONNX file that we would run."""
    import onnx
    from google.protobuf.message import DecodeError

    size = _size_of(path)
    if size >= MOST_BYTES:
        raise SettingsError(
            f"{path}",
            found=f"{size / 2**30:.1f} GiB in one file",
            expected="less than 2 GiB, which is what an ONNX file can hold",
            next_step="save its weights beside it: onnx.save(model, name, save_as_external_data=True)",
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path}", found=error.strerror or str(error), expected="an ONNX file") from error
    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, ValueError) as error:
        raise _no_onnx(path, content) from error
    # Bytes of anything may be a message of no known field to protobuf.
    if not model.graph.node or not model.opset_import:
        raise _no_onnx(path, content)
    _refuse_custom_operators(path, model)
    graph = model.graph
    constant = {tensor.name for tensor in graph.initializer}
    return OnnxFile(
        path=path,
        sha256=hashlib.sha256(content).hexdigest(),
        inputs=tuple(_input(value) for value in graph.input if value.name not in constant),
        outputs=tuple(value.name for value in graph.output),
        tensors=frozenset(name for node in graph.node for name in node.output if name),
        weights=_weights_beside(path, model),
    )


def hash_of(files: Iterator[Path]) -> str:
    """SHA-256 of several files' bytes one after another, for weights that lie beside a graph."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as content:
            while chunk := content.read(_HASHED_AT_ONCE):
                digest.update(chunk)
    return digest.hexdigest()


def _size_of(path: Path) -> int:
    if not path.is_file():
        raise SettingsError(
            f"{path}",
            found="found something that is no file" if path.exists() else "found nothing there",
            expected="an ONNX file",
            next_step="put it there, or correct onnx in the declaration",
        )
    return path.stat().st_size


def _no_onnx(path: Path, content: bytes) -> SettingsError:
    pointer = content.startswith(LFS_POINTER)
    return SettingsError(
        f"{path}",
        found="a Git-LFS pointer" if pointer else "no ONNX graph",
        expected="an ONNX file",
        next_step="run git lfs pull where it came from" if pointer else "export the network again (docs/backbones.md)",
    )


def _input(value: Any) -> GraphInput:
    import onnx

    tensor = value.type.tensor_type
    kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    sides = tuple(side.dim_value if side.HasField("dim_value") else None for side in tensor.shape.dim)
    return GraphInput(value.name, {"float": "float32", "double": "float64"}.get(kind, kind), sides)


def _graphs(model: Any) -> Iterator[Any]:
    """The graph, the file's own functions, and the graphs inside operators (If, Loop, Scan)."""
    waiting = [model.graph, *model.functions]
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                waiting += [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else ())]


def _refuse_custom_operators(path: Path, model: Any) -> None:
    """SettingsError for an operator that neither ONNX nor onnxruntime has, nor the file itself as a function."""
    import onnx

    own = {(function.domain, function.name) for function in model.functions}
    for node in (node for graph in _graphs(model) for node in graph.node):
        domain = "" if node.domain == "ai.onnx" else node.domain
        # onnxruntime's own are not listed anywhere in Python: one that it does not have is found in ``network``.
        known = domain == _RUNTIME or (domain in DOMAINS and onnx.defs.has(node.op_type, domain))
        if not known and (node.domain, node.op_type) not in own:
            raise SettingsError(
                f"{path}",
                found=f"a custom operator, {node.domain or 'ai.onnx'}.{node.op_type}",
                expected="operators of ONNX and of onnxruntime, which need no library of their own",
                next_step="export the network without it",
            )


def _weights_beside(path: Path, model: Any) -> tuple[Path, ...]:
    """The files that hold weights of the graph, by name; SettingsError for one that is outside the folder or absent."""
    folder, names = path.parent.resolve(), set[str]()
    for graph in _graphs(model):
        kept = [attribute.t for node in graph.node for attribute in node.attribute if attribute.HasField("t")]
        if hasattr(graph, "initializer"):  # a function has none
            kept += [*graph.initializer]
            kept += [one for sparse in graph.sparse_initializer for one in (sparse.values, sparse.indices)]
        for tensor in kept:
            names.update(entry.value for entry in tensor.external_data if entry.key == "location")
    for name in sorted(names):
        # By where it leads, so that neither .. nor a link has the network read another folder's files.
        file = (folder / name).resolve()
        if not file.is_relative_to(folder):
            raise SettingsError(
                f"{path}",
                found=f"weights in {name}, outside its folder",
                expected=f"weights in the file itself, or beside it in {folder}",
                next_step="save the network again with its weights beside it",
            )
        if not file.is_file():
            raise SettingsError(
                f"{path}",
                found=f"no file {name}, in which its weights are",
                expected=f"it beside the graph, in {folder}",
                next_step="copy it there: an ONNX file and the files of its weights belong together",
            )
    return tuple(path.parent / name for name in sorted(names))
