"""A head's files, checked and put to use: a feature table in, one score a row out. Trains nothing, opens no clip.

Which tables and clips there are, and how scores are told, is for ``predict``.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from vqa_assets.errors import HeadError, TrainingError
from vqa_assets.feature_names import DISPLAY_COLUMNS, FEATURE_SCHEMAS, FR_V2, FeatureSchema
from vqa_assets.heads.columns import (
    feature_columns,
    nested_among,
    no_numbers_among,
    number_sources,
    slots,
    texts_among,
    word_sources,
)
from vqa_assets.heads.display import DisplayProfile
from vqa_assets.heads.export import check_operators
from vqa_assets.heads.manifest import SCHEMA
from vqa_assets.heads.recipe import ENCODER_VOCAB, ENCODER_VOCAB_VERSION, OWN_COLUMNS
from vqa_assets.heads.weights import F32, encoder_onehot
from vqa_assets.store.files import read_json_object

_AGAIN = "materialize the head again, or put both its files back"
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


class _Manifest(_Read):
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


@dataclass(frozen=True)
class Head:
    """A head whose ONNX is the one that its manifest describes."""

    manifest: _Manifest
    schema: FeatureSchema
    session: Any

    @property
    def warnings(self) -> tuple[str, ...]:
        """What whoever uses the scores must know."""
        gate = self.manifest.gate
        if self.manifest.synthetic:
            return ("trained on synthetic rows only: its scores say nothing about any video",)
        return () if gate.passed else (f"{self.manifest.status}: {'; '.join(gate.reasons)}",)

    @property
    def target(self) -> str:
        """What it gives: ``mos`` on 1–5, or ``vmaf`` on 0–100 where a reference is known."""
        return str(self.session.get_outputs()[0].name)

    @property
    def encoders(self) -> tuple[str, ...]:
        """The encoders it tells apart by a table's column ``encoder``; none where it takes every clip as it comes."""
        vocabulary = tuple(self.manifest.encoder_vocab)
        return () if vocabulary == ENCODER_VOCAB else vocabulary

    def scores(self, table: pl.LazyFrame, what: str) -> F32:
        """The target (N,) of a feature table's rows; NaN where a feature or the encoder is not known.

        What training filled, and the display it took, are filled alike. HeadError, which names the table by ``what``,
        where it lacks a column of the head or holds text in one.
        """
        self._refuse_no_numbers(table, what)
        frame = table.select(**feature_columns(table, self.schema, self._display())).collect()
        frame = frame.with_columns(
            pl.col(f"feature:{name}").fill_null(filled.value) for name, filled in self.manifest.filled.items()
        )
        self._refuse_absent(frame, frozenset(table.collect_schema().names()), what)
        features = np.ascontiguousarray(frame.select(slots(self.schema)).to_numpy().astype(np.float32))
        onehot = self._onehot(table, what) if self.encoders else encoder_onehot(len(features))
        given = self.session.run(None, {"features": features, "encoder_onehot": onehot})[0]
        scores: F32 = np.where(onehot.any(1), given, np.float32(np.nan))
        return scores

    def _onehot(self, table: pl.LazyFrame, what: str) -> F32:
        """(N, V) by the table's encoders; a row of zeros for one that the head does not know."""
        if "encoder" not in table.collect_schema():
            raise HeadError(
                f"{what}: no column encoder",
                found=f"a head that was trained on encodes by {', '.join(self.encoders)}",
                expected="the encoder of each row",
                next_step="add the column, as fr_training_corpus has it",
            )
        words = table.select(pl.col("encoder").cast(pl.String)).collect().to_series().to_numpy()
        onehot: F32 = (words[:, None] == np.asarray(self.encoders, dtype=object)[None, :]).astype(np.float32)
        return onehot

    def _display(self) -> DisplayProfile | None:
        """The display that the head was trained for, where it was one."""
        told = self.manifest.display_profile
        if told is None:
            return None
        return DisplayProfile(told.file, told.sha256, told.values, tuple(told.lacking), tuple(told.ignored))

    def _refuse_no_numbers(self, table: pl.LazyFrame, what: str) -> None:
        columns = [source for name in self.schema.columns for source in number_sources(name)]
        types = {**no_numbers_among(table, columns), **nested_among(table, word_sources(self.schema))}
        wrong = {**types, **{name: repr(text) for name, text in texts_among(table, columns).items()}}
        if wrong:
            found = ", ".join(f"{name}: {example}" for name, example in wrong.items())
            told = "feature columns that hold no numbers" if types else "text in feature columns"
            raise HeadError(f"{what}: {told}", found=found, expected="numbers")

    def _refuse_absent(self, frame: pl.DataFrame, have: frozenset[str], what: str) -> None:
        named = {name for name in self.schema.columns if {name, f"{name}_mean"} & have}
        absent = [n for n in self.schema.columns if n not in named and not frame[f"feature:{n}"].count()]
        if absent and len(frame):
            raise HeadError(
                f"{what}: not the features of {self.manifest.id}",
                found=f"no column for {', '.join(absent)}",
                expected=f"the {len(self.schema.columns)} columns of {self.schema.name}",
                next_step="extract them, or use a head of the table's own schema",
            )


def open_head(path: Path) -> Head:
    """The head of an ``.onnx`` or its ``.json``; both must lie side by side.

    HeadError where one is missing, of another version, or not the other's; where the ONNX has an operator that the
    runtime lacks, or wants other features than the manifest says.
    """
    manifest = _manifest(path.with_suffix(".json"))
    content = _content(path.with_suffix(".onnx"), manifest)
    schema = _schema(manifest)
    head = Head(manifest, schema, _session(content, path.with_suffix(".onnx"), manifest))
    _check_inputs(head, path.with_suffix(".onnx"))
    return head


def _check_inputs(head: Head, path: Path) -> None:
    """HeadError where the ONNX takes or gives other tensors than its manifest says."""
    batches = {
        str(tensor.name): tensor.shape[:1] for tensor in (*head.session.get_inputs(), *head.session.get_outputs())
    }
    fixed = [name for name, batch in batches.items() if not batch or isinstance(batch[0], int)]
    gives = [(tensor.name, len(tensor.shape)) for tensor in head.session.get_outputs()]
    if fixed or len(gives) != 1 or gives[0][1] != 1:
        found = f"a batch of fixed size in {', '.join(fixed)}" if fixed else f"outputs {gives} (name, dimensions)"
        raise HeadError(f"{path}", found=found, expected="rows in, one score a row out", next_step=_AGAIN)
    takes = {given.name: given.shape[-1] for given in head.session.get_inputs()}
    told = {"features": len(head.schema.columns), "encoder_onehot": len(head.manifest.encoder_vocab)}
    if takes != told:
        raise HeadError(f"{path}", found=f"inputs {takes}", expected=f"{told} (its manifest)", next_step=_AGAIN)


def _manifest(path: Path) -> _Manifest:
    if not path.is_file():
        expected = "a head: its .onnx, with its manifest beside it"
        raise HeadError(f"{path}", found="found nothing there", expected=expected, next_step=_AGAIN)
    told = read_json_object(path)
    if told.get("schema") != SCHEMA:
        raise HeadError(f"{path}", found=f"schema {told.get('schema')!r}", expected=SCHEMA, next_step=_AGAIN)
    if told.get("onnx", path) is None:
        raise HeadError(
            f"{path}",
            found="a head that was not exported",
            expected="one with an ONNX",
            next_step="export it (export: true)",
        )
    try:
        manifest = _Manifest.model_validate_json(json.dumps(told))
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
    return HeadError(f"{path}: {where}", found=found, expected=expected, next_step=_AGAIN)


def _content(path: Path, manifest: _Manifest) -> bytes:
    """The ONNX's bytes, which are those that the manifest speaks of."""
    if not path.is_file():
        raise HeadError(f"{path}", found="found nothing there", expected="the head's ONNX", next_step=_AGAIN)
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != manifest.sha256:
        raise HeadError(
            f"{path}", found=f"SHA-256 {sha256}", expected=f"{manifest.sha256} (its manifest)", next_step=_AGAIN
        )
    return content


def _schema(manifest: _Manifest) -> FeatureSchema:
    """The columns that the head reads; those of a schema must still be what the head was trained on."""
    name, order = manifest.feature_schema, tuple(manifest.feature_order)
    if name == OWN_COLUMNS:
        return FeatureSchema(name, order, frozenset())
    known = FEATURE_SCHEMAS.get(name)
    if known is None or known.columns != order:
        raise HeadError(
            f"{manifest.id}: feature schema {name}",
            found=f"{len(order)} columns ({', '.join(order[:3])}, …)",
            expected=f"one of {', '.join(FEATURE_SCHEMAS)} as this version knows them",
            next_step="train the head again with this version",
        )
    return known


def _session(content: bytes, path: Path, manifest: _Manifest) -> Any:
    import onnx
    import onnxruntime

    try:
        offenders = check_operators(content)
    except TrainingError as error:
        raise HeadError(f"{path}", found=error.found, expected="a valid ONNX model", next_step=_AGAIN) from error
    if offenders:
        raise HeadError(
            f"{path}",
            found=f"operators {', '.join(offenders)}",
            expected="only operators of the runtime's list",
            next_step="use a head that this package exported",
        )
    told = {p.key: p.value for p in onnx.load_from_string(content).metadata_props}
    said = {
        "feature_order": json.dumps(manifest.feature_order),
        "encoder_vocab": json.dumps(manifest.encoder_vocab),
        "status": manifest.status,
    }
    if other := [name for name, value in said.items() if told.get(name) != value]:
        raise HeadError(
            f"{path}",
            found=f"{other[0]} {told.get(other[0])}",
            expected=f"that of its manifest: {said[other[0]]}",
            next_step=_AGAIN,
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no narrower type
        found = str(error).partition("\n")[0][:300]
        raise HeadError(f"{path}", found=found, expected="a model that onnxruntime opens", next_step=_AGAIN) from error
