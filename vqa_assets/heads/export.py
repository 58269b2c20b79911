"""A trained head as one ONNX file, built node by node, and the proof that onnxruntime computes the same numbers.

The architecture is explained in ``model``; what the file's metadata says comes from ``build``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from vqa_assets.errors import TrainingError
from vqa_assets.heads.weights import CLIP, F32, MOS_SPAN, HeadWeights, MemberWeights, encoder_onehot
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


def build_onnx(head: HeadWeights, name: str, metadata: Mapping[str, str]) -> bytes:
    """The file's bytes, with the mark of their maker; equal weights and metadata give equal bytes.

    Inputs ``features`` float32 (N, F) raw and ``encoder_onehot`` float32 (N, V); one output, float32 (N,), of the name
    and range of the head's target (``mos`` in 1–5), NaN for a row with an input that is not finite. N is dynamic.
    """
    graph = _Graph()
    x = graph.add("Concat", [_standardised(graph, head), "encoder_onehot"], axis=1)
    members = [_member(graph, x, member, f"member{i}") for i, member in enumerate(head.members)]
    share = graph.add("Mean", members)
    target = head.target
    score = graph.add("Add", [graph.add("Mul", [share, graph.number(target.span)]), graph.number(target.low)])
    honest = graph.add("Add", [score, _nan_where_not_finite(graph)])
    graph.add("Squeeze", [honest, graph.array("axis", np.array([1], dtype=np.int64))], output=target.name)
    encoders = head.members[0].skip.shape[0] - len(head.mean)
    sizes = {"features": len(head.mean), "encoder_onehot": encoders}
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


class _Graph:
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


def _standardised(graph: _Graph, head: HeadWeights) -> str:
    centred = graph.add("Sub", ["features", graph.array("feature_mean", head.mean)])
    scaled = graph.add("Div", [centred, graph.array("feature_std", head.std)])
    return graph.add("Clip", [scaled, graph.number(-CLIP), graph.number(CLIP)])


def _member(graph: _Graph, x: str, member: MemberWeights, name: str) -> str:
    """A member's share of the range, (N, 1) in 0–1."""

    def linear(takes: str, matrix: F32, bias: F32, layer: str) -> str:
        arrays = [graph.array(f"{name}_{layer}_{k}", a) for k, a in (("weight", matrix), ("bias", bias))]
        return graph.add("Gemm", [takes, *arrays])

    h = graph.add("Relu", [linear(x, member.hidden1, member.bias1, "hidden1")])
    h = graph.add("Relu", [linear(h, member.hidden2, member.bias2, "hidden2")])
    residual = linear(h, member.hidden3, member.bias3, "hidden3")
    skip = linear(x, member.skip, member.skip_bias, "skip")
    return graph.add("Sigmoid", [graph.add("Add", [skip, residual])])


def _nan_where_not_finite(graph: _Graph) -> str:
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
    from vqa_assets.heads.model import predict

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
