"""A backbone's network in onnxruntime: pictures in, vectors out. Which pictures those are is ``features``'."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from vqa_assets.backbones.folder import Backbone, NetworkInput
from vqa_assets.errors import FeatureError, SettingsError
from vqa_assets.printing import logger

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

Device = Literal["auto", "cpu", "cuda"]

_SILENT = 4
"""onnxruntime's severity of what ends the process; all else it raises as well."""
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_SWAP = (
    "python3 -m pip uninstall onnxruntime onnxruntime-gpu, then python3 -m pip install onnxruntime-gpu: "
    "one cannot stand beside the other"
)
_NVIDIA = Path("/proc/driver/nvidia/version")
_NEIGHBOURS_TOLERANCE = 1e-3
"""How far, by the largest number, an embedding may move with its neighbours in a batch before they are mixed."""

_PLACE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (/\S+:\d+ .*?\) )?")

_log = logger("vqa_assets.backbones")


class Network:
    """A backbone's network, open on one device; only what its declared outputs need is computed.

    SettingsError where onnxruntime cannot run it, FeatureError where the device is not there. ``threads`` of 0 are as
    many as cores. Any number of threads may call it at once.
    """

    def __init__(self, backbone: Backbone, device: Device = "auto", threads: int = 0) -> None:
        import onnxruntime

        self.backbone = backbone
        self.device = _device(device, onnxruntime.get_available_providers())
        content = _with_outputs(backbone)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _SILENT
        options.intra_op_num_threads = threads
        # Decoders share the cores: a thread that waits for the next batch must not burn one.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if backbone.file.weights:
            folder = f"{backbone.file.path.parent.absolute()}"
            options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
        # TF32 rounds what it multiplies to 10 bits: the same clip would have other numbers on a GPU.
        chosen: list[Any] = [("CUDAExecutionProvider", {"use_tf32": "0"})] if self.device == "cuda" else []
        try:
            self._session = onnxruntime.InferenceSession(content, options, [*chosen, _PROVIDERS["cpu"]])
        except Exception as error:  # onnxruntime's errors share no base but this
            raise _cannot_run(backbone, error) from error
        if self.device == "cuda" and _PROVIDERS["cuda"] not in self._session.get_providers():
            self.device = _fallen_back(device)

    def embed(self, batch: "Sequence[Floats]") -> "dict[str, Floats]":
        """The vectors of a batch, by output: (N, numbers), from one array an input, in the order of the inputs.

        An output (N, C) stays as it is; of (N, C, H, W), (N, C, T, H, W) and (N, T, C) there are the C means over
        places, then the C SDs (by N). Errors are onnxruntime's own.
        """
        names = [one.name for one in self.backbone.inputs]
        outputs = list(dict.fromkeys(name for _, name in self.backbone.outputs))
        given = dict(zip(names, batch, strict=True))
        found = dict(zip(outputs, self._session.run(outputs, given), strict=True))
        return {ours: over_places(found[name]) for ours, name in self.backbone.outputs}


def over_places(output: "NDArray[Any]") -> "Floats":
    """An output as vectors, (N, numbers): see ``Network.embed``; an output (N,) is one number each."""
    import numpy as np

    if output.ndim < 3:
        rows = np.atleast_1d(output)  # a single number of all pictures is one row, which ``tried_out`` refuses
        return rows.reshape(len(rows), -1).astype(np.float32)
    places = (1,) if output.ndim == 3 else tuple(range(2, output.ndim))
    means = output.mean(axis=places, dtype=np.float64)
    return np.concatenate([means, output.std(axis=places, dtype=np.float64)], axis=1).astype(np.float32)


def as_batch(pictures: "NDArray[Any]", layout: NetworkInput) -> "Floats":
    """Pixels (N, T, H, W, 3) in red, green, blue, as the network wants them; T is 1 for pictures.

    They are uint8, or float32 on 0–1.
    """
    import numpy as np

    low, high = layout.range
    whole = 255.0 if pictures.dtype == np.uint8 else 1.0
    batch = np.empty(layout.shape(len(pictures)), np.float32)
    # Channel by channel into its place: of thousands of pictures a copy more is a tenth of the network's time.
    for place in range(3):
        channel = place if layout.colour == "rgb" else 2 - place
        target = batch[:, :, place] if layout.layout == "NTCHW" else batch[:, place]
        source = pictures[:, 0, ..., channel] if layout.layout == "NCHW" else pictures[..., channel]
        mean, sd = layout.mean[channel], layout.sd[channel]
        np.multiply(source, np.float32((high - low) / (whole * sd)), out=target)
        target += np.float32((low - mean) / sd)
    return batch


def tried_out(network: Network) -> Mapping[str, int]:
    """How many numbers each output gives, found out on two pictures of noise.

    SettingsError where the network fails, mixes the pictures of a batch, or answers with what is no vector.
    """
    import numpy as np

    backbone, noise = network.backbone, np.random.default_rng(0)
    shapes = [(2, one.frames, one.height, one.width, 3) for one in backbone.inputs]
    try:
        # Here, too: two pictures of a size that somebody declared may be more than there is memory for.
        pictures = [noise.random(shape, np.float32) for shape in shapes]
        both = [as_batch(own, one) for own, one in zip(pictures, backbone.inputs, strict=True)]
        together, alone = network.embed(both), network.embed([one[:1] for one in both])
    except Exception as error:  # onnxruntime's errors share no base but this
        raise _cannot_run(backbone, error) from error
    for name, graph in backbone.outputs:
        vectors, first = together[name], alone[name]
        if vectors.shape[:1] != (2,) or first.shape != (1, *vectors.shape[1:]) or not vectors.shape[1]:
            raise _bad_output(
                backbone, name, graph, f"{len(vectors)} rows of two pictures, {len(first)} of one", "a row a picture"
            )
        if not np.isfinite(vectors).all():
            raise _bad_output(backbone, name, graph, "NaN or infinity of two pictures of noise", "finite numbers")
        if np.abs(vectors[0] - first[0]).max() > _NEIGHBOURS_TOLERANCE * max(np.abs(first[0]).max(), 1e-6):
            raise _bad_output(
                backbone, name, graph, "other numbers beside another picture", "numbers of each picture by itself"
            )
    return {name: together[name].shape[1] for name, _ in backbone.outputs}


def device_named(name: str) -> Device:
    """The device that a setting names; SettingsError where it is none."""
    for device in get_args(Device):
        if device == name:
            return cast(Device, device)
    raise SettingsError(
        "backbone_device", found=repr(name), expected=f"one of {', '.join(get_args(Device))}", next_step="correct it"
    )


def _bad_output(backbone: Backbone, name: str, graph: str, found: str, expected: str) -> SettingsError:
    return SettingsError(
        f"{backbone.file.path}: outputs.{name} ({graph})",
        found=found,
        expected=expected,
        next_step="name another output, or export the network again in its mode for evaluation",
    )


def _device(asked: Device, providers: Sequence[str]) -> str:
    """The device to open on; FeatureError where ``cuda`` is asked for and onnxruntime is built without it."""
    if _PROVIDERS["cuda"] in providers and asked != "cpu":
        return "cuda"
    if asked == "cuda":
        raise FeatureError(
            "device cuda",
            found=f"an onnxruntime with {', '.join(providers)} only",
            expected="one with CUDAExecutionProvider",
            next_step=f"set device to cpu, or {_SWAP}",
        )
    if asked == "auto" and _NVIDIA.exists():
        _log.warning("backbones run on the CPU: there is an NVIDIA device, and an onnxruntime without CUDA; %s", _SWAP)
    return "cpu"


def _fallen_back(asked: Device) -> str:
    """What is left where onnxruntime has CUDA and could not open a device: the CPU, which is told, or an error."""
    if asked == "cuda":
        raise FeatureError(
            "device cuda",
            found="no device that onnxruntime could open",
            expected="a CUDA device, its driver and the CUDA libraries of this onnxruntime",
            next_step="set device to cpu, or look at nvidia-smi",
        )
    _log.warning("backbones run on the CPU: onnxruntime could not open a CUDA device")
    return "cpu"


def _cannot_run(backbone: Backbone, error: Exception) -> SettingsError:
    """What onnxruntime says, in our parts."""
    import onnxruntime

    # The runtime's own place in its code, with the signature there, says nothing to whoever exported a network.
    reason = _PLACE.sub("", " ".join(str(error).split()))
    too_new = "opset" in reason.lower() or "ir version" in reason.lower()
    return SettingsError(
        f"{backbone.file.path}",
        found=reason[:300],
        expected=f"a network that onnxruntime {onnxruntime.__version__} can run",
        next_step="export it with an older opset (17 is safe), or install a newer onnxruntime"
        if too_new
        else "compare the declaration with the network, or export it again",
    )


def _with_outputs(backbone: Backbone) -> bytes:
    """The ONNX file with the declared outputs, inner tensors among them, and without what none of them needs."""
    import onnx

    content = backbone.file.path.read_bytes()
    if hashlib.sha256(content).hexdigest() != backbone.file.sha256:
        raise SettingsError(
            f"{backbone.file.path}", found="other bytes than a moment ago", next_step="run this again when it is whole"
        )
    model = onnx.load_model_from_string(content)
    wanted = list(dict.fromkeys(name for _, name in backbone.outputs))
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    _remove_unneeded(model.graph, set(wanted))
    return bytes(model.SerializeToString())


def _remove_unneeded(graph: Any, needed: set[str]) -> None:
    """Take away the operators of which nothing in ``needed`` is made; nodes of an ONNX graph stand in order."""
    for place in reversed(range(len(graph.node))):
        if needed.intersection(graph.node[place].output):
            needed |= _reads(graph.node[place])
        else:
            del graph.node[place]


def _reads(node: Any) -> set[str]:
    """What an operator reads, the graphs inside it included."""
    names = set(node.input)
    for attribute in node.attribute:
        for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else ())):
            for one in inner.node:
                names |= _reads(one)
            names.update(value.name for value in inner.output)
    return names
