"""The unified corpus as files: its settings, the order of its rows, and its publication with all that stands beside it.

Published together or not at all. How a row is judged is in ``index`` and ``duplicates``, how it is unified in
``unifying``.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from vqa_assets.errors import AggregateError, Make
from vqa_assets.printing import logger, named_or_counted
from vqa_assets.provenance import Manifest, ReadInput, RunContext, utc_text, write_manifest
from vqa_assets.provenance.reading import read_now, refuse_changes
from vqa_assets.settings import with_origins
from vqa_assets.tables.files import json_bytes
from vqa_assets.tables.paths import DataRoot, manifest_path
from vqa_assets.tables.publication import Publication, publishing, settle
from vqa_assets.tables.specs import unified_corpus_of
from vqa_assets.tables.targets import OwnTarget, check_targets, is_written_for, why_other_manifest
from vqa_assets.unified.croissant import croissant
from vqa_assets.unified.description import UnifiedView, view_of
from vqa_assets.unified.duplicates import Duplicate, standing
from vqa_assets.unified.index import AggregateReport, IndexBuilder, Records, Source
from vqa_assets.unified.shards import OpenedShard, Shard, pieces_of, scan
from vqa_assets.unified.table import Kinds, stands, write_table
from vqa_assets.unified.unifying import Block, blocks_of, merged_kinds, place_of, read_unified, write_block

STAGE = "unified_corpus"
MANIFEST_SCHEMA = "unified-corpus-manifest-v1"
SMALL_BYTES = 32 << 20
"""Shards that are smaller together are read in this process: others cost more to start than they save."""
_log = logger("vqa_assets.unified")
_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


class Workers(Protocol):
    """Where pieces and blocks are worked on."""

    def map(self, work: Callable[[_Task], _Result], tasks: Iterable[_Task]) -> Iterator[_Result]:
        """The results in the order of the tasks; few of them are held at a time."""
        ...


class ThisProcess:
    """Satisfies ``Workers`` without any other process."""

    def map(self, work: Callable[[_Task], _Result], tasks: Iterable[_Task]) -> Iterator[_Result]:
        """One after the other."""
        return map(work, tasks)


@dataclass(frozen=True)
class Aggregation:
    """The rows that stand, in the order of output, and what was counted."""

    rows: Block
    report: AggregateReport


@dataclass(frozen=True)
class Sidecars:
    """The files beside a unified corpus that are made from it."""

    related_clips: Path
    croissant: Path

    @classmethod
    def beside(cls, jsonl: Path) -> "Sidecars":
        """Their places beside the unified corpus's JSONL, and after its name where that is not the usual one."""
        # two outputs in one folder are two unified corpora, each with related clips of its own
        own = "" if jsonl.stem == "unified_corpus" else f"{jsonl.stem}."
        return cls(jsonl.with_name(f"{own}related_clips.json"), jsonl.with_suffix(".croissant.json"))


@dataclass(frozen=True)
class UnifiedCorpus:
    """A unified corpus that stands: its files, what it holds, its report, its manifest as written, its data version."""

    jsonl: Path
    parquet: Path
    sidecars: Sidecars
    view: UnifiedView
    report: AggregateReport
    absent: tuple[str, ...]
    manifest: Mapping[str, Any]
    data_version: str


@dataclass(frozen=True)
class UnifiedSettings:
    """What to aggregate and where to: ``shards`` in the order that breaks ties.

    ``usual`` are the settings of a run without a run config: a manifest marks those that differ from them.
    """

    shards: tuple[Shard, ...]
    output: Path
    manifest_out: Path | None = None
    mos_scales: Mapping[str, str] = field(default_factory=dict)
    usual: "UnifiedSettings | None" = None

    def by_name(self, root: DataRoot) -> dict[str, Any]:
        """The settings by their names in a run config."""
        return {
            "inputs": [shard.path for shard in self.shards],
            "corpus_source_overrides": {root.shown(s.path): s.corpus for s in self.shards if s.corpus},
            "mos_scales": dict(self.mos_scales),
            "output": self.output,
            "manifest_out": self.manifest_out or manifest_path(self.output),
        }

    def defaults(self, root: DataRoot) -> dict[str, Any]:
        """The same of a run without a run config; where the manifest follows the output, its default does so too."""
        usual = self.usual.by_name(root) if self.usual else {}
        return usual if self.manifest_out else {**usual, "manifest_out": manifest_path(self.output)}


def make_unified_corpus(
    settings: UnifiedSettings, corpora: Mapping[str, Source], context: RunContext, workers: Workers | None = None
) -> UnifiedCorpus:
    """Aggregate the shards into ``output``, a Parquet file and sidecars; earlier files stand until all new are valid.

    Files whose content would stay the same but for time stamps are left alone.
    """
    settle(settings.output.parent, *(shard.path.parent for shard in settings.shards))
    _check_targets(settings, context.root)
    size_bytes = sum(shard.path.stat().st_size for shard in settings.shards if shard.path.is_file())
    workers = workers if workers and size_bytes > SMALL_BYTES else ThisProcess()
    inputs = read_now({context.root.shown(s.path): s.path for s in settings.shards})
    aggregation = aggregate(settings.shards, corpora, utc_text(), workers)
    refuse_changes(inputs.values())  # what is read again after this is refused by ``shards``
    try:
        with publishing("unified_corpus", settings.output, MANIFEST_SCHEMA) as publication:
            made = _publish(publication, settings, inputs, aggregation, corpora, context, workers)
    except OSError as error:
        raise AggregateError(
            f"{settings.output}",
            found=f"it cannot be written ({error.strerror or error})",
            expected="a folder with room for the new files beside the earlier ones",
            next_step="the earlier output is kept; correct the folder or the disk, then run unified_corpus again",
        ) from error
    for name, count in made.report.losses.further_scores.items():
        _log.warning("unified_corpus: %d %s are no numbers or outside their scale; they are unknown now", count, name)
    _log.info("[unified-corpus] %s", ", ".join(f"{name} {value}" for name, value in made.report.counters().items()))
    return made


def _publish(
    publication: Publication,
    settings: UnifiedSettings,
    inputs: Mapping[str, ReadInput],
    aggregation: Aggregation,
    corpora: Mapping[str, Source],
    context: RunContext,
    workers: Workers,
) -> UnifiedCorpus:
    """Write both files, unless what stands there holds the same rows, and all that says something of them."""
    report, jsonl, parquet = aggregation.report, settings.output, settings.output.with_suffix(".parquet")
    sidecars = Sidecars.beside(jsonl)
    version, report.losses.further_scores = _write_rows(publication, aggregation.rows, jsonl, parquet, workers)
    # what is described is what will stand, also where it is left alone
    view = view_of(publication.lies_at(parquet), corpora)
    _keep_or_write(publication, sidecars.related_clips, view.related.as_document())
    _keep_or_write(publication, sidecars.croissant, croissant(publication, jsonl, parquet, version, view.licences))
    absent = tuple(s.corpus or context.root.shown(s.path) for s in settings.shards if not s.path.is_file())
    arguments = settings.by_name(context.root)
    manifest = write_manifest(
        publication,
        settings.manifest_out or manifest_path(jsonl),
        Manifest(
            schema=MANIFEST_SCHEMA,
            body={
                **report.as_dict(),
                **view.as_dict(),
                "corpus_source_overrides": arguments["corpus_source_overrides"],
                "absent": list(absent),
                "data_version": version,
            },
            args=with_origins(arguments, settings.defaults(context.root)),
            inputs=inputs,
            outputs={"unified_corpus": jsonl, "unified_corpus_parquet": parquet, **vars(sidecars)},
        ),
        context,
    )
    return UnifiedCorpus(jsonl, parquet, sidecars, view, report, absent, manifest, version)


def _check_targets(settings: UnifiedSettings, root: DataRoot) -> None:
    """SettingsError where an output that was stated, or a file beside it, would replace what is no unified corpus."""
    manifest = settings.manifest_out or manifest_path(settings.output)
    usual = settings.output == root.unified_corpus()

    def is_written(path: Path) -> bool:
        return is_written_for(manifest, STAGE, path, root.shown)

    sidecars = Sidecars.beside(settings.output)
    beside = {
        "the Parquet file beside output": settings.output.with_suffix(".parquet"),
        "the related clips beside output": sidecars.related_clips,
        "the Croissant file beside output": sidecars.croissant,
    }
    other = why_other_manifest(STAGE, settings.output, root.shown)
    check_targets(
        STAGE,
        [
            OwnTarget("output", settings.output, STAGE, usual, is_own=is_written),
            *(OwnTarget(name, path, STAGE, usual, is_own=is_written) for name, path in beside.items()),
            OwnTarget("manifest_out", manifest, STAGE, usual and settings.manifest_out is None, why_not=other),
        ],
        {f"input {number}": shard.path for number, shard in enumerate(settings.shards, 1)},
    )


def _called(path: Path) -> str:
    """A shard as a person calls it: the corpus whose folder it lies in under its usual name, else its path."""
    return path.parent.name if path.parent.name.replace("-", "_") == path.stem else f"{path}"


def aggregate(
    shards: Iterable[Shard], corpora: Mapping[str, Source], now: str, workers: Workers | None = None
) -> Aggregation:
    """The rows that stand, sorted by (corpus_source, src_sha256, src), and what was counted.

    Across corpora the smallest known SD on the unified scale wins, ties by the order of ``shards``; within a corpus
    the first row wins. AggregateError where no shard exists, or one cannot be a corpus JSONL.
    """
    shards = tuple(shards)
    present = [shard for shard in shards if shard.path.is_file()]
    if absent := [_called(shard.path) for shard in shards if shard not in present]:
        # One short line: most people have few of the corpora.
        _log.info("unified_corpus: absent: %s (vqa-assets status --all says what each needs)", named_or_counted(absent))
    if not present:
        raise AggregateError(
            "no input JSONL files exist",
            found=f"looked at {', '.join(str(s.path) for s in shards) or 'nothing'}",
            expected="at least one corpus JSONL",
            next_step=Make("corpus_jsonl", " for a corpus first"),
        )
    report = AggregateReport(inputs_seen=len(present), inputs_missing=len(shards) - len(present))
    # a shard after the other: only its records are in memory, and what the index keeps of them
    builder = IndexBuilder(corpora, report)
    for shard in present:
        opened = OpenedShard.of(shard.path)
        scans = list((workers or ThisProcess()).map(scan, pieces_of(opened)))
        builder.add(Records.joined(opened, scans, shard.corpus, corpora), shard.scales)
    rows = _standing_rows(builder, report, now)
    report.reconcile()
    if not len(rows.entries):
        raise AggregateError(
            "unified_corpus: no row is left",
            found=f"{report.rows_in} rows in, {report.dropped_unknown_corpus} of an unknown corpus, "
            f"{report.dropped_bad_scale} outside their scale",
            expected="at least one clip",
            next_step="the earlier output is kept; the log names file and line of each dropped row",
        )
    return Aggregation(rows, report)


def _standing_rows(builder: IndexBuilder, report: AggregateReport, now: str) -> Block:
    """The rows that stand, sorted; the others are counted in the report."""
    entries = builder.entries()
    judged = standing(entries)
    names, shards, scales = builder.names, tuple(builder.shards), builder.scales
    further = builder.further
    # by the corpora's names; within a corpus the entries are by digest already
    ranks = np.argsort(np.argsort(np.array(names, str))) if names else np.zeros(0, np.int64)
    corpora = ranks.astype(np.uint16)[entries["corpus"][judged.positions]]
    rows = entries[judged.positions[np.argsort(corpora, kind="stable")]]
    counts = np.bincount(rows["corpus"], minlength=len(names)).tolist()
    report.same_corpus_dedups, report.cross_corpus_dedups = judged.same_corpus, judged.cross_corpus
    # the few examples are read and unified here, so that both sides are on one scale
    report.duplicates = tuple(
        Duplicate.of(*(read_unified(Block(entries[[place]], shards, names, scales, further, now)) for place in pair))
        for pair in judged.examples
    )
    report.rows_out = len(rows)
    report.rows_per_corpus = {name: count for name, count in sorted(zip(names, counts, strict=True)) if count}
    return Block(rows, shards, names, scales, further, now)


def write_unified_lines(rows: Block, path: Path, workers: Workers | None = None) -> tuple[Kinds, Mapping[str, int]]:
    """Write the rows as JSON Lines; every field without a column spec, with some of the kinds of its values.

    Beside it, how many further scores had to be left out, by field.
    """
    kinds: Kinds = {}
    refused: Counter[str] = Counter()
    with path.open("wb") as out:
        for written in (workers or ThisProcess()).map(write_block, blocks_of(rows)):
            out.write(written.lines)
            kinds = merged_kinds((kinds, written.kinds))
            refused.update(written.refused)
    return kinds, refused


def _write_rows(
    publication: Publication, rows: Block, jsonl: Path, parquet: Path, workers: Workers
) -> tuple[str, Mapping[str, int]]:
    """Write both files, unless what stands there holds the same rows.

    Their data version, and the further scores that were left out.
    """
    table, lines = publication.draft(parquet), publication.draft(jsonl)
    kinds, refused = write_unified_lines(rows, lines, workers)
    specs = unified_corpus_of(scale.name for scale in rows.scales)

    def sha256() -> str:
        return publication.content(jsonl).sha256

    version = write_table(sha256, lines, table, kinds, partial(place_of, rows), specs)
    if stands(jsonl, parquet, version):
        publication.keep(parquet)
        publication.keep(jsonl)
    return version, refused


def _keep_or_write(publication: Publication, path: Path, document: Mapping[str, Any]) -> None:
    """Write a sidecar, unless the file holds the same bytes already."""
    content = json_bytes(document)
    if path.is_file() and path.read_bytes() == content:
        publication.keep(path)
    else:
        publication.write(path, content)
