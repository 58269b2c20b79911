"""Columns of vectors in a head: what ``backbone:<id>`` in a schema's name stands for, and whose vectors a head read.

A schema is named by its parts, joined by ``+``: ``nr-v1``, ``backbone:<id>``, ``nr-v1+backbone:<id>``. Which vectors a
backbone gives, its declaration says; how long they are, the tables. How they are read is in ``columns``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqa_assets.backbones.declaration import BACKBONE_ID, POOLINGS
from vqa_assets.backbones.folder import Backbone, backbone_named
from vqa_assets.errors import HeadError, SettingsError, TrainingError
from vqa_assets.feature_names import BACKBONE_PREFIX, FeatureSchema, VectorColumn, schema_in_order
from vqa_assets.heads.recipe import FEATURE_SCHEMAS, FR_REGRESSOR_V2, HeadRecipe
from vqa_assets.tables.networks import Networks, RecordedNetwork, networks_of
from vqa_assets.tables.paths import DataRoot

if TYPE_CHECKING:
    import polars as pl


_JOIN = "+"
_MEASURE = "measure the clips with it (clip_features, feature_sets), then label them again (mos_features)"


def is_schema_name(name: str) -> bool:
    """Whether a schema may be called so: its parts are known, each once, and no column is in two of them."""
    parts = name.split(_JOIN)
    shipped = [FEATURE_SCHEMAS[part] for part in parts if part in FEATURE_SCHEMAS]
    ids = backbones_in(name)
    columns = [column for schema in shipped for column in schema.columns]
    known = len(shipped) + sum(BACKBONE_ID.fullmatch(one) is not None for one in ids)
    # An encode grid's rows hold nothing that is measured of clips.
    alone = len(parts) == 1 or FR_REGRESSOR_V2.feature_schema not in parts
    return known == len(set(parts)) == len(parts) and len(set(columns)) == len(columns) and alone


def backbones_in(schema_name: str) -> tuple[str, ...]:
    """The ids of the backbones whose vectors a schema reads."""
    parts = schema_name.split(_JOIN)
    return tuple(part.removeprefix(BACKBONE_PREFIX) for part in parts if part.startswith(BACKBONE_PREFIX))


def families_in(schema_name: str) -> tuple[str, ...]:
    """The shipped parts of a schema's name, such as ``nr-v1``."""
    return tuple(part for part in schema_name.split(_JOIN) if not part.startswith(BACKBONE_PREFIX))


def backbones_of(schema_name: str, root: DataRoot) -> dict[str, Backbone]:
    """The backbones that a schema reads, as their folders declare them; SettingsError where one is not there."""
    return {name: backbone_named(name, root) for name in backbones_in(schema_name)}


def with_backbones(recipe: HeadRecipe, schema_name: str | None, root: DataRoot) -> HeadRecipe:
    """A recipe with the backbones that a run's ``feature_schema`` names.

    Their licences and the hashes of their networks go into the head: none is trained without their folders.
    """
    return replace(recipe, backbones=backbones_of(schema_name or "", root))


def schema_named(name: str, backbones: Mapping[str, Backbone]) -> FeatureSchema:
    """The schema of a name that ``is_schema_name`` holds for; how long vectors are is not known yet.

    ``backbones`` are those of the recipe (``with_backbones``).
    """
    if name in FEATURE_SCHEMAS:
        return FEATURE_SCHEMAS[name]
    shipped = [FEATURE_SCHEMAS[part] for part in families_in(name)]
    if absent := [one for one in backbones_in(name) if one not in backbones]:
        raise SettingsError(
            f"feature_schema: {name}",
            found=f"no declaration of {', '.join(absent)}",
            expected="the folder of each backbone",
            next_step="give the recipe its backbones (with_backbones)",
        )
    scalars = FeatureSchema(
        name,
        tuple(column for schema in shipped for column in schema.columns),
        frozenset().union(*(schema.measured for schema in shipped)),
    )
    columns = [column for one in backbones_in(name) for column in backbones[one].columns]
    return scalars.with_vectors([VectorColumn(column) for column in columns])


def schema_of_manifest(name: str, feature_order: Sequence[str]) -> FeatureSchema | None:
    """The schema of a head as its manifest has it; None where this version knows its columns otherwise."""
    if not is_schema_name(name):
        return None
    schema = schema_in_order(name, feature_order)
    shipped = [column for part in families_in(name) for column in FEATURE_SCHEMAS[part].columns]
    ids = {vector.name.partition(".")[0] for vector in schema.vectors}
    if list(schema.scalars) != shipped or ids != set(backbones_in(name)) or schema.feature_order != (*feature_order,):
        return None
    return schema


def with_sizes(schema: FeatureSchema, tables: "Mapping[str, pl.LazyFrame]") -> FeatureSchema:
    """The schema with the length that each vector has in the tables {corpus: rows}.

    TrainingError where a table lacks a vector or holds something else in its column, and where lengths differ.
    """
    if not schema.vectors:
        return schema
    types = {corpus: rows.collect_schema() for corpus, rows in tables.items()}
    sizes: dict[str, dict[str, int]] = {}
    wrong = []
    for vector in schema.vectors:
        for corpus, of_corpus in types.items():
            kind = of_corpus.get(vector.name)
            if size := vector_size(kind):
                sizes.setdefault(vector.name, {})[corpus] = size
            else:
                wrong.append(f"{corpus}: {vector.name} ({'absent' if kind is None else kind})")
    if wrong:
        raise TrainingError(
            "columns of vectors that cannot be trained on",
            found="; ".join(wrong),
            expected=f"vectors of {', '.join(backbones_in(schema.name))}, as fixed-size lists of float32",
            next_step=_MEASURE,
        )
    known = {vector.name: {"this head": vector.size} if vector.size else {} for vector in schema.vectors}
    apart = {name: of for name, of_tables in sizes.items() if len(set((of := known[name] | of_tables).values())) > 1}
    if apart:
        raise TrainingError(
            "vectors of one backbone that are not equally long",
            found="; ".join(
                f"{name}: {', '.join(f'{who} {size}' for who, size in of.items())}" for name, of in apart.items()
            ),
            expected="the same network for all clips",
            next_step="measure the clips of these corpora again with the backbone that is there",
        )
    return schema.with_vectors([VectorColumn(name, next(iter(of.values()))) for name, of in sizes.items()])


def vector_size(kind: "pl.DataType | None") -> int:
    """How long the vectors of a column of this type are; 0 where it holds none."""
    import polars as pl

    is_vector = isinstance(kind, pl.Array) and len(kind.shape) == 1 and kind.inner.is_numeric()
    return kind.shape[0] if is_vector else 0  # type: ignore[union-attr]


def wrong_vectors(table: "pl.LazyFrame", vectors: Sequence[VectorColumn]) -> list[str]:
    """The columns of a table that hold no vectors of these lengths, with what they hold; absent ones are not among."""
    types = table.collect_schema()
    wrong = []
    for vector in vectors:
        kind = types.get(vector.name)
        if kind is None or vector_size(kind) == vector.size:
            continue
        lengths = list_lengths(table, vector.name)
        if lengths != [vector.size]:
            wrong.append(f"{vector.name}: {kind}{f' of {lengths}' if lengths else ''}")
    return wrong


def list_lengths(table: "pl.LazyFrame", column: str) -> list[int]:
    """How long the lists of numbers of a column are, each length once: a row measured just now, and JSON, have such."""
    import polars as pl

    kind = table.collect_schema().get(column)
    if not (isinstance(kind, pl.List) and kind.inner.is_numeric()):
        return []
    lengths: list[int] = table.select(pl.col(column).list.len().drop_nulls().unique()).collect().to_series().to_list()
    return lengths


def with_blocks(columns: Sequence[str], table: "pl.LazyFrame") -> list[str]:
    """The columns in their order, one of a table's vectors by its block, ``<column>[0:1280]``."""
    types = table.collect_schema()
    named = []
    for name in columns:
        size = vector_size(types.get(name))
        lengths = [size] if size else list_lengths(table, name)
        named.append(VectorColumn(name, lengths[0]).block if len(lengths) == 1 else name)
    return named


def refuse_other_network(head: str, recorded: RecordedNetwork | None, backbone: Backbone) -> None:
    """HeadError where a backbone is not the one whose vectors a head learned from, as its manifest recorded it."""
    what, again = f"{head} reads vectors of {backbone.id}", "train the head again"
    if recorded is None:
        raise HeadError(what, found="no record of its network", expected="its SHA-256", next_step=again)
    if recorded.sha256 != backbone.content:
        raise HeadError(
            what,
            found=f"a network with SHA-256 {backbone.content}",
            expected=f"{recorded.sha256}, which it learned from",
            next_step=f"put that network into the folder of {backbone.id}, or {again}",
        )
    if recorded.declaration != backbone.numbers:
        raise HeadError(
            what,
            found="its network under a declaration that gives other numbers",
            expected="inputs, outputs, views and sampling as they were when it learned",
            next_step=f"put back the declaration of {backbone.id}, or {again}",
        )


def refuse_vectors_of_others(tables: Mapping[str, Sequence[Path]], backbones: Mapping[str, Backbone]) -> list[str]:
    """TrainingError where tables {corpus: files} say that another network measured their vectors than is there now.

    What is returned are the corpora, with the backbones, whose tables do not say whose vectors they hold.
    """
    unknown = []
    for corpus, paths in tables.items() if backbones else ():
        for path in paths:
            told = networks_of(path)
            for name, backbone in backbones.items():
                if (network := told.get(name)) is None:
                    unknown.append(f"{corpus} ({name})")
                elif network != backbone.recorded:
                    raise TrainingError(
                        f"labelled table of {corpus}: {path}",
                        found=f"vectors of {name} {_apart(network, backbone.recorded)}",
                        expected=f"those of the network that is there, SHA-256 {backbone.content}",
                        next_step=f"put back what measured them in {backbone.folder}, or {_MEASURE}",
                    )
    return list(dict.fromkeys(unknown))


def refuse_other_vectors(head: str, recorded: Networks, path: Path) -> list[str]:
    """HeadError where a table says that its vectors are of another network than those that a head learned from.

    What is returned are the backbones of which the table does not say.
    """
    told = networks_of(path) if recorded else {}
    for name, network in recorded.items():
        if name in told and told[name] != network:
            raise HeadError(
                f"{path}: not the vectors of {head}",
                found=f"vectors of {name} {_apart(told[name], network)}",
                expected=f"those of a network with SHA-256 {network.sha256}, which it learned from",
                next_step="measure the clips with that network, or use a head that learned from this one",
            )
    return [name for name in recorded if name not in told]


def _apart(one: RecordedNetwork, other: RecordedNetwork) -> str:
    """In what a network differs from another, in words."""
    if one.sha256 != other.sha256:
        return f"by a network with SHA-256 {one.sha256}"
    return "by that network, under a declaration that gives other numbers"


def backbones_as_json(schema: FeatureSchema, backbones: Mapping[str, Backbone]) -> dict[str, dict[str, Any]]:
    """What a manifest says of the backbones whose vectors a head reads, and of their blocks in words."""
    return {
        name: {
            **{k: getattr(one, k) for k in ("title", "version", "citation", "licence", "redistribution")},
            **asdict(one.recorded),
            "blocks": _blocks(one, {vector.name: vector.size for vector in schema.vectors}),
        }
        for name, one in backbones.items()
    }


def _blocks(backbone: Backbone, sizes: Mapping[str, int]) -> list[str]:
    """A sentence for each view and output: ``mean and SD over time of 1 280 numbers from last, shown as resize``."""
    pooled = " and ".join(POOLINGS[pooling] for pooling in backbone.sampling.pooling)
    first = backbone.sampling.pooling[0]
    return [
        f"{pooled} over time of {sizes[f'{backbone.id}.{view}.{output}_{first}']:,} numbers".replace(",", " ")
        + f" from {output}, shown as {view}"
        for view in backbone.views.names
        for output, _ in backbone.outputs
    ]
