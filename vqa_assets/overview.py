"""Where a data root stands: of each corpus what is there, what was lost, how old it is and the next step; of the whole
chain what was made of what, what failed, and what mends it.

Reads the data root and nothing else: no Dagster, no network, no clip is opened. What a stage read and wrote is in its
replay manifest, so that a table made of an earlier one is known without hashing anything.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from vqa_assets.arguments import nearest
from vqa_assets.corpora import CORPORA, ENCODE_GRID_SOURCES, EXTERNAL_SHARDS, Corpus
from vqa_assets.corpora.corpus import NO_CORPUS_FOLDERS
from vqa_assets.encode_grid.grid_files import grid_jsonl, training_corpus
from vqa_assets.errors import AnnotationError, Make, SchemaError, SettingsError, VqaError
from vqa_assets.heads.recipe import HEAD_RECIPES, corpus_head_recipe
from vqa_assets.ingest.earlier import MENDED_BY_INGEST, read_earlier
from vqa_assets.ingest.layout import ClipsOnDisk, CorpusLayout
from vqa_assets.ingest.rows import LATER_COUNTERS, LOST
from vqa_assets.ingest.settings import IngestSettings, resolve
from vqa_assets.outcomes import FailedStep, failed_steps, materialize_command
from vqa_assets.printing import cell, markdown_table
from vqa_assets.provenance import CLOCKS_DIFFER_DAYS, age_days, file_record, utc_text
from vqa_assets.tables.files import place_to_read, read_json_object
from vqa_assets.tables.paths import DataRoot, manifest_path
from vqa_assets.tables.publication import settle

WORKFLOW = "vqa-assets run"
INGEST = f"vqa-assets ingest {{name}}, or {WORKFLOW} for every corpus that is there"
_STAGE = "stage the clips that are absent, then ingest again"
NONE = "none"
"""How a next step begins where there is nothing to do."""
_TRAIN = "train a head on the labelled table"
_MADE_FROM_ROWS = ("clip_features", "mos_features", "mos_head")
"""The stages of one corpus that follow from its rows, each from the one before."""
_MADE_OF_ALL = ("cross_corpus_evaluation", "fr_training_corpus", *HEAD_RECIPES)
"""What is made again without a corpus's name, from what the stages before it leave."""
_UNKNOWN_SHA = ""


@dataclass(frozen=True)
class MadeStage:
    """A published file of the chain, by its replay manifest: its rows, when it was made, which inputs are others now.

    ``rows`` and ``made_at_utc`` are None where the manifest does not say them, or is not there: a table of one's own.
    """

    asset: str
    rows: int | None = None
    made_at_utc: str | None = None
    behind: tuple[str, ...] = ()

    def in_words(self) -> str:
        """``mos_features 120 rows, 0.1 days``, and what it is behind."""
        rows = [] if self.rows is None else [f"{self.rows} rows"]
        age = [] if self.made_at_utc is None else [_age_in_words(age_days(self.made_at_utc))]
        of_earlier = [f"of an earlier {', '.join(self.behind)}"] if self.behind else []
        return f"{self.asset} {', '.join([*rows, *age, *of_earlier])}".strip()


@dataclass(frozen=True)
class HeadStatus:
    """A head that stands: Production or Proposed, how it missed its gate, what it learned from, its verdict."""

    name: str
    status: str
    gate: str
    trained_on: str
    made: MadeStage
    verdict: str


@dataclass(frozen=True)
class Overview:
    """Where a data root stands, at a time in UTC.

    ``corpora`` are all that are declared; ``shared`` what is made of several, ``heads`` every head that stands,
    ``failed`` what our commands could not make and nothing made since, ``strangers`` folders that are no corpus, with
    the nearest corpus's name, ``next_steps`` commands, or what to do by hand, the first one first.
    """

    made_at_utc: str
    corpora: tuple["CorpusStatus", ...]
    shared: tuple[MadeStage, ...]
    heads: tuple[HeadStatus, ...]
    failed: tuple[FailedStep, ...]
    strangers: Mapping[str, str]
    next_steps: tuple[str, ...]

    @property
    def present(self) -> list["CorpusStatus"]:
        """The corpora of which anything is there."""
        return [status for status in self.corpora if status.present]

    def as_dict(self, *, absent_too: bool) -> dict[str, Any]:
        """The same for programs; of absent corpora the names only, unless they are asked for, too."""
        present = {one.name for one in self.present}
        return {
            "made_at_utc": self.made_at_utc,
            "next_steps": list(self.next_steps),
            "failed": [{**asdict(one), "title": one.title, "command": one.command} for one in self.failed],
            "corpora": [asdict(one) for one in self.corpora if absent_too or one.name in present],
            "shared": [asdict(one) for one in self.shared],
            "heads": [asdict(one) for one in self.heads],
            "not_there": [one.name for one in self.corpora if one.name not in present],
            "no_corpus": dict(self.strangers),
        }

    def corpus_rows(self) -> list[dict[str, Any]]:
        """One row per corpus that is present, as a table of six columns."""
        return [
            {
                "corpus": one.name,
                "rows": _counted(one.rows, one.age_days),
                "lost": "–" if one.rows is None else one.lost_in_words(),
                "features": _stage_cell(one.made_of("clip_features")),
                "labels": _stage_cell(one.made_of("mos_features")),
                "head": next((head.status for head in self.heads if one.own_head == head.name), "–"),
            }
            for one in self.present
        ]

    def corpus_sentences(self) -> list[str]:
        """The same in a sentence each."""
        return [
            f"{row['corpus']}: rows {row['rows']}; lost {row['lost']}; features {row['features']}; "
            f"labels {row['labels']}; head {row['head']}"
            for row in self.corpus_rows()
        ]

    def head_rows(self) -> list[dict[str, Any]]:
        """One row per head, the same way."""
        return [
            {"head": head.name, "verdict": head.status, "gate": head.gate, "trained on": head.trained_on}
            for head in self.heads
        ]

    def shared_rows(self) -> list[dict[str, Any]]:
        """One row per file that is made of several corpora."""
        return [{"of all corpora": one.asset, "rows": _stage_cell(one)} for one in self.shared]

    def shared_lines(self) -> list[str]:
        """What concerns no single corpus, for people."""
        lines = [f"  {one.in_words()}" for one in self.shared]
        lines += [f"  {head.name}: {head.verdict}" for head in self.heads if not self._is_own(head)]
        lines = ["all corpora", *lines] if lines else []
        lines += [f"failed: {one.title}: {one.message}; once that is mended: {one.command}" for one in self.failed]
        lines += [f"no corpus: {self._strangers_in_words()}"] if self.strangers else []
        return lines

    def markdown(self) -> str:
        """The page: when it was made, the next step, what failed, then tables of at most six columns."""
        blocks = [f"Made at {self.made_at_utc}; `vqa-assets status` reads afresh."]
        blocks.append("\n".join(["**Next**", "", *(f"{n}. {cell(step)}" for n, step in enumerate(self.next_steps, 1))]))
        if self.failed:
            each = (
                f"- **{cell(one.title)}**: {cell(one.message)}; once that is mended: `{one.command}`"
                for one in self.failed
            )
            blocks.append("\n".join(["**Failed**", "", *each]))
        tables = (self.corpus_rows(), self.head_rows(), self.shared_rows())
        blocks += [markdown_table(rows) for rows in tables if rows]
        if self.strangers:
            blocks.append(f"Folders that are no corpus: {cell(self._strangers_in_words())}.")
        return "\n\n".join(blocks) + "\n"

    def _is_own(self, head: HeadStatus) -> bool:
        return any(one.own_head == head.name for one in self.corpora)

    def _strangers_in_words(self) -> str:
        return ", ".join(f"{name} ({like}?)" if like else name for name, like in self.strangers.items())


@dataclass(frozen=True)
class CorpusStatus:
    """One corpus as it lies under the data root. ``rows`` is None where nothing was ingested; ages are in days.

    ``annotation_file``, ``clips`` and ``lost`` are None where they are not known; ``error`` says why. ``tables`` are
    the feature table and the labelled table that are there, ``old`` is what an ingest of today would write otherwise,
    ``with_features`` are its rows in unified_features, None where that was not made; ``head`` is the verdict of its own
    head and how that stands beside baselines, ``advice`` what would make a better one. ``kept_in`` is the object store
    that its clips are kept in, which is not listed here.
    """

    name: str
    annotation_file: str | None
    clips: int | None
    rows: int | None = None
    lost: Mapping[str, int] | None = field(default_factory=dict)
    age_days: float | None = None
    ingested_at_utc: str | None = None
    scale: str | None = None
    tables: tuple[str, ...] = ()
    old: tuple[str, ...] = ()
    next_step: str = ""
    error: str = ""
    with_features: int | None = None
    advice: str = ""
    head: str = ""
    kept_in: str = ""
    made: tuple[MadeStage, ...] = ()

    @property
    def own_head(self) -> str:
        """The name of the head of this corpus alone."""
        return corpus_head_recipe(self.name).name

    def made_of(self, asset: str) -> MadeStage | None:
        """One of its stages, where that was made."""
        return next((one for one in self.made if one.asset == asset), None)

    @property
    def present(self) -> bool:
        """Whether anything of the corpus is there."""
        return bool(self.annotation_file or self.clips or self.tables or self.rows is not None or self.error)

    def lines(self) -> list[str]:
        """The status for people."""
        if not self.present:
            return [f"{self.name}: nothing there; {self.next_step}"]
        facts = {
            "annotation file": "unknown" if self.annotation_file is None else self.annotation_file or "absent",
            "clips on disk": "unknown" if self.clips is None else str(self.clips),
            "clips kept in": self.kept_in,
            "rows": self._rows_in_words(),
            "lost": self.lost_in_words() if self.rows is not None else "",
            "with features": "" if self.with_features is None else f"{self.with_features} in unified_features",
            "age": "" if self.age_days is None else _age_in_words(self.age_days),
            "scale": self.scale or "",
            "tables": ", ".join(self.tables),
            "made": "; ".join(one.in_words() for one in self.made),
            "head": self.head,
            "old": "; ".join(self.old),
            "error": self.error,
            "advice": self.advice,
            "next": self.next_step,
        }
        return [self.name, *(f"  {what + ':':<16} {fact}" for what, fact in facts.items() if fact)]

    def _rows_in_words(self) -> str:
        if self.rows is not None:
            return str(self.rows)
        return "unknown" if self.clips is None else "never ingested"

    def lost_in_words(self) -> str:
        """The rows that were lost, by counter."""
        if self.lost is None:
            return "unknown"
        return ", ".join(f"{count} {name}" for name, count in self.lost.items()) or "none"


def _age_in_words(days: float) -> str:
    return f"{days:.1f} days" if days > -CLOCKS_DIFFER_DAYS else f"{-days:.1f} days in the future: was a clock wrong?"


def status_of(corpus: Corpus, root: DataRoot, corpora: Mapping[str, Corpus] = CORPORA) -> CorpusStatus:
    """The status of one of ``corpora``; what cannot be read stands in ``error``.

    Where its ``ingest.toml`` cannot be used, the rest is that of a corpus without one.
    """
    try:
        layout, error = CorpusLayout.standing(corpus, root), ""
        settle(layout.output.parent)  # ingest.toml may have them elsewhere than the root
    except (SettingsError, OSError, RecursionError) as problem:
        error = str(problem) if isinstance(problem, VqaError) else f"{root.ingest_toml(corpus)}: {problem}"
        layout = CorpusLayout.of(corpus, resolve(corpus, {}, Path(os.devnull)).values, root)
    try:
        status = _status(corpus, root, layout)
    except (VqaError, OSError, KeyError, ValueError, TypeError, RecursionError) as problem:
        message = str(problem) if isinstance(problem, VqaError) else f"{type(problem).__name__}: {problem}"
        status = CorpusStatus(corpus.name, None, None, error=message)
    try:
        status = replace(status, with_features=_with_features(corpus, root))
    except (VqaError, OSError, ValueError, TypeError, AttributeError) as problem:
        # A file of all corpora: what is known of this one stays, and one of which nothing is there has no part in it.
        status = replace(status, error=status.error or str(problem)) if status.present else status
    try:
        status = replace(status, advice=_advice(corpus, root, corpora))
        status = replace(status, head=_head_of(corpus, root))
    except (VqaError, OSError, ValueError, TypeError, AttributeError) as problem:
        status = replace(status, error=status.error or str(problem))
    if not error and status.clips is not None:
        return status
    return replace(status, error=error or status.error, next_step="correct what the error names")


def _status(corpus: Corpus, root: DataRoot, layout: CorpusLayout) -> CorpusStatus:
    files, missing = _annotation_files(layout)
    here = layout.folder / layout.settings.clips_subdir
    on_disk = replace(layout.clips, target=here) if layout.clips.store else layout.clips
    status = CorpusStatus(
        corpus.name,
        annotation_file=", ".join(root.shown(path) for path in files),
        clips=sum(1 for _ in ClipsOnDisk(on_disk, layout.settings.clip_suffix).clips()),
        kept_in=str(layout.clips.store or ""),
        tables=tuple(path.name for path in (root.features(corpus), root.labelled(corpus)) if path.is_file()),
    )
    ingest = missing or INGEST.format(name=corpus.name)
    if not place_to_read(layout.output).is_file():  # what was never ingested has no manifest to read
        trained = bool(missing) and root.labelled(corpus).is_file()
        return replace(status, next_step=f"{_TRAIN} ({WORKFLOW})" if trained else ingest)
    try:
        earlier = read_earlier(corpus, layout)
    except VqaError as problem:
        return replace(status, lost=None, error=str(problem), next_step="correct what the error names")
    rows = len(earlier.lines) + len(earlier.damaged)
    without_scale = sum("mos_scale" not in line.row for line in earlier.lines.values())
    old = [f"{without_scale} rows do not say their scale"] if without_scale else []
    if layout.output.name == f"{corpus.name}.jsonl" != f"{corpus.stem}.jsonl":
        old.append(f"{layout.output.name} is now called {corpus.stem}.jsonl, and used as it is where it stands")
    status = replace(status, rows=rows)
    if wrong := earlier.in_words():
        error = f"{root.shown(layout.output)}: {wrong}"
        return replace(status, lost=None, error=error, next_step=f"{ingest}: {MENDED_BY_INGEST}")
    replay = root.shown(layout.manifest)
    try:
        manifest = read_json_object(layout.manifest)
        counters = {**dict.fromkeys(LATER_COUNTERS, 0), **manifest["counters"]}
        lost = {name: counters[name] for name in LOST if counters[name]}
        ingested = str(manifest["run_provenance"]["started_at_utc"])
        next_step = _next_step(corpus, manifest, layout.settings, files)
        return replace(
            status,
            lost=lost,
            age_days=round(age_days(ingested), 2),
            ingested_at_utc=ingested,
            scale=manifest["mos_scale"]["name"],
            old=tuple(old),
            next_step=ingest if without_scale and files else next_step,
        )
    except FileNotFoundError:
        old.append(f"{replay} is not there: the rows are of the older scripts, or were copied without it")
    except KeyError as problem:
        old.append(f"{replay} is of the older scripts: it does not say {problem}")
    except (VqaError, ValueError, TypeError, AttributeError) as problem:
        error = f"{replay} is no replay manifest of this version ({type(problem).__name__}: {problem})"
        return replace(status, lost=None, error=error, next_step=ingest)
    goes_on = f"{WORKFLOW} goes on from these rows; to ingest them again: {missing}"
    return replace(status, lost=None, old=tuple(old), next_step=goes_on if missing else ingest)


def _with_features(corpus: Corpus, root: DataRoot) -> int | None:
    """The corpus's rows in unified_features, by its replay manifest; None where there is none."""
    replay = manifest_path(root.unified_features())
    if not place_to_read(replay).is_file():
        return None
    rows = read_json_object(replay).get("rows_per_corpus", {})
    return int(rows.get(corpus.name, 0))


def _head_of(corpus: Corpus, root: DataRoot) -> str:
    """The verdict of the corpus's own head, by its manifest, and its SROCC minus that of each baseline."""
    from vqa_assets.heads.verdicts import PREDICTORS, differences, verdict_in_a_line, with_limits

    manifest = root.models() / f"{corpus_head_recipe(corpus.name).name}.json"
    if not manifest.is_file():
        return ""
    told = read_json_object(manifest)
    try:
        apart = {PREDICTORS[name]: with_limits(of["srocc"], of["interval"]) for name, of in differences(told).items()}
        beside = ", ".join(f"{name} {number}" for name, number in apart.items())
        return verdict_in_a_line(told) + (f" SROCC minus that of {beside}." if beside else "")
    except (KeyError, TypeError, AttributeError) as problem:
        raise SchemaError(
            root.shown(manifest),
            found=f"no usable {problem}",
            expected="a head's manifest as this version writes it",
            next_step=Make("mos_head"),
        ) from problem


def _advice(corpus: Corpus, root: DataRoot, corpora: Mapping[str, Corpus]) -> str:
    """That other corpora could help a head of this one, where its labels are few and its head has no help yet."""
    table = root.labelled(corpus)
    labelled = {one.name: root.labelled(one) for one in corpora.values()}
    if not table.is_file() or not any(path.is_file() for name, path in labelled.items() if name != corpus.name):
        return ""
    from vqa_assets.heads.help.advice import LEAST_LABELS, advice_on, could_help, labels_in
    from vqa_assets.heads.settings import TrainingSettings

    labels = labels_in(table)
    if not 0 < labels < LEAST_LABELS:
        return ""
    recipe = corpus_head_recipe(corpus.name)
    manifest = root.models() / f"{recipe.name}.json"
    if manifest.is_file() and read_json_object(manifest).get("help") is not None:
        return ""
    return advice_on(labels, could_help(recipe, TrainingSettings(), labelled))


def _annotation_files(layout: CorpusLayout) -> tuple[tuple[Path, ...], str]:
    """The annotation files, or what to do to have one."""
    try:
        return layout.annotation_files, ""
    except AnnotationError as error:
        return (), error.next_step


def _next_step(
    corpus: Corpus, manifest: Mapping[str, Any], settings: IngestSettings, annotation_files: Sequence[Path]
) -> str:
    if not annotation_files:
        return "put the annotation file back, or keep the rows as they are"
    inputs = manifest["run_provenance"]["inputs"]
    # By content: a file that was touched, or copied here, is the one that was ingested.
    ingested = {record["sha256"] for name, record in inputs.items() if name.startswith("annotation_file")}
    if {file_record(path)["sha256"] for path in annotation_files} != ingested:
        return f"the annotation file changed: {INGEST.format(name=corpus.name)}"
    counters = manifest["counters"]
    if manifest["attrition"] > settings.attrition_warn_threshold:
        return "many rows were lost to downloads: ingest again, with retry_failed for those that failed for good"
    steps = {
        "skipped_probe": "correct what kept clips from being read (a disk, rights, memory), then ingest again",
        "skipped_missing": _STAGE,
        "retained_unavailable": _STAGE,
        "skipped_too_large": "raise the cap that clips are over (max_pixels …) and ingest again, or do without them",
    }
    # Of an older version's manifest some counters are not known.
    return next((step for name, step in steps.items() if counters.get(name)), NONE)


def overview_of(root: DataRoot, corpora: Mapping[str, Corpus] = CORPORA) -> Overview:
    """Where a data root stands; what cannot be read of a corpus stands in its ``error``."""
    manifests = _Manifests()
    statuses = [status_of(corpus, root, corpora) for corpus in corpora.values()]
    statuses = [replace(one, made=_made_of_corpus(corpora[one.name], root, manifests)) for one in statuses]
    shared, heads = _made_of_all(root, manifests), tuple(_heads(root, manifests))
    statuses = [_with_next_stage(one, heads) for one in statuses]
    made: dict[tuple[str, str | None], MadeStage] = {
        (one.asset, None): one for one in (*shared, *(head.made for head in heads))
    }
    made |= {(one.asset, status.name): one for status in statuses for one in status.made}
    made |= {("mos_head", one.name): made[one.own_head, None] for one in statuses if (one.own_head, None) in made}
    ingested = {one.name: one.ingested_at_utc for one in statuses if one.ingested_at_utc is not None}
    failed = tuple(one for one in failed_steps(root) if not _made_since(one, made, ingested))
    statuses = [_with_failure(one, failed) for one in statuses]
    return Overview(
        made_at_utc=utc_text(),
        corpora=tuple(statuses),
        shared=shared,
        heads=heads,
        failed=failed,
        strangers=_strangers(root, corpora),
        next_steps=tuple(_next_steps(statuses, shared, heads, failed)),
    )


class _Manifests:
    """Replay manifests as they are asked for, and the hashes of what they say was written."""

    def __init__(self) -> None:
        self._read: dict[Path, Mapping[str, Any]] = {}
        self._written: dict[str, str] = {}

    def of(self, path: Path) -> Mapping[str, Any]:
        """One manifest; empty where it is not there or nobody can read it."""
        if path not in self._read:
            try:
                document = read_json_object(path) if place_to_read(path).is_file() else {}
                run = document.get("run_provenance", {})
                for record in run.get("outputs", {}).values():
                    self._written[record["path"]] = record.get("sha256", _UNKNOWN_SHA)
            except (VqaError, OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
                document = {}  # whose it is, its corpus's status says what is wrong
            self._read[path] = document
        return self._read[path]

    def made(self, asset: str, artefact: Path, manifest: Path, rows: Sequence[str]) -> MadeStage | None:
        """A stage, None where its file is not there; ``rows`` are the names that lead to its number of rows."""
        if not place_to_read(artefact).is_file():
            return None
        document = self.of(manifest)
        run = document.get("run_provenance", {})
        try:
            count: Any = document
            for name in rows:
                count = count[name]
            inputs = run["inputs"].values()
            changed = [record["path"] for record in inputs if record["kind"] == "file" and self._is_other(record)]
            return MadeStage(asset, int(count) if rows else None, run["started_at_utc"], tuple(changed))
        except (KeyError, TypeError, ValueError, AttributeError):  # of an older version, or of nobody
            return MadeStage(asset)

    def _is_other(self, record: Mapping[str, Any]) -> bool:
        """Whether an input is another now: written again since, by a stage that said what it wrote."""
        written = self._written.get(record["path"], _UNKNOWN_SHA)
        return written not in (_UNKNOWN_SHA, record.get("sha256"))


def _made_of_corpus(corpus: Corpus, root: DataRoot, manifests: _Manifests) -> tuple[MadeStage, ...]:
    """Features and labels of one corpus, where they are there."""
    # First: what the later stages read is compared with what this one says was written.
    with suppress(VqaError, OSError, RecursionError):  # its status says so
        manifests.of(CorpusLayout.standing(corpus, root).manifest)
    features = root.features(corpus)
    made = [
        manifests.made("clip_features", features, manifest_path(features), ("counters", "rows_in")),
        manifests.made("mos_features", root.labelled(corpus), root.labelled_audit(corpus), ("output_rows",)),
    ]
    return tuple(one for one in made if one is not None)


def _made_of_all(root: DataRoot, manifests: _Manifests) -> tuple[MadeStage, ...]:
    """What is made of several corpora, and of encodes, where it is there."""
    unified, features = root.unified_corpus(), root.unified_features()
    across = root.models() / "cross_corpus_evaluation.json"
    made = [
        manifests.made("unified_corpus", unified, manifest_path(unified), ("counters", "rows_out")),
        manifests.made("unified_features", features, manifest_path(features), ("counters", "rows_out")),
        manifests.made("cross_corpus_evaluation", across, across, ()),
    ]
    grids = [(f"encode_grid_jsonl [{name}]", grid_jsonl(root, one)) for name, one in ENCODE_GRID_SOURCES.items()]
    for asset, rows in (*grids, ("fr_training_corpus", training_corpus(root))):
        made.append(manifests.made(asset, rows, manifest_path(rows), ("counters", "rows_out")))
    return tuple(one for one in made if one is not None)


def _heads(root: DataRoot, manifests: _Manifests) -> Iterator[HeadStatus]:
    """Every head that stands in the models' folder, by its name; what is no head's manifest is passed over."""
    from vqa_assets.heads.verdicts import verdict_in_a_line

    for path in sorted(root.models().glob("*.json")):
        document = manifests.of(path)
        try:
            gate = document["gate"]
            yield HeadStatus(
                name=path.stem,
                status=document["status"],
                gate="passed" if gate["passed"] else _missed(gate["reasons"]),
                trained_on=", ".join(f"{facts['rows']} of {name}" for name, facts in document["corpora"].items()),
                made=manifests.made(path.stem, path, path, ()) or MadeStage(path.stem),
                verdict=verdict_in_a_line(document),
            )
        except (KeyError, TypeError, AttributeError):
            continue


def _with_next_stage(status: CorpusStatus, heads: Iterable[HeadStatus]) -> CorpusStatus:
    """The first stage that follows from a corpus's rows and is not made, or is behind, where its rows need nothing."""
    made = {one.asset: one for one in status.made}
    if head := next((head for head in heads if head.name == status.own_head), None):
        made["mos_head"] = head.made
    if status.next_step.startswith(_TRAIN) and "mos_head" in made:
        status = replace(status, next_step=NONE)
    if status.next_step != NONE:
        return status
    for at, asset in enumerate(_MADE_FROM_ROWS):
        if asset in made and not made[asset].behind:
            continue
        if asset != "mos_head" and status.rows is None:  # a labelled table of one's own is made from nothing here
            continue
        why = f"{asset} is of an earlier {', '.join(made[asset].behind)}" if asset in made else f"{asset} is not made"
        # Features without labels are of no use: both are one run.
        assets = _MADE_FROM_ROWS[at:2] or _MADE_FROM_ROWS[at:]
        command = f"{materialize_command(assets, status.name)}, or {WORKFLOW}"
        return replace(status, next_step=f"{NONE} for its rows; {why}: {command}")
    return replace(status, next_step=f"{NONE}: every stage is made from its rows")


def _made_since(
    failed: FailedStep, made: Mapping[tuple[str, str | None], MadeStage], ingested: Mapping[str, str]
) -> bool:
    """Whether a run that left no record of its own made the asset after it had failed."""
    if failed.asset in ("corpus_annotations", "corpus_jsonl"):
        return ingested.get(failed.corpus or "", "") > failed.at_utc
    one = made.get((failed.asset, failed.corpus)) or made.get((failed.title, None))
    return one is not None and one.made_at_utc is not None and one.made_at_utc > failed.at_utc


def _with_failure(status: CorpusStatus, failed: Iterable[FailedStep]) -> CorpusStatus:
    """A corpus one of whose steps failed: its next step is to mend that, whatever its files ask for."""
    first = next((one for one in failed if one.corpus == status.name and not one.too_few), None)
    if first is None or status.error:
        return status
    return replace(status, next_step=f"{first.asset} failed (below): mend what it says, then {first.command}")


def _strangers(root: DataRoot, corpora: Mapping[str, Corpus]) -> dict[str, str]:
    """The folders of a data root that are no corpus's and nothing else's, with the corpus that is called so nearly."""
    known = {*corpora, *NO_CORPUS_FOLDERS}
    try:
        folders = sorted(path.name for path in root.path.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:
        return {}
    shards = {Path(shard.jsonl).parts[0] for shard in EXTERNAL_SHARDS.values()}
    return {name: nearest(name, corpora) for name in folders if name not in known and name not in shards}


def _next_steps(
    statuses: Sequence[CorpusStatus],
    shared: Sequence[MadeStage],
    heads: Sequence[HeadStatus],
    failed: Sequence[FailedStep],
) -> Iterator[str]:
    """What to do, the first thing first: what failed, what a corpus needs, what is behind."""
    steps = [f"{one.title} failed: mend what it says, then {one.command}" for one in failed if not one.too_few]
    # What follows from a stage that failed waits for that; a head of too few clips waits for clips.
    told = {one.corpus for one in failed}
    for one in statuses:
        if one.present and one.name not in told and not one.next_step.startswith(f"{NONE}:"):
            steps.append(f"{one.name}: {one.next_step.removeprefix(f'{NONE} for its rows; ')}")
    made = {one.asset: one for one in shared}
    failed_of_all = {one.asset for one in failed if one.corpus is None}
    for asset, needs in (("unified_corpus", "rows"), ("unified_features", "mos_features")):
        waits = any(one.rows is not None and (needs == "rows" or one.made_of(needs)) for one in statuses)
        if asset in made and made[asset].behind:
            why = f"of an earlier {', '.join(made[asset].behind)}"
        elif waits and asset not in made:
            why = "not made"
        else:
            continue
        if asset not in failed_of_all:
            steps.append(f"{asset} is {why}: {materialize_command([asset], None)}, or {WORKFLOW}")
    for stage in (*shared, *(head.made for head in heads)):
        if stage.behind and stage.asset in _MADE_OF_ALL and stage.asset not in failed_of_all:
            why = f"of an earlier {', '.join(stage.behind)}"
            steps.append(f"{stage.asset} is {why}: {materialize_command([stage.asset], None)}, or {WORKFLOW}")
    if not any(one.present for one in statuses):
        steps.append("drop a corpus's score file into its folder, or declare your own: vqa-assets new-corpus FILE")
    yield from steps or ["nothing: everything is made from what is there"]


def _missed(reasons: Sequence[str]) -> str:
    """The first reason why a gate was missed, and how many more there are."""
    return reasons[0] + (f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else "") if reasons else "missed"


def _counted(rows: int | None, days: float | None) -> str:
    if rows is None:
        return "–"
    return f"{rows}" + ("" if days is None else f", {_age_in_words(days)}")


def _stage_cell(made: MadeStage | None) -> str:
    if made is None:
        return "–"
    rows = "there" if made.rows is None else f"{made.rows}"
    return f"{rows}, of earlier rows" if made.behind else rows
