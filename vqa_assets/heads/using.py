"""A head's files, checked and put to use: a feature table in, one score a row out. Trains nothing, opens no clip.

Which tables and clips there are, and how scores are printed, is for ``predict``.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vqa_assets.errors import HeadError, TrainingError
from vqa_assets.feature_names import FeatureSchema
from vqa_assets.heads.judging.intervals import F64, disagreement
from vqa_assets.heads.manifest import AGAIN, ReadManifest, read_manifest
from vqa_assets.heads.members.export import MEMBERS, check_operators
from vqa_assets.heads.members.weights import F32, encoder_onehot
from vqa_assets.heads.recipe import ENCODER_VOCAB, FEATURE_SCHEMAS, MOS_TARGET, OWN_COLUMNS, VMAF_TARGET, Target
from vqa_assets.heads.rows.columns import (
    columns_of_lists,
    columns_of_text,
    columns_without_numbers,
    feature_columns,
    feature_matrix,
    number_sources,
    word_sources,
)
from vqa_assets.heads.rows.display import DisplayProfile
from vqa_assets.heads.rows.vectors import schema_of_manifest, wrong_vectors
from vqa_assets.tables.files import place_to_read
from vqa_assets.tables.makers import refuse_newer

BEYOND = 0.1
"""How far outside its training rows' range a column may lie, as a share of that range."""
BEYOND_OF_VECTOR = 0.05
"""The share of a vector's numbers that lie so far outside where the vector does."""
_FLOAT32 = 1e-6
"""What a column's value loses as float32, and more: without it a column of one value would lie outside itself."""


@dataclass(frozen=True)
class ScoredRows:
    """N rows of a table: their ``scores`` (N,) and the ends of their intervals (N,), NaN where there is none.

    ``out_of_range`` names per row the columns that lie beyond what the head was trained on; None where its manifest,
    one of an earlier edition, does not say what that was.
    """

    scores: F32
    low: F64
    high: F64
    out_of_range: tuple[tuple[str, ...], ...] | None


@dataclass(frozen=True)
class Head:
    """A head whose ONNX is the one that its manifest describes.

    Where the manifest holds an interval, the session gives ``members`` (N, M) beside the score.
    """

    manifest: ReadManifest
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
        """What it gives: ``mos`` or a further score on 1–5, or ``vmaf`` on 0–100 where a reference is known."""
        return self.manifest.target or str(self.session.get_outputs()[0].name)

    def as_json(self) -> dict[str, Any]:
        """Which head gave the scores of a document, and what its gate says of it."""
        return {
            "head": self.manifest.id,
            "sha256": self.manifest.sha256,
            "status": self.manifest.status,
            "feature_schema": self.schema.name,
            "target": self.target,
        }

    @property
    def encoders(self) -> tuple[str, ...]:
        """The encoders it tells apart by a table's column ``encoder``; none where it takes every clip as it comes."""
        vocabulary = tuple(self.manifest.encoder_vocab)
        return () if vocabulary == ENCODER_VOCAB else vocabulary

    def scores(self, table: pl.LazyFrame, what: str) -> F32:
        """The target (N,) of a feature table's rows; NaN where a feature or the encoder is not known.

        HeadError as ``inputs``.
        """
        return self._run(*self.inputs(table, what))[0]

    def inputs(self, table: pl.LazyFrame, what: str) -> tuple[F32, F32]:
        """Features (N, F) and one-hot (N, V) of a feature table's rows; NaN where a feature is not known.

        What training filled, and the display it took, are filled alike. HeadError, which names the table by ``what``,
        where it lacks a column of the head or holds text in one.
        """
        self._refuse_text(table, what)
        self._refuse_other_vectors(table, what)
        have = frozenset(table.collect_schema().names())
        frame = table.select(**feature_columns(table, self.schema, self._display())).collect()
        frame = frame.with_columns(
            pl.col(f"feature:{name}").fill_null(filled.value) for name, filled in self.manifest.filled.items()
        )
        named = {name for name in self.schema.scalars if {name, f"{name}_mean"} & have}
        absent = [n for n in self.schema.scalars if n not in named and not frame[f"feature:{n}"].count()]
        absent += [vector.block for vector in self.schema.vectors if vector.name not in have]
        if absent and len(frame):
            raise HeadError(
                f"{what}: not the features of {self.manifest.id}",
                found=f"no column for {', '.join(absent)}",
                expected=f"the {len(self.schema.feature_order)} columns of {self.schema.name}",
                next_step="extract them, or use a head of the table's own schema",
            )
        features = feature_matrix(frame, self.schema)
        return features, self._onehot(table, what) if self.encoders else encoder_onehot(len(features))

    def scored(self, table: pl.LazyFrame, what: str) -> ScoredRows:
        """As ``scores``, with intervals and what lies out of range."""
        features, onehot = self.inputs(table, what)
        scores, *members = self._run(features, onehot)
        low = high = np.full(len(scores), np.nan)
        if self.manifest.interval is not None:
            low, high = self.manifest.interval.as_interval().ends(scores, disagreement(members[0]), self.scale)
        return ScoredRows(scores, low, high, self._out_of_range(features))

    @property
    def scale(self) -> Target:
        """The range of what it gives."""
        return VMAF_TARGET if self.target == VMAF_TARGET.name else MOS_TARGET

    def _out_of_range(self, features: F32) -> tuple[tuple[str, ...], ...] | None:
        """Per row of features (N, F), the columns that lie outside the training rows' range by over a tenth of it.

        A vector does where at least a twentieth of its numbers do: of thousands, some do in any clip.
        """
        if self.manifest.feature_low is None or self.manifest.feature_high is None:
            return None
        low, high = np.array(self.manifest.feature_low), np.array(self.manifest.feature_high)
        slack = BEYOND * (high - low) + _FLOAT32 * np.maximum(np.abs(low), np.abs(high))
        # Compared as float32: a copy of the table as float64 would be the largest thing here. A NaN is not outside.
        with np.errstate(over="ignore"):
            least, most = (low - slack).astype(np.float32), (high + slack).astype(np.float32)
        outside: NDArray[np.bool_] = (features < least) | (features > most)
        of_vectors = [
            outside[:, self.schema.block_of(vector)].mean(1) >= BEYOND_OF_VECTOR for vector in self.schema.vectors
        ]
        outside = np.column_stack([outside[:, : len(self.schema.scalars)], *of_vectors])
        columns = np.array([*self.schema.scalars, *(vector.name for vector in self.schema.vectors)], dtype=object)
        any_of = np.logical_or.reduce(outside, axis=1)
        return tuple(tuple(columns[row]) if some else () for row, some in zip(outside, any_of, strict=True))

    def _run(self, features: F32, onehot: F32) -> list[F32]:
        """What the session gives for inputs (N, F) and (N, V), the scores first."""
        scores, *others = self.session.run(None, {"features": features, "encoder_onehot": onehot})
        # A row of zeros is an encoder that the head does not know.
        return [np.where(onehot.any(1), scores, np.float32(np.nan)), *others]

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
        display = self.manifest.display_profile
        if display is None:
            return None
        return DisplayProfile(
            display.file, display.sha256, display.values, tuple(display.lacking), tuple(display.ignored)
        )

    def _refuse_other_vectors(self, table: pl.LazyFrame, what: str) -> None:
        """HeadError where a column of vectors holds others than those that the head learned from."""
        if wrong := wrong_vectors(table, self.schema.vectors):
            raise HeadError(
                f"{what}: not the vectors of {self.manifest.id}",
                found="; ".join(wrong),
                expected=", ".join(vector.block for vector in self.schema.vectors),
                next_step="measure the clips with the backbone that the head learned from",
            )

    def _refuse_text(self, table: pl.LazyFrame, what: str) -> None:
        columns = [source for name in self.schema.scalars for source in number_sources(name)]
        types = {**columns_without_numbers(table, columns), **columns_of_lists(table, word_sources(self.schema))}
        wrong = {**types, **{name: repr(text) for name, text in columns_of_text(table, columns).items()}}
        if wrong:
            raise HeadError(
                f"{what}: {'feature columns that hold no numbers' if types else 'text in feature columns'}",
                found=", ".join(f"{name}: {example}" for name, example in wrong.items()),
                expected="numbers",
            )


def open_head(path: Path) -> Head:
    """The head of an ``.onnx`` or its ``.json``; both must lie side by side.

    HeadError where one is missing, of another version, or not the other's; where the ONNX has an operator that the
    runtime lacks, or wants other features than the manifest says.
    """
    manifest = read_manifest(path.with_suffix(".json"))
    onnx = path.with_suffix(".onnx")
    if not place_to_read(onnx).is_file():
        raise HeadError(f"{onnx}", found="found nothing there", expected="the head's ONNX", next_step=AGAIN)
    content = place_to_read(onnx).read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    # The ONNX of another training beside this manifest would give plausible scores under a wrong name.
    if sha256 != manifest.sha256:
        raise HeadError(
            f"{onnx}", found=f"SHA-256 {sha256}", expected=f"{manifest.sha256} (its manifest)", next_step=AGAIN
        )
    schema = _schema(manifest)
    _check_metadata(content, onnx, manifest)
    # One session is opened, and what the file itself gives is checked in it: members come after that.
    model = content if manifest.interval is None else _with_members(content, onnx)
    head = Head(manifest, schema, opened_session(model, onnx, AGAIN))
    _check_tensors(head, onnx)
    for name, ends in (("feature_low", manifest.feature_low), ("feature_high", manifest.feature_high)):
        if ends is not None and len(ends) != len(schema.columns):
            raise HeadError(
                f"{path.with_suffix('.json')}: {name}",
                found=f"{len(ends)} numbers",
                expected=f"one for each of {len(schema.columns)} columns",
                next_step=AGAIN,
            )
    return head


def _with_members(content: bytes, path: Path) -> bytes:
    """The model with what each member gives as an output more, after the score. The file keeps its one output."""
    import onnx

    model = onnx.load_from_string(content)
    if MEMBERS not in {name for node in model.graph.node for name in node.output}:
        raise HeadError(
            f"{path}",
            found=f"no tensor {MEMBERS} in it",
            expected="what each member gives: its manifest holds an interval",
            next_step=AGAIN,
        )
    model.graph.output.append(onnx.helper.make_tensor_value_info(MEMBERS, onnx.TensorProto.FLOAT, ["batch", "members"]))
    return bytes(model.SerializeToString())


def _schema(manifest: ReadManifest) -> FeatureSchema:
    """The columns that the head reads; those of a schema must still be what the head was trained on."""
    name, order = manifest.feature_schema, tuple(manifest.feature_order)
    if name == OWN_COLUMNS:
        return FeatureSchema(name, order, frozenset())
    schema = schema_of_manifest(name, order)
    if schema is None:
        raise HeadError(
            f"{manifest.id}: feature schema {name}",
            found=f"{len(order)} columns ({', '.join(order[:3])}, …)",
            expected=f"one of {', '.join(FEATURE_SCHEMAS)}, or vectors, as this version knows them",
            next_step="train the head again with this version",
        )
    return schema


def _check_metadata(content: bytes, path: Path, manifest: ReadManifest) -> None:
    """HeadError where the ONNX has an operator that the runtime lacks, or says other things than its manifest."""
    import onnx

    try:
        offenders = check_operators(content)
    except TrainingError as error:
        raise HeadError(f"{path}", found=error.found, expected="a valid ONNX model", next_step=AGAIN) from error
    if offenders:
        raise HeadError(
            f"{path}",
            found=f"operators {', '.join(offenders)}",
            expected="only operators of the runtime's list",
            next_step="use a head that this package exported",
        )
    metadata = {p.key: p.value for p in onnx.load_from_string(content).metadata_props}
    expected = {
        "feature_order": json.dumps(manifest.feature_order),
        "encoder_vocab": json.dumps(manifest.encoder_vocab),
        "status": manifest.status,
    }
    if other := [name for name, value in expected.items() if metadata.get(name) != value]:
        raise HeadError(
            f"{path}",
            found=f"{other[0]} {metadata.get(other[0])}",
            expected=f"that of its manifest: {expected[other[0]]}",
            next_step=AGAIN,
        )


def opened_session(model: bytes | str, path: Path, next_step: str) -> Any:
    """onnxruntime's session of a model, its bytes or its file; HeadError, which names ``path``, where it opens none.

    NewerFormatError where a later version of ours wrote it.
    """
    import onnxruntime

    refuse_newer(path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only, and those are raised below
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no narrower type
        found = str(error).partition("\n")[0][:300]
        expected = "a model that onnxruntime opens"
        raise HeadError(f"{path}", found=found, expected=expected, next_step=next_step) from error


def _check_tensors(head: Head, path: Path) -> None:
    """HeadError where the ONNX takes or gives other tensors than its manifest says."""
    inputs = head.session.get_inputs()
    outputs = head.session.get_outputs()[: None if head.manifest.interval is None else -1]
    batches = {str(tensor.name): tensor.shape[:1] for tensor in (*inputs, *outputs)}
    fixed = [name for name, batch in batches.items() if not batch or isinstance(batch[0], int)]
    gives = [(tensor.name, len(tensor.shape)) for tensor in outputs]
    # A batch of fixed size would score the first rows of a table only, or fail at the last.
    if fixed or len(gives) != 1 or gives[0][1] != 1:
        found = f"a batch of fixed size in {', '.join(fixed)}" if fixed else f"outputs {gives} (name, dimensions)"
        raise HeadError(f"{path}", found=found, expected="rows in, one score a row out", next_step=AGAIN)
    takes = {tensor.name: tensor.shape[-1] for tensor in inputs}
    expected = {"features": len(head.schema.columns), "encoder_onehot": len(head.manifest.encoder_vocab)}
    if takes != expected:
        raise HeadError(f"{path}", found=f"inputs {takes}", expected=f"{expected} (its manifest)", next_step=AGAIN)
