"""What is read of a head's manifest, checked field by field. What a manifest says is written in ``manifest``."""

import json
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from vqa_assets.errors import HeadError
from vqa_assets.feature_names import DISPLAY_COLUMNS, FR_V2
from vqa_assets.heads.manifest import SCHEMA
from vqa_assets.heads.recipe import ENCODER_VOCAB, ENCODER_VOCAB_VERSION
from vqa_assets.tables.files import read_json_object

AGAIN = "materialize the head again, or put both its files back"
"""What to do about files of a head that are not each other's."""
_Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Read(BaseModel):
    """What is read of a part of a manifest; nothing is converted, and further fields are left."""

    model_config = ConfigDict(strict=True, frozen=True)


class _Gate(_Read):
    passed: bool
    reasons: list[str]


class _Filled(_Read):
    value: _Finite


class _Display(_Read):
    file: str
    sha256: str
    values: dict[str, _Finite]
    lacking: list[str]
    ignored: list[str]

    @field_validator("values")
    @classmethod
    def _all_columns(cls, values: dict[str, float]) -> dict[str, float]:
        if lacking := set(DISPLAY_COLUMNS) - set(values):
            raise PydanticCustomError(
                "columns", "a value of each display column, also of {first}", {"first": min(lacking)}
            )
        return values


class ReadManifest(_Read):
    """What is read of a head's manifest."""

    id: str
    status: str
    sha256: str
    synthetic: bool
    kind: str
    feature_schema: str
    feature_order: list[str]
    encoder_vocab: list[str]
    encoder_vocab_version: int
    filled: dict[str, _Filled]
    gate: _Gate
    display_profile: _Display | None = None

    @field_validator("filled")
    @classmethod
    def _of_features(cls, filled: dict[str, _Filled], info: ValidationInfo) -> dict[str, _Filled]:
        if unknown := set(filled) - set(info.data.get("feature_order", filled)):
            raise PydanticCustomError("features", "features of feature_order, not {first}", {"first": min(unknown)})
        return filled


def read_manifest(path: Path) -> ReadManifest:
    """The manifest; HeadError names the field that is not what this version writes, or reads."""
    if not path.is_file():
        expected = "a head: its .onnx, with its manifest beside it"
        raise HeadError(f"{path}", found="found nothing there", expected=expected, next_step=AGAIN)
    told = read_json_object(path)
    if told.get("schema") != SCHEMA:
        raise HeadError(f"{path}", found=f"schema {told.get('schema')!r}", expected=SCHEMA, next_step=AGAIN)
    if told.get("onnx", path) is None:
        raise HeadError(
            f"{path}",
            found="a head that was not exported",
            expected="one with an ONNX",
            next_step="export it (export: true)",
        )
    try:
        manifest = ReadManifest.model_validate_json(json.dumps(told))
    except ValidationError as error:
        raise _edited(path, error) from error
    version, vocab = manifest.encoder_vocab_version, tuple(manifest.encoder_vocab)
    by_encoder = manifest.feature_schema == FR_V2.name
    if version != ENCODER_VOCAB_VERSION or not (vocab == ENCODER_VOCAB or (by_encoder and vocab)):
        raise HeadError(
            f"{path}",
            found=f"a head of kind {manifest.kind} for the encoders {', '.join(vocab)} (version {version})",
            expected=f"one for {', '.join(ENCODER_VOCAB)} (version {ENCODER_VOCAB_VERSION})",
            next_step="feed its ONNX yourself, as its card shows",
        )
    return manifest


def _edited(path: Path, error: ValidationError) -> HeadError:
    """The first field that is not what this version writes."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    found = "nothing" if first["type"] == "missing" else repr(first["input"])[:80]
    expected = "a value" if first["type"] == "missing" else first["msg"].removeprefix("Input should be ")
    return HeadError(f"{path}: {where}", found=found, expected=expected, next_step=AGAIN)
