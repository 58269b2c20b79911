"""An ONNX head from elsewhere, of which there is no manifest of ours: its inputs are found from its graph.

A head of ours is opened by ``using``.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vqa_assets.errors import HeadError
from vqa_assets.feature_names import FeatureSchema, schema_in_order
from vqa_assets.heads.members.weights import F32, encoder_onehot
from vqa_assets.heads.recipe import OWN_COLUMNS
from vqa_assets.heads.rows.columns import (
    columns_of_text,
    columns_without_numbers,
    feature_columns,
    feature_matrix,
    number_sources,
)
from vqa_assets.heads.rows.vectors import wrong_vectors
from vqa_assets.heads.using import opened_session

_FLOATS = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}
_ONEHOT = ("onehot", "one_hot", "one-hot", "encoder")
_SHAPES = "one float input (N, features), maybe a one-hot (N, encoders) beside it, and one output (N,) or (N, 1)"
_TRIED_ROWS = 2


@dataclass(frozen=True)
class ForeignHead:
    """A graph that takes (N, F) features of ``columns``, in their order, and gives one number a row.

    A column of vectors is one entry, its block ``<column>[0:1280]``, and as many features.
    ``onehot`` is the input of the encoder, where there is one, and ``encoders`` what its places stand for; of a single
    place every row is.
    """

    path: Path
    session: Any
    columns: tuple[str, ...]
    features: Any
    output: str
    onehot: Any = None
    encoders: tuple[str, ...] = ()

    def scores(self, table: pl.LazyFrame, what: str) -> F32:
        """The output (N,) of a table's rows; NaN where a column is not known, whatever the graph makes of NaN.

        HeadError as ``inputs``, and where the graph fails.
        """
        features, onehot = self.inputs(table, what)
        known = np.isfinite(features).all(axis=1)
        feed = {self.features.name: np.nan_to_num(features)}
        if self.onehot is not None:
            known &= onehot.any(axis=1)
            feed[self.onehot.name] = onehot.astype(_FLOATS[self.onehot.type])
        predicted = self.run(feed, len(features))
        scores: F32 = np.where(known, predicted, np.float32(np.nan))
        return scores

    def inputs(self, table: pl.LazyFrame, what: str) -> tuple[NDArray[Any], F32]:
        """Features (N, F) in the type that the graph takes, and one-hot (N, V), of one place where it takes none.

        HeadError, which names the table by ``what``, where it lacks a column or holds text in one.
        """
        have = frozenset(table.collect_schema().names())
        schema = self._schema
        sources = [source for name in schema.scalars for source in number_sources(name)]
        texts = {**columns_without_numbers(table, sources), **columns_of_text(table, sources)}
        wrong = [f"{name}: {example}" for name, example in texts.items()] + wrong_vectors(table, schema.vectors)
        if wrong:
            raise HeadError(
                f"{what}: feature columns that hold no numbers",
                found=", ".join(wrong),
                expected=", ".join(["numbers", *(vector.block for vector in schema.vectors)]),
                next_step="correct the table, or name other columns",
            )
        frame = table.select(**feature_columns(table, schema)).collect()
        absent = [n for n in schema.scalars if not {n, f"{n}_mean"} & have and not frame[f"feature:{n}"].count()]
        absent += [vector.block for vector in schema.vectors if vector.name not in have]
        if absent:
            raise HeadError(
                f"{what}: not the features of {self.path.name}",
                found=f"no column for {', '.join(absent)}",
                expected=f"the {len(self.columns)} columns that it reads",
                next_step="name the table's own in columns, in the order of the head's input",
            )
        features = feature_matrix(frame, schema)[:, self._order].astype(_FLOATS[self.features.type])
        onehot = encoder_onehot(len(features)) if self.onehot is None else self._onehot(table, what, len(features))
        return features, onehot

    @property
    def width(self) -> int:
        """How many features a row has."""
        return len(self._schema.columns)

    @cached_property
    def _schema(self) -> FeatureSchema:
        """The columns as they are read: vectors after all others."""
        return schema_in_order(OWN_COLUMNS, self.columns)

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        """Where each feature of the graph stands among those that are read."""
        blocks = {vector.block: self._schema.block_of(vector) for vector in self._schema.vectors}
        places = np.arange(self.width)
        each = [places[blocks[n]] if n in blocks else [self._schema.scalars.index(n)] for n in self.columns]
        return np.concatenate(each).astype(np.int64)

    def _onehot(self, table: pl.LazyFrame, what: str, rows: int) -> F32:
        if self.onehot.shape[1] == 1:
            return np.ones((rows, 1), dtype=np.float32)
        if "encoder" not in table.collect_schema():
            raise HeadError(
                f"{what}: no column encoder",
                found=f"a head that tells {len(self.encoders)} encoders apart",
                expected=f"the encoder of each row: {', '.join(self.encoders)}",
                next_step="add the column",
            )
        words = table.select(pl.col("encoder").cast(pl.String)).collect().to_series().to_numpy()
        onehot: F32 = (words[:, None] == np.asarray(self.encoders, dtype=object)[None, :]).astype(np.float32)
        return onehot

    def run(self, feed: dict[str, Any], rows: int) -> F32:
        """What the graph gives for its inputs of so many rows; HeadError where it fails, or gives no number a row."""
        if not rows:
            return np.empty(0, dtype=np.float32)
        try:
            output = np.asarray(self.session.run([self.output], feed)[0])
        except Exception as error:  # onnxruntime's errors share no narrower type
            found = str(error).partition("\n")[0][:300]
            raise HeadError(
                f"{self.path}", found=found, expected=_SHAPES, next_step="name as many columns as it reads"
            ) from error
        if output.shape not in ((rows,), (rows, 1)):
            raise _refused(self.path, f"an output of shape {output.shape} for {rows} rows")
        flat: F32 = output.reshape(rows).astype(np.float32)
        return flat


def open_foreign(path: Path, columns: Sequence[str]) -> ForeignHead:
    """The head of an ONNX file that reads ``columns``; HeadError where its graph is none of a head's.

    Of a column of vectors the block is named (``vectors.with_blocks``).
    """
    if not path.is_file():
        raise HeadError(f"{path}", found="found nothing there", expected="an ONNX file", next_step="name another file")
    # By its path, since weights may lie in a file beside it.
    session = opened_session(str(path), path, "name another file")
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(set(columns)) < len(columns) or not all(columns):
        found = f"{', '.join(columns)}"
        raise HeadError("columns", found=found, expected="each column once", next_step="correct the list")
    for tensor in inputs:
        if tensor.type not in _FLOATS or len(tensor.shape) != 2:
            raise _refused(path, f"input {_shown(tensor)}")
    if len(inputs) not in (1, 2):
        raise _refused(path, f"{len(inputs)} inputs: {', '.join(map(_shown, inputs))}")
    if len(outputs) != 1:
        raise _refused(path, f"{len(outputs)} outputs: {', '.join(map(_shown, outputs))}")
    fixed = [tensor.name for tensor in (*inputs, *outputs) if tensor.shape and isinstance(tensor.shape[0], int)]
    if fixed:
        raise HeadError(
            f"{path}",
            found=f"a batch of fixed size in {', '.join(fixed)}",
            expected="any number of rows",
            next_step="export it with a dynamic first axis",
        )
    width = len(schema_in_order(OWN_COLUMNS, columns).columns)
    features, onehot = _told_apart(path, inputs, width)
    if isinstance(features.shape[1], int) and features.shape[1] != width:
        numbers = f"{width} columns" if width == len(columns) else f"{width} numbers a row"
        raise HeadError(
            f"{path}",
            found=f"input {_shown(features)} and {numbers}: {', '.join(columns)}",
            expected=f"{features.shape[1]} {numbers.partition(' ')[2]}, in the order of the input",
            next_step="name them in columns",
        )
    head = ForeignHead(
        path, session, tuple(columns), features, outputs[0].name, onehot, _encoders(path, session, onehot)
    )
    # The graph says little of shapes inside: two rows show what it gives.
    tried = {features.name: np.zeros((_TRIED_ROWS, width), dtype=_FLOATS[features.type])}
    if onehot is not None:
        tried[onehot.name] = np.eye(_TRIED_ROWS, onehot.shape[1], dtype=_FLOATS[onehot.type])
    head.run(tried, _TRIED_ROWS)
    return head


def _told_apart(path: Path, inputs: Sequence[Any], columns: int) -> tuple[Any, Any]:
    """(features, one-hot or None) of the inputs: by name, else by the number of columns."""
    if len(inputs) == 1:
        return inputs[0], None
    named = [tensor for tensor in inputs if any(word in tensor.name.lower() for word in _ONEHOT)]
    wide = [tensor for tensor in inputs if tensor.shape[1] == columns]
    if len(named) == 1:
        (onehot,) = named
        (features,) = (tensor for tensor in inputs if tensor is not onehot)
    elif len(wide) == 1:
        (features,) = wide
        (onehot,) = (tensor for tensor in inputs if tensor is not features)
    else:
        raise _refused(path, f"inputs {', '.join(map(_shown, inputs))}, of which either may be the features")
    if not isinstance(onehot.shape[1], int):
        raise _refused(path, f"a one-hot of unknown width: {_shown(onehot)}")
    return features, onehot


def _encoders(path: Path, session: Any, onehot: Any) -> tuple[str, ...]:
    """What the places of a one-hot stand for, by the file's own metadata; a single place stands for every row."""
    if onehot is None or onehot.shape[1] == 1:
        return ()
    try:
        words = json.loads(session.get_modelmeta().custom_metadata_map.get("encoder_vocab", ""))
    except ValueError:
        words = []
    if not isinstance(words, list) or len(words) != onehot.shape[1] or not all(isinstance(word, str) for word in words):
        raise HeadError(
            f"{path}",
            found=f"a one-hot of {onehot.shape[1]} encoders that nothing names",
            expected="a one-hot of one place, or encoder_vocab in the file's metadata",
            next_step="write the encoders' names into the metadata, as a JSON list",
        )
    return tuple(words)


def _shown(tensor: Any) -> str:
    return f"{tensor.name} {tensor.type} {tuple(tensor.shape)}"


def _refused(path: Path, found: str) -> HeadError:
    return HeadError(f"{path}", found=found, expected=_SHAPES, next_step="export the head with such tensors")
