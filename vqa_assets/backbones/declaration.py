"""What ``backbone.toml`` may say, by the one mechanism of settings. No file is opened here.

Every field has a default, or is left to the ONNX file (None, or empty): ``folder`` decides those.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from vqa_assets.corpora.corpus import AtLeastOne, Fact, InnerPath, Redistribution
from vqa_assets.settings import Declared, Many, Shape, Unfit
from vqa_assets.tables.specs import SHA256_PATTERN

Layout = Literal["NCHW", "NCTHW", "NTCHW"]
"""A batch of pictures, or of pieces of video with time after or before the channels."""

Pooling = Literal["mean", "sd", "p10", "p90"]
"""Over the pictures or pieces of a clip; ``sd`` by N, percentiles linear."""

POOLINGS: Mapping[Pooling, str] = {"mean": "mean", "sd": "SD", "p10": "10th percentile", "p90": "90th percentile"}
"""The poolings in words."""

IMAGENET_MEAN, IMAGENET_SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's training pictures in 0–1, red first: what torchvision's and most of timm's networks expect."""

BACKBONE_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
"""What a backbone may be called."""
_OUTPUT = re.compile(r"[a-z][a-z0-9_]*")
_ONE_WORD = "a word of small letters, digits and _"


def _several(value: Any) -> Any:
    """One ``[input]`` as a list of one; ``[[input]]`` is a list already."""
    return [value] if isinstance(value, Mapping) else value


def _are_positive(values: tuple[float, ...]) -> bool:
    return len(values) == 3 and min(values) > 0


BackboneId = Annotated[str, Shape(BACKBONE_ID.fullmatch, "lower-case words joined by -")]
OutputName = Annotated[str, Shape(_OUTPUT.fullmatch, _ONE_WORD)]
Side = Annotated[int, Field(ge=1, le=16_384)]
"""Pixels of a picture's side; of a larger one a single picture takes gigabytes."""
Positive = Annotated[float, Field(gt=0)]
PixelRange = Annotated[Many[float], Shape(lambda ends: len(ends) == 2 and ends[0] < ends[1], "two numbers, low first")]
ThreeNumbers = Annotated[Many[float], Shape(lambda values: len(values) == 3, "three numbers, red first")]
ThreeSpreads = Annotated[Many[float], Shape(_are_positive, "three numbers above 0, red first")]


class InputDeclaration(Declared):
    """One input of the network: how pictures are laid out and scaled.

    ``name``, ``layout``, ``height`` and ``width`` (pixels) and ``frames_per_piece`` are the graph's where it tells
    them. A piece of video is ``frames_per_piece`` frames, ``stride`` frames of the clip apart: where it is left out 1,
    and of an input with fewer frames than another's what makes both last equally long. A pixel is mapped from
    0–1 onto ``range``, then ``mean`` is taken off and what is left divided by ``sd``, channel by channel; mean and SD
    are of red, green and blue, whatever the order of ``colour``.
    """

    name: str = ""
    layout: Layout | None = None
    height: Side | None = None
    width: Side | None = None
    frames_per_piece: AtLeastOne | None = None
    stride: AtLeastOne | None = None
    range: PixelRange = (0.0, 1.0)
    mean: ThreeNumbers = IMAGENET_MEAN
    sd: ThreeSpreads = IMAGENET_SD
    colour: Literal["rgb", "bgr"] = "rgb"


class ResizeView(Declared):
    """The picture with its shorter side at ``short_side`` pixels, of which the middle is cut out.

    None: 256, or 8/7 of the input's longer side where that is more.
    """

    short_side: Side | None = None


class DifferenceView(ResizeView):
    """The change from one sampled frame to the next as a picture, ½ + (next − this) / 2, resized as ``ResizeView``."""


class FragmentsView(Declared):
    """``grid`` × ``grid`` patches of ``patch`` native pixels, one of each cell of the picture, put together.

    As FAST-VQA samples them (Wu et al., ECCV 2022): a cell's offset is the same in ``aligned`` sampled frames. A
    picture smaller than ``grid`` × ``patch`` is enlarged.
    """

    grid: AtLeastOne = 7
    patch: AtLeastOne = 32
    aligned: AtLeastOne = 32


class Views(Declared):
    """What the network is shown of a frame: any of these, at least one."""

    resize: ResizeView | None = None
    fragments: FragmentsView | None = None
    difference: DifferenceView | None = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.names:
            raise Unfit("none", "at least one of resize, fragments, difference", "resize")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The views that are declared, in the order of the columns."""
        return tuple(name for name in type(self).model_fields if getattr(self, name) is not None)


class Sampling(Declared):
    """Which frames, or which pieces, of a clip are embedded, and how what came of them is pooled over time.

    ``frames``: so many, evenly: frame ⌊(i + ½) · N / frames⌋ of N, all where there are fewer. ``rate``: so many a
    second, at the middle of each interval, in place of ``frames``. Without either there are 8 frames.
    """

    frames: AtLeastOne | None = None
    rate: Positive | None = None
    pooling: Annotated[
        Many[Pooling], Shape(lambda names: names and len(set(names)) == len(names), "each word once")
    ] = (
        "mean",
        "sd",
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.frames is not None and self.rate is not None:
            raise Unfit(f"{self.rate:g} beside frames ({self.frames})", "one of rate and frames", "rate")
        return self


class BackboneDeclaration(Declared):
    """``backbone.toml`` as it stands. Nobody's licence is guessed: what is left out is unknown.

    ``id`` and ``title`` are the folder's name, ``version`` is the beginning of the ONNX file's hash, ``onnx`` the
    folder's only one, ``outputs`` (our name → the graph's) all of the graph's, where they are left out.
    """

    id: BackboneId | None = None
    title: Fact | None = None
    version: Fact | None = None
    citation: str = ""
    licence: Fact = "unknown"
    redistribution: Redistribution = "unknown"
    onnx: Annotated[InnerPath, Shape(lambda name: name.endswith(".onnx"), "an .onnx file")] | None = None
    sha256: Annotated[str, Shape(re.compile(SHA256_PATTERN).fullmatch, "64 hexadecimal digits")] | None = None
    input: Annotated[Many[InputDeclaration], BeforeValidator(_several)] = (InputDeclaration(),)
    outputs: Mapping[OutputName, str] = Field(default_factory=dict)
    views: Views = Views(resize=ResizeView())
    sampling: Sampling = Sampling()
