"""Which rows a head has learned from, told from what lies beside its ONNX. Trains and judges nothing.

A manifest names the tables and says how their rows were split, and splits are drawn by hash: so the rows that were held
out can be told afterwards, but where copies were joined. The out-of-fold predictions, where they lie there too, name
the others one by one.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vqa_assets.corpora.contents import content_of_group, holdout
from vqa_assets.errors import SchemaError
from vqa_assets.heads.manifest import SCHEMA
from vqa_assets.provenance import file_record
from vqa_assets.tables.files import read_json_object

Mask = NDArray[np.bool_]
_TABLE, _HELP = "features_with_mos_", "help_"
OF_EVERY_ROW = ("folds", "sources")
"""Kinds of split whose out-of-fold predictions are those of all rows that the head was trained on."""
_HASHES = "vqa-clip-hashes"
"""In the metadata of out-of-fold predictions: a short hash of each clip's SHA-256."""


@dataclass(frozen=True)
class KnownRows:
    """N rows as splits know them: the clip's key, its corpus (empty: not known), its content group, its split.

    ``src_sha256`` are those of the clips' bytes, None where one is not known; empty where none is.
    """

    keys: Sequence[str]
    corpora: Sequence[str]
    groups: Sequence[str]
    splits: Sequence[str | None]
    src_sha256: Sequence[str | None] = ()


@dataclass(frozen=True)
class Seen:
    """``rows`` (N,) are those that a head was trained on, or whose content it was; ``by`` says what tells it."""

    rows: Mask
    by: str


@dataclass(frozen=True)
class Training:
    """What a head's manifest says of the rows that it was trained on.

    ``tables`` are SHA-256 → corpus (empty where a table is of several) of what was read; ``predictions`` is the file of
    its out-of-fold predictions, where that is there and the head's own. ``helpers`` are the corpora that helped it: of
    those nothing tells which clips it has not learned from. ``copies`` of its rows were of clips that stand twice and
    have no content id: by what their contents were called, and so where splits had them, only the predictions tell.
    """

    kind: str
    seed: int
    holdout_share: float
    corpora: tuple[str, ...]
    given_tests: tuple[str, ...]
    tables: Mapping[str, str]
    synthetic: bool
    predictions: Path | None
    helpers: tuple[str, ...] = ()
    copies: int = 0

    def corpus_of(self, table_sha256: str) -> str:
        """The corpus of rows that name none, where the head was trained on just that table; else empty."""
        return self.tables.get(table_sha256, "")

    def seen(self, rows: KnownRows, table_sha256: str = "") -> Seen | None:
        """Which of the rows the head has learned from; None where nothing tells."""
        if self.synthetic:
            return Seen(np.zeros(len(rows.keys), dtype=bool), "it was trained on made-up rows only")
        own = self._learned(rows, table_sha256)
        of_helpers = np.isin(np.asarray(rows.corpora, dtype=object), self.helpers)
        if not of_helpers.any():
            return own
        by = "it was helped by a head of this corpus"
        return Seen(of_helpers if own is None else own.rows | of_helpers, f"{own.by}; {by}" if own else by)

    def _learned(self, rows: KnownRows, table_sha256: str) -> Seen | None:
        """The rows that the head itself was trained on."""
        predictions = self.predictions if self.kind in OF_EVERY_ROW else None
        by_name = _by_predictions(predictions, rows) if predictions else None
        if by_name is not None:
            return Seen(by_name, "its out-of-fold predictions name the clips and contents it was trained on")
        if not all(rows.corpora) or (self.kind == "split" and not all(rows.splits)):
            return None
        corpora = np.asarray(rows.corpora, dtype=object)
        trained = _of_contents(rows, np.isin(corpora, self.corpora) & self._not_held_out(rows, corpora))
        what = "this is the table it was trained on" if table_sha256 in self.tables else "it was trained on this corpus"
        if self.kind == "split":
            how = ", and its rows say their split"
        elif self.kind != "folds":
            how = ", on all of it"
        elif self.copies:
            how = ", whose clips stand twice: which of them were held out is not known"
        else:
            how = ", and its splits are drawn by hash"
        return Seen(trained, f"{what}{how}")

    def _not_held_out(self, rows: KnownRows, corpora: NDArray[np.object_]) -> Mask:
        """Which rows no split took away from training, where they are of its corpora."""
        words = np.asarray(rows.splits, dtype=object)
        if self.kind == "split":
            trained: Mask = words == "train"
            return trained
        if self.kind != "folds":
            return np.ones(len(corpora), dtype=bool)
        # Contents of a given test stay out of training with all their clips.
        tested = _of_contents(rows, (words == "test") & np.isin(corpora, self.given_tests))
        held = np.array(holdout(rows.groups, self.holdout_share, self.seed), dtype=bool)
        learned: Mask = ~tested if self.copies else ~(held | tested)
        return learned


def _of_contents(rows: KnownRows, chosen: Mask) -> Mask:
    """All rows that show a content of the chosen ones."""
    contents = {group for group, own in zip(rows.groups, chosen, strict=True) if own}
    return np.array([group in contents for group in rows.groups], dtype=bool)


def hashes_noted(src_sha256: Iterable[str | None]) -> dict[str, str]:
    """Metadata of out-of-fold predictions that says which bytes these are of, as far as they are known."""
    return {_HASHES: " ".join(sorted({_short(sha256) for sha256 in src_sha256 if sha256}))}


def _short(sha256: str) -> str:
    """Eight bytes of a hash of it, which tell millions apart: a table's own marks in its place may begin alike."""
    return hashlib.blake2b(sha256.encode(), digest_size=8).hexdigest()


def predictions_path(onnx: Path) -> Path:
    """Where the out-of-fold predictions of a head lie: ``<head>.predictions.parquet`` beside its ONNX."""
    return onnx.with_name(f"{onnx.stem}.predictions.parquet")


def training_of(onnx: Path) -> Training | None:
    """What the manifest beside an ONNX says of its training; None where none is there, or it says too little."""
    sidecar = onnx.with_suffix(".json")
    if not sidecar.is_file():
        return None
    try:
        manifest = read_json_object(sidecar)
        if manifest.get("schema") != SCHEMA:
            return None
        inputs, corpora = manifest.get("run_provenance", {}).get("inputs", {}), tuple(manifest["corpora"])
        helped = manifest.get("help") or {"used": False}  # a head of an earlier edition says none
        helpers = tuple(helped["corpora"]) if helped["used"] else ()
        return Training(
            kind=manifest["folds"]["kind"],
            seed=int(manifest["training_recipe"]["settings"]["seed"]),
            holdout_share=float(manifest["holdout"]["share"]),
            corpora=corpora,
            given_tests=tuple(manifest["given_tests"]),
            tables={
                str(record["sha256"]): _corpus_of(name, (*corpora, *helpers))
                for name, record in inputs.items()
                if record.get("sha256")
            },
            synthetic=bool(manifest["synthetic"]),
            predictions=_own_predictions(onnx, manifest),
            helpers=helpers,
            copies=int(manifest["folds"].get("copies_without_content_id", 0)),
        )
    except (SchemaError, KeyError, TypeError, ValueError, AttributeError):
        return None


def _corpus_of(name: str, corpora: Sequence[str]) -> str:
    """The corpus of a table by its name in a manifest, whose further tables are numbered; empty where it says none."""
    table = name.removeprefix(_HELP)
    if not table.startswith(_TABLE):
        return ""
    corpus = table.removeprefix(_TABLE)
    first, _, number = corpus.rpartition("_")
    return first if corpus not in corpora and number.isdecimal() else corpus


def _own_predictions(onnx: Path, manifest: Mapping[str, Any]) -> Path | None:
    """The file of predictions, unless the manifest records another one under that name: then it is another run's."""
    path = predictions_path(onnx)
    if not path.is_file():
        return None
    outputs = manifest.get("run_provenance", {}).get("outputs", {}).values()
    recorded = [one["sha256"] for one in outputs if Path(str(one.get("path"))).name == path.name and "sha256" in one]
    return path if not recorded or file_record(path)["sha256"] in recorded else None


def _by_predictions(path: Path, rows: KnownRows) -> Mask | None:
    """By the clips, contents and bytes that the predictions name; None where the file cannot be read."""
    try:
        told = pl.read_parquet(path, columns=["key", "corpus", "content_id"], glob=False).cast(pl.String)
        hashes = set(pl.read_parquet_metadata(path).get(_HASHES, "").split())  # earlier editions noted none
    except (pl.exceptions.PolarsError, OSError):
        return None
    clips = set(told.select("corpus", "key").iter_rows())
    keys = set(told["key"])
    contents = set(told["content_id"].drop_nulls())
    of_rows = zip(rows.keys, rows.corpora, map(content_of_group, rows.groups), strict=True)
    named = np.array([((c, k) in clips if c else k in keys) or g in contents for k, c, g in of_rows], dtype=bool)
    if not rows.src_sha256 or not hashes:
        return named
    # The same clip may stand in another corpus, by another name.
    alike = [sha256 is not None and _short(sha256) in hashes for sha256 in rows.src_sha256]
    return named | _of_contents(rows, np.array(alike, dtype=bool))
