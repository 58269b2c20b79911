"""``python -m vqa_assets.status``: what is there of each corpus, what was lost, how old it is, and the next step.

Reads the data root and nothing else: no Dagster, no network, no clip is opened.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vqa_assets.clips.folders import ClipFolders
from vqa_assets.corpora import Corpus
from vqa_assets.corpora.declarations import corpora_folder, with_declared
from vqa_assets.errors import AnnotationError, SettingsError, VqaError
from vqa_assets.ingest.layout import ClipsOnDisk, CorpusLayout, corpus_folder
from vqa_assets.ingest.rows import LOST
from vqa_assets.ingest.settings import IngestSettings, resolve
from vqa_assets.provenance import file_record
from vqa_assets.tables.files import read_json_object
from vqa_assets.tables.paths import DataRoot, manifest_path

INGEST = (
    "materialize corpus_jsonl (dagster asset materialize -m vqa_assets.definitions --select corpus_jsonl "
    "--partition {name}), or python -m vqa_assets.workflow"
)
_CLOCKS_DIFFER_DAYS = 0.05
"""A file server's clock may be an hour ahead of ours: no reason to doubt it."""


@dataclass(frozen=True)
class CorpusStatus:
    """One corpus as it lies under the data root. ``rows`` is None where nothing was ingested; ages are in days.

    ``annotation_file``, ``clips`` and ``lost`` are None where they are not known; ``error`` says why. ``with_features``
    are its rows in unified_features, None where that was not made.
    """

    name: str
    annotation_file: str | None
    clips: int | None
    rows: int | None = None
    lost: Mapping[str, int] | None = field(default_factory=dict)
    age_days: float | None = None
    scale: str | None = None
    next_step: str = ""
    error: str = ""
    with_features: int | None = None

    @property
    def present(self) -> bool:
        """Whether anything of the corpus is there."""
        return bool(self.annotation_file or self.clips or self.rows is not None or self.error)

    def lines(self) -> list[str]:
        """The status for people."""
        if not self.present:
            return [f"{self.name}: nothing there; {self.next_step}"]
        facts = {
            "annotation file": "unknown" if self.annotation_file is None else self.annotation_file or "absent",
            "clips on disk": "unknown" if self.clips is None else str(self.clips),
            "rows": self._rows_in_words(),
            "lost": self._lost_in_words() if self.rows is not None else "",
            "with features": "" if self.with_features is None else f"{self.with_features} in unified_features",
            "age": "" if self.age_days is None else _age_in_words(self.age_days),
            "scale": self.scale or "",
            "error": self.error,
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
    return f"{days:.1f} days" if days > -_CLOCKS_DIFFER_DAYS else f"{-days:.1f} days in the future: was a clock wrong?"


def status_of(corpus: Corpus, root: DataRoot) -> CorpusStatus:
    """The status of one corpus; what cannot be read stands in ``error``.

    Where its ``ingest.toml`` cannot be used, the rest is that of a corpus without one.
    """
    try:
        settings, error = resolve(corpus, {}, root.ingest_toml(corpus)).values, ""
    except (SettingsError, OSError, RecursionError) as problem:
        error = str(problem) if isinstance(problem, VqaError) else f"{root.ingest_toml(corpus)}: {problem}"
        settings = resolve(corpus, {}, Path(os.devnull)).values
    try:
        status = replace(_status(corpus, root, settings), with_features=_with_features(corpus, root))
    except (VqaError, OSError, KeyError, ValueError, TypeError, RecursionError) as problem:
        message = str(problem) if isinstance(problem, VqaError) else f"{type(problem).__name__}: {problem}"
        status = CorpusStatus(corpus.name, None, None, error=message)
    if not error and status.clips is not None:
        return status
    return replace(status, error=error or status.error, next_step="correct what the error names")


def _status(corpus: Corpus, root: DataRoot, settings: IngestSettings) -> CorpusStatus:
    files, missing = _annotation_files(corpus, settings, root)
    folders = ClipFolders.of(corpus, settings.clips_subdir, corpus_folder(corpus, settings, root))
    clips = sum(1 for _ in ClipsOnDisk(folders, settings.clip_suffix).clips())
    output = settings.output or root.corpus_jsonl(corpus)
    names = ", ".join(root.shown(path) for path in files)
    if not output.is_file():  # what was never ingested has no manifest to read
        return CorpusStatus(corpus.name, names, clips, next_step=missing or INGEST.format(name=corpus.name))
    with output.open("rb") as lines:
        status = CorpusStatus(corpus.name, names, clips, rows=sum(1 for _ in lines))
    replay = settings.manifest_out or manifest_path(output)
    try:
        manifest = read_json_object(replay)
        lost = {name: manifest["counters"][name] for name in LOST if manifest["counters"][name]}
        begun = datetime.fromisoformat(manifest["run_provenance"]["started_at_utc"])
        return replace(
            status,
            lost=lost,
            age_days=round((datetime.now(UTC) - begun).total_seconds() / 86_400, 2),
            scale=manifest["mos_scale"]["name"],
            next_step=_next_step(corpus, manifest, settings, files),
        )
    except FileNotFoundError:
        error = f"{root.shown(replay)} is not there: the JSONL is from elsewhere, or of an older version"
    except (VqaError, KeyError, ValueError, TypeError, AttributeError) as problem:
        error = f"{root.shown(replay)} is no replay manifest of this version ({type(problem).__name__}: {problem})"
    return replace(status, lost=None, error=error, next_step=missing or INGEST.format(name=corpus.name))


def _with_features(corpus: Corpus, root: DataRoot) -> int | None:
    """The corpus's rows in unified_features, by its replay manifest; None where there is none."""
    replay = manifest_path(root.unified_features())
    if not replay.is_file():
        return None
    rows = read_json_object(replay).get("rows_per_corpus", {})
    return int(rows.get(corpus.name, 0))


def _annotation_files(corpus: Corpus, settings: IngestSettings, root: DataRoot) -> tuple[tuple[Path, ...], str]:
    """The annotation files, or what to do to have one."""
    try:
        return CorpusLayout.of(corpus, settings, root).annotation_files, ""
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
    if counters["skipped_missing"] or counters["retained_unavailable"]:
        return "stage the clips that are absent, then ingest again"
    return "none: materialize what follows (python -m vqa_assets.workflow)"


def report(statuses: Iterable[CorpusStatus], *, as_json: bool) -> str:
    """All statuses as text, or as one JSON array; what is absent comes last in the text."""
    if as_json:
        return json.dumps([asdict(status) for status in statuses], indent=2, ensure_ascii=False)
    ordered = sorted(statuses, key=lambda status: not status.present)
    return "\n".join(line for status in ordered for line in status.lines())


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit status 0 when everything could be read, 1 for a data root or a corpus that could not."""
    parser = argparse.ArgumentParser(prog="python -m vqa_assets.status", description=__doc__)
    parser.add_argument("--root", help="data root (default: $VQA_DATA_ROOT, else data)")
    parser.add_argument("--json", action="store_true", help="print a JSON array, one object a corpus")
    options = parser.parse_args(arguments)
    try:
        root = DataRoot.resolve(options.root)
        corpora = with_declared(corpora_folder(os.environ))
        statuses = [status_of(corpus, root) for corpus in corpora.values()]
    except VqaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    try:
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        print(report(statuses, as_json=options.json), flush=True)
    except BrokenPipeError:  # whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1 if any(status.error for status in statuses) else 0


if __name__ == "__main__":
    sys.exit(main())
