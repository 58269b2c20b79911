"""A trained head as one ONNX file, built node by node, and the proof that onnxruntime computes the same numbers.

The architecture is explained in ``model`` and ``feature_map``; what the file's metadata says comes from ``build``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from vqa_assets.errors import TrainingError
from vqa_assets.heads.members.feature_map import FeatureMap, as_bytes
from vqa_assets.heads.members.random_features import RandomFeatureRidge
from vqa_assets.heads.members.weights import (
    CLIP,
    F32,
    MOS_LOW,
    MOS_SPAN,
    HeadWeights,
    NetworkWeights,
    OnnxHelper,
    encoder_onehot,
)
from vqa_assets.tables.makers import mark, sealed

OPSET = 17
IR_VERSION = 8
"""onnxruntime refuses newer ones than it knows; 8 is read by every release that knows opset 17."""

OPERATORS = frozenset(
    (
        *("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Concat", "Slice", "Gather", "Cast"),
        *("Add", "Sub", "Mul", "Div", "Neg", "Clip", "Min", "Max", "Sum", "Mean", "ReduceMean", "Gemm", "MatMul"),
        *("Relu", "Sigmoid", "Tanh", "LayerNormalization", "BatchNormalization", "Constant"),
    )
)
"""What the runtime that heads are made for can execute."""

PARITY_LIMIT = 1e-5
"""The largest difference in MOS between torch and onnxruntime."""

PARITY_ROWS = 4_096

MEMBERS = "members"
"""The inner tensor (N, M) that holds what each member says; no output, but one may make it an output."""


def build_onnx(head: HeadWeights, name: str, metadata: Mapping[str, str]) -> bytes:
    """The file's bytes, with the mark of their maker; equal weights and metadata give equal bytes.

    Inputs ``features`` float32 (N, F) raw and ``encoder_onehot`` float32 (N, V); one output, float32 (N,), of the name
    and range of the head's target (``mos`` in 1–5), NaN for a row with an input that is not finite. N is dynamic. An
    inner tensor ``members`` (N, M) holds what each member says on that range.
    """
    graph = Graph()
    target = head.target
    honest = graph.add("Add", [add_head(graph, head), _nan_where_not_finite(graph)])
    graph.add("Squeeze", [honest, graph.array("axis", np.array([1], dtype=np.int64))], output=target.name)
    columns = len(head.map.mean)
    encoders = head.networks[0].skip.shape[0] - head.map.outputs
    sizes = {"features": columns, "encoder_onehot": encoders}
    takes = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", size]) for n, size in sizes.items()]
    gives = [helper.make_tensor_value_info(target.name, TensorProto.FLOAT, ["batch"])]
    model = helper.make_model(
        helper.make_graph(graph.nodes, name, takes, gives, graph.arrays),
        producer_name="vqa_assets",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    helper.set_model_props(model, {**metadata, **mark("mos_head", footer=False)})
    onnx.checker.check_model(model, full_check=True)
    return sealed(bytes(model.SerializeToString(deterministic=True)))


class Graph:
    """Nodes and arrays in the order they were added; outputs are named by number where no name is given."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.arrays: list[onnx.TensorProto] = []

    def add(self, operator: str, takes: Sequence[str], output: str = "", **attributes: Any) -> str:
        """Adds a node and returns its output's name."""
        output = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(takes), [output], name=output, **attributes))
        return output

    def array(self, name: str, values: np.typing.NDArray[np.generic]) -> str:
        """Adds a constant array and returns its name."""
        self.arrays.append(numpy_helper.from_array(values, name))
        return name

    def number(self, value: float) -> str:
        """Adds a float32 scalar and returns its name."""
        return self.array(f"number_{len(self.arrays)}", np.array(value, dtype=np.float32))


def add_head(graph: Graph, head: HeadWeights, prefix: str = "") -> str:
    """Adds a head to a graph with the inputs ``features`` and ``encoder_onehot``; returns the name of its score (N, 1).

    The score is on the range of the head's target; for a row with an input that is not finite it is any number. Arrays
    have ``prefix`` before their names, as has the tensor ``members`` (N, M): a graph may hold several heads.
    """
    members = _members(graph, head, prefix)
    return graph.add("MatMul", [members, graph.array(f"{prefix}member_shares", head.shares[:, None])])


def _members(graph: Graph, head: HeadWeights, prefix: str) -> str:
    """The tensor ``members`` (N, M) of a head; of a helped one, those that learned what the helper leaves are last."""
    name = f"{prefix}{MEMBERS}"
    if head.help is None:
        return _own_members(graph, head, prefix, name)
    own = _own_members(graph, head, prefix, f"{prefix}own_{MEMBERS}")
    helper = _helper(graph, head.help.helper, f"{prefix}helper_")
    scaled = graph.add("Mul", [helper, graph.number(head.help.slope)])
    line = graph.add("Add", [scaled, graph.number(head.help.intercept)])
    rest = _members(graph, head.help.rest, f"{prefix}rest_")
    ends = graph.number(head.target.low), graph.number(head.target.low + head.target.span)
    helped = graph.add("Clip", [graph.add("Add", [line, rest]), *ends])
    return graph.add("Concat", [own, helped], output=name, axis=1)


def _helper(graph: Graph, helper: HeadWeights | OnnxHelper, prefix: str) -> str:
    """Adds a helper and returns the name of its score (N, 1); of another head's file every node and array is taken."""
    if isinstance(helper, HeadWeights):
        return add_head(graph, helper, prefix)
    other = onnx.load_from_string(helper.onnx).graph

    def renamed(name: str) -> str:
        # An input that a node leaves open has an empty name.
        return name if name in ("", "features", "encoder_onehot") else f"{prefix}{name}"

    for array in other.initializer:
        array.name = renamed(array.name)
        graph.arrays.append(array)
    for node in other.node:
        node.input[:], node.output[:] = map(renamed, node.input), map(renamed, node.output)
        node.name = renamed(node.name)
        graph.nodes.append(node)
    score = renamed(other.output[0].name)
    return graph.add("Unsqueeze", [score, graph.array(f"{prefix}as_column", np.array([1], dtype=np.int64))])


def _own_members(graph: Graph, head: HeadWeights, prefix: str, output: str) -> str:
    """What a head's own members say (N, M), on the range of its target."""
    z = graph.add("Concat", [_mapped(graph, head.map, prefix), "encoder_onehot"], axis=1)
    on_range = [_network(graph, z, network, f"{prefix}network{i}") for i, network in enumerate(head.networks)]
    if head.ridge is not None:
        on_range.append(_ridge(graph, z, head.ridge, f"{prefix}ridge"))
    target = head.target
    shares = graph.add("Concat", on_range, axis=1)
    scaled = graph.add("Mul", [shares, graph.number(target.span)])
    return graph.add("Add", [scaled, graph.number(target.low)], output=output)


def _mapped(graph: Graph, of: FeatureMap, prefix: str) -> str:
    """Z (N, Z): the mean of the standardised value and the normal score, to SD 1, projected where the map says so."""

    def array(name: str, values: F32) -> str:
        return graph.array(f"{prefix}feature_{name}", values)

    centred = graph.add("Sub", ["features", array("mean", of.mean)])
    scaled = graph.add("Div", [centred, array("std", of.std)])
    both = graph.add("Clip", [scaled, graph.number(-CLIP), graph.number(CLIP)])
    both = graph.add("Add", [both, array("score", of.scores[:, 0])])
    # A segment at a time: all at once would be a tensor 32 times as large as the features.
    for j, (begin, width, rise) in enumerate(of.segments()):
        if np.any(rise):
            within = graph.add("Sub", ["features", array(f"knot{j}", begin)])
            within = graph.add("Div", [within, array(f"width{j}", width)])
            within = graph.add("Clip", [within, graph.number(0), graph.number(1)])
            both = graph.add("Add", [both, graph.add("Mul", [within, array(f"rise{j}", rise)])])
    mean = graph.add("Mul", [both, graph.number(0.5)])
    z = graph.add("Div", [graph.add("Sub", [mean, array("centre", of.centre)]), array("scale", of.scale)])
    if of.projection is None:
        return z
    return graph.add("MatMul", [z, _drawn(graph, of.projection, of.projection_scale, f"{prefix}feature_projection")])


def _drawn(graph: Graph, matrix: F32, scale: np.float32, name: str) -> str:
    """A matrix of ``in_steps`` times ``scale``: the file has a byte a number, and the runtime makes floats of them."""
    steps, width = as_bytes(matrix)
    numbers = graph.add("Cast", [graph.array(name, steps)], to=TensorProto.FLOAT)
    # A step is a power of two: the product is the same to the last bit.
    return graph.add("Mul", [numbers, graph.number(float(scale) * width)])


def _linear(graph: Graph, takes: str, matrix: F32, bias: F32, name: str) -> str:
    arrays = [graph.array(f"{name}_{k}", a) for k, a in (("weight", matrix), ("bias", bias))]
    return graph.add("Gemm", [takes, *arrays])


def _network(graph: Graph, z: str, network: NetworkWeights, name: str) -> str:
    """A network's share of the range, (N, 1) in 0–1."""
    h = graph.add("Relu", [_linear(graph, z, network.hidden1, network.bias1, f"{name}_hidden1")])
    h = graph.add("Relu", [_linear(graph, h, network.hidden2, network.bias2, f"{name}_hidden2")])
    residual = _linear(graph, h, network.hidden3, network.bias3, f"{name}_hidden3")
    skip = _linear(graph, z, network.skip, network.skip_bias, f"{name}_skip")
    return graph.add("Sigmoid", [graph.add("Add", [skip, residual])])


def _ridge(graph: Graph, z: str, ridge: RandomFeatureRidge, name: str) -> str:
    """The ridge member's share of the range, (N, 1) in 0–1."""
    directions = _drawn(graph, ridge.directions, ridge.scale, f"{name}_directions_weight")
    shifts = graph.array(f"{name}_directions_bias", ridge.shifts)
    if ridge.relevance is not None:
        z = graph.add("Mul", [z, graph.array(f"{name}_relevance", ridge.relevance)])
    drawn = graph.add("Relu", [graph.add("Gemm", [z, directions, shifts])])
    bias = np.array([ridge.bias], dtype=np.float32)
    mos = _linear(graph, drawn, ridge.weights[:, None], bias, f"{name}_last")
    share = graph.add("Div", [graph.add("Sub", [mos, graph.number(MOS_LOW)]), graph.number(MOS_SPAN)])
    return graph.add("Clip", [share, graph.number(0), graph.number(1)])


def _nan_where_not_finite(graph: Graph) -> str:
    """(N, 1): 0 where all inputs are finite, else NaN. What Clip and Relu make of a NaN, ONNX leaves to the runtime."""
    both = graph.add("Concat", ["features", "encoder_onehot"], axis=1)
    return graph.add("ReduceMean", [graph.add("Sub", [both, both])], axes=[1], keepdims=1)


_OWN_DOMAINS = ("", "ai.onnx")


def check_operators(model: bytes | Path) -> list[str]:
    """The operators of a model that are not in ``OPERATORS``, sorted; empty is good. TrainingError if it is no ONNX."""
    try:
        loaded = onnx.load_from_string(model) if isinstance(model, bytes) else onnx.load(model)
        onnx.checker.check_model(loaded)
    except Exception as error:  # protobuf and onnx.checker share no narrower type
        raise TrainingError("reading an ONNX file", found=str(error), expected="a valid model") from error
    foreign = {f"{node.domain}.{node.op_type}" for node in loaded.graph.node if node.domain not in _OWN_DOMAINS}
    local = {f"function {function.name}" for function in loaded.functions}
    return sorted(({node.op_type for node in loaded.graph.node} - OPERATORS) | foreign | local)


def parity_limit(head: HeadWeights) -> float:
    """``PARITY_LIMIT`` in the unit of the head's target."""
    return PARITY_LIMIT * head.target.span / MOS_SPAN


def check_parity(onnx_bytes: bytes, head: HeadWeights, features: F32, onehot: F32 | None = None) -> float:
    """The largest difference between torch and onnxruntime over (at most 4 096 of) rows (N, F), one-hot (N, V).

    TrainingError above ``parity_limit``, or where one gives NaN and the other not. Without one-hot all rows are of the
    one encoder of user-generated clips.
    """
    from vqa_assets.heads.members.model import predict

    chosen = np.linspace(0, len(features) - 1, min(len(features), PARITY_ROWS), dtype=np.int64)
    encoders = encoder_onehot(len(features)) if onehot is None else onehot
    rows = features[chosen], encoders[chosen]
    ours, theirs, limit = predict(head, *rows), run_onnx(onnx_bytes, *rows), parity_limit(head)
    difference = float(np.max(np.abs(ours - theirs), initial=0.0))
    if not difference <= limit:
        raise TrainingError(
            "ONNX parity",
            found=f"torch and onnxruntime differ by {difference:g}",
            expected=f"at most {limit:g}",
            next_step="report the onnxruntime version; this head must not be used",
        )
    return difference


def run_onnx(onnx_bytes: bytes, features: F32, onehot: F32) -> F32:
    """The head's output (N,) by onnxruntime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(onnx_bytes, options, providers=["CPUExecutionProvider"])
    output: F32 = session.run(None, {"features": features, "encoder_onehot": onehot})[0]
    return output
