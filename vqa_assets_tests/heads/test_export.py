import dataclasses
import json

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from vqa_assets.errors import TrainingError
from vqa_assets.heads.members.export import OPERATORS, build_onnx, check_operators, check_parity, run_onnx
from vqa_assets.heads.members.feature_map import FeatureMap, in_steps
from vqa_assets.heads.members.model import member_scores, predict
from vqa_assets.heads.members.random_features import RandomFeatureRidge
from vqa_assets.heads.members.weights import CLIP, HIDDEN, HeadWeights, NetworkWeights, encoder_onehot

METADATA = {"id": "a_head", "smoke": "false"}
FEATURES = np.random.default_rng(1).normal(3, 2, (50, 11)).astype(np.float32)


def random_head(features: int = 11, seed: int = 0) -> HeadWeights:
    """A head of random weights, the last layer not silent."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.3, shape).astype(np.float32)

    wide = features + 1
    networks = tuple(
        NetworkWeights(
            *(draw(wide, HIDDEN), draw(HIDDEN), draw(HIDDEN, HIDDEN), draw(HIDDEN)),
            *(draw(HIDDEN, 1), draw(1), draw(wide, 1), draw(1)),
        )
        for _ in range(3)
    )
    ridge = RandomFeatureRidge(
        in_steps(draw(wide, 4_096)), draw(4_096), 0.5, draw(4_096) / 30, 3.0, 0.1, relevance=1 + draw(wide)
    )
    return HeadWeights(FeatureMap.fitted(FEATURES[:, :features]), networks, ridge, (1, 2, 3))


HEAD = random_head()
ONNX = build_onnx(HEAD, "a_head", METADATA)


def test_the_file_is_opset_17_ir_8_with_the_declared_tensors_and_metadata():
    model = onnx.load_from_string(ONNX)
    onnx.checker.check_model(model, full_check=True)
    assert (model.ir_version, [(o.domain, o.version) for o in model.opset_import]) == (8, [("", 17)])
    shapes = {
        v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {"features": ["batch", 11], "encoder_onehot": ["batch", 1], "mos": ["batch"]}
    metadata = {p.key: p.value for p in model.metadata_props}
    assert json.loads(metadata.pop("vqa_assets"))["stage"] == "mos_head"
    assert metadata == METADATA
    assert all(not tensor.external_data for tensor in model.graph.initializer)


def test_an_inner_tensor_holds_what_each_member_says():
    model = onnx.load_from_string(ONNX)
    model.graph.output.append(helper.make_tensor_value_info("members", TensorProto.FLOAT, ["batch", 4]))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    mos, members = session.run(None, {"features": FEATURES, "encoder_onehot": encoder_onehot(50)})
    np.testing.assert_allclose(members, member_scores(HEAD, FEATURES, encoder_onehot(50)), atol=1e-5)
    np.testing.assert_allclose(mos, members[:, :3].mean(1) / 4 + members[:, 3] * 3 / 4, atol=1e-5)


def test_equal_weights_give_equal_bytes_and_others_do_not():
    assert build_onnx(random_head(), "a_head", METADATA) == ONNX
    assert build_onnx(random_head(seed=1), "a_head", METADATA) != ONNX


def test_only_operators_of_the_runtime_are_used(tmp_path):
    assert check_operators(ONNX) == []
    (tmp_path / "a.onnx").write_bytes(ONNX)
    assert check_operators(tmp_path / "a.onnx") == []
    assert {node.op_type for node in onnx.load_from_string(ONNX).graph.node} <= OPERATORS


def test_foreign_operators_are_named():
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "xy")
    nodes = [helper.make_node("Exp", ["x"], ["e"]), helper.make_node("Relu", ["e"], ["y"])]
    model = helper.make_model(helper.make_graph(nodes, "g", [x], [y]), opset_imports=[helper.make_opsetid("", 17)])
    assert check_operators(model.SerializeToString()) == ["Exp"]


def test_a_file_that_is_no_model_is_an_error(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"not a model")
    with pytest.raises(TrainingError, match="reading an ONNX file"):
        check_operators(tmp_path / "a.onnx")


@pytest.mark.parametrize("rows", [1, 2, 50])
def test_onnxruntime_and_torch_agree_on_any_batch(rows):
    theirs = run_onnx(ONNX, FEATURES[:rows], encoder_onehot(rows))
    assert theirs.shape == (rows,)
    assert theirs.dtype == np.float32
    np.testing.assert_allclose(theirs, predict(HEAD, FEATURES[:rows], encoder_onehot(rows)), atol=1e-5)
    assert check_parity(ONNX, HEAD, FEATURES[:rows]) <= 1e-5


def test_the_graph_is_the_formula():
    row, of, ridge = FEATURES[0].astype(np.float64), HEAD.map, HEAD.ridge
    scores = [np.interp(value, knots, scores) for value, knots, scores in zip(row, of.knots, of.scores, strict=True)]
    z = ((np.clip((row - of.mean) / of.std, -CLIP, CLIP) + scores) / 2 - of.centre) / of.scale
    x = np.append(z, 1.0)[None]
    shares = []
    for m in HEAD.networks:
        h = np.maximum(np.maximum(x @ m.hidden1 + m.bias1, 0) @ m.hidden2 + m.bias2, 0)
        summed = h @ m.hidden3 + m.bias3 + x @ m.skip + m.skip_bias
        shares.append(1 / (1 + np.exp(-summed)))
    h = np.maximum(ridge.gain * (x * ridge.relevance) @ ridge.directions / np.sqrt(x.shape[1]) + ridge.shifts, 0)
    closed = h @ ridge.weights + ridge.bias
    both = (1 + 4 * np.mean(shares)) / 4 + np.clip(closed[0], 1, 5) * 3 / 4
    assert run_onnx(ONNX, FEATURES[:1], encoder_onehot(1))[0] == pytest.approx(both, abs=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("optimised", ["ORT_DISABLE_ALL", "ORT_ENABLE_ALL"])
def test_what_is_not_finite_gives_nan_for_its_row_only(value, optimised):
    features, onehot = FEATURES[:6].copy(), encoder_onehot(6)
    features[1, 0], features[3, 10], onehot[4, 0] = value, value, value
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, optimised)
    session = onnxruntime.InferenceSession(ONNX, options, providers=["CPUExecutionProvider"])
    (mos,) = session.run(["mos"], {"features": features, "encoder_onehot": onehot})
    assert np.isnan(mos).tolist() == [False, True, False, True, True, False]
    np.testing.assert_array_equal(np.isnan(mos), np.isnan(predict(HEAD, features, onehot)))


def test_wild_inputs_stay_within_1_and_5():
    mos = run_onnx(ONNX, FEATURES * 1e30, encoder_onehot(50))
    assert mos.min() >= 1
    assert mos.max() <= 5


def test_a_file_of_other_weights_fails_parity():
    nudged = dataclasses.replace(HEAD, map=dataclasses.replace(HEAD.map, mean=HEAD.map.mean + np.float32(0.01)))
    with pytest.raises(TrainingError, match="torch and onnxruntime differ by"):
        check_parity(ONNX, nudged, FEATURES)


def test_a_head_that_predicts_nan_fails_parity():
    broken = dataclasses.replace(HEAD, map=dataclasses.replace(HEAD.map, mean=HEAD.map.mean * np.float32("nan")))
    with pytest.raises(TrainingError, match="differ by nan"):
        check_parity(build_onnx(broken, "a_head", METADATA), broken, FEATURES)
