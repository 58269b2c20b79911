"""``python -m vqa_assets.status``: what is there of each corpus, what was lost, how old it is, and the next step.

Reads the data root and nothing else: no Dagster, no network, no clip is opened.
"""

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from vqa_assets.arguments import CommandParser
from vqa_assets.corpora import CORPORA, Corpus
from vqa_assets.corpora.declarations import corpora_folder, with_declared
from vqa_assets.errors import AnnotationError, SchemaError, SettingsError, VqaError
from vqa_assets.ingest.earlier import MENDED_BY_INGEST, read_earlier
from vqa_assets.ingest.layout import ClipsOnDisk, CorpusLayout
from vqa_assets.ingest.rows import LATER_COUNTERS, LOST
from vqa_assets.ingest.settings import IngestSettings, resolve
from vqa_assets.printing import plain, tell, tell_error
from vqa_assets.provenance import CLOCKS_DIFFER_DAYS, age_days, file_record
from vqa_assets.tables.files import place_to_read, read_json_object
from vqa_assets.tables.paths import DataRoot, manifest_path
from vqa_assets.tables.publication import settle, settle_root

WORKFLOW = "vqa-assets run"
INGEST = f"vqa-assets ingest {{name}}, or {WORKFLOW} for every corpus that is there"
_STAGE = "stage the clips that are absent, then ingest again"
_NONE = f"none for its rows; {WORKFLOW} makes what follows from them"


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
    scale: str | None = None
    tables: tuple[str, ...] = ()
    old: tuple[str, ...] = ()
    next_step: str = ""
    error: str = ""
    with_features: int | None = None
    advice: str = ""
    head: str = ""
    kept_in: str = ""

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
            "lost": self._lost_in_words() if self.rows is not None else "",
            "with features": "" if self.with_features is None else f"{self.with_features} in unified_features",
            "age": "" if self.age_days is None else _age_in_words(self.age_days),
            "scale": self.scale or "",
            "tables": ", ".join(self.tables),
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

    def _lost_in_words(self) -> str:
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
        return replace(status, next_step=f"train a head on the labelled table ({WORKFLOW})" if trained else ingest)
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
        age = age_days(manifest["run_provenance"]["started_at_utc"])
        next_step = _next_step(corpus, manifest, layout.settings, files)
        return replace(
            status,
            lost=lost,
            age_days=round(age, 2),
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
    from vqa_assets.heads.recipe import corpus_head_recipe
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
            next_step="materialize mos_head again",
        ) from problem


def _advice(corpus: Corpus, root: DataRoot, corpora: Mapping[str, Corpus]) -> str:
    """That other corpora could help a head of this one, where its labels are few and its head has no help yet."""
    table = root.labelled(corpus)
    labelled = {one.name: root.labelled(one) for one in corpora.values()}
    if not table.is_file() or not any(path.is_file() for name, path in labelled.items() if name != corpus.name):
        return ""
    from vqa_assets.heads.advice import LEAST_LABELS, advice_on, could_help, labels_in
    from vqa_assets.heads.recipe import corpus_head_recipe
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
    return next((step for name, step in steps.items() if counters.get(name)), _NONE)


def report(statuses: Iterable[CorpusStatus], *, as_json: bool, absent_too: bool) -> str:
    """The statuses of what is present as text, or as one JSON array; of what is absent the names, last in the text.

    ``absent_too``: of what is absent, too.
    """
    ordered = sorted(statuses, key=lambda status: not status.present)
    shown = [status for status in ordered if status.present or absent_too]
    if as_json:
        return json.dumps([asdict(status) for status in shown], indent=2, ensure_ascii=False)
    lines = [line for status in shown for line in status.lines()]
    absent = [status.name for status in ordered if status not in shown]
    lines += [f"not there: {', '.join(absent)} (--all says what each needs)"] if absent else []
    return "\n".join(map(plain, lines))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit status 0 when everything could be read, 1 for a data root or a corpus that could not."""
    parser = CommandParser(prog="vqa-assets status", description=__doc__)
    parser.add_argument("--root", help="data root (default: $VQA_DATA_ROOT, else data)")
    parser.add_argument("--json", action="store_true", help="print a JSON array, one object a corpus")
    parser.add_argument("--all", action="store_true", help="also of corpora of which nothing is there")
    options = parser.parse_args(arguments)
    try:
        root = DataRoot.resolve(options.root)
        settle_root(root)
        corpora = with_declared(corpora_folder(root.path, os.environ))
        statuses = [status_of(corpus, root, corpora) for corpus in corpora.values()]
    except VqaError as error:
        tell_error(error)
        return 1
    try:
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        tell(report(statuses, as_json=options.json, absent_too=options.all), flush=True)
    except BrokenPipeError:  # whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1 if any(status.error for status in statuses) else 0


if __name__ == "__main__":
    sys.exit(main())
