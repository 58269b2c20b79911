"""Whether an ingest would find everything as the last one left it: then there is nothing to run. Nothing is written.

As sure as a run would be: the same bytes of the score file and of what was published, the same settings, each clip's
stamp as when it was read, and every row made again and equal. Whatever is in doubt is for a run to decide.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vqa_assets.annotations.reading import read_annotations
from vqa_assets.clips.hub import HubAccess
from vqa_assets.corpora import Corpus
from vqa_assets.errors import VqaError
from vqa_assets.ingest import cache
from vqa_assets.ingest.earlier import read_earlier
from vqa_assets.ingest.layout import CorpusLayout
from vqa_assets.ingest.plan import KnownClips, plan_ingest
from vqa_assets.ingest.progress import Progress
from vqa_assets.ingest.rows import IngestReport, Labelling, RowJudge
from vqa_assets.ingest.run import count_names
from vqa_assets.ingest.settings import IngestSettings
from vqa_assets.provenance import presentable, utc_text
from vqa_assets.provenance.verify import verify
from vqa_assets.settings import Resolved
from vqa_assets.tables.files import read_json_object, report_line
from vqa_assets.tables.lock import is_corpus_locked
from vqa_assets.tables.paths import DataRoot


@dataclass(frozen=True)
class UnchangedCorpus:
    """A corpus of which nothing changed: the rows of its JSONL, and when they were ingested (UTC, as text)."""

    layout: CorpusLayout
    rows: int
    ingested_at_utc: str


def unchanged_corpus(
    corpus: Corpus, resolved: Resolved[IngestSettings], root: DataRoot, hub: HubAccess
) -> UnchangedCorpus | None:
    """The corpus as the last run of ``corpus_jsonl`` left it; None where anything is, or may be, otherwise."""
    settings = resolved.values
    try:
        layout = CorpusLayout.of(corpus, settings, root)
        manifest = read_json_object(layout.manifest)
        if settings.fetch or is_corpus_locked(layout.folder) or not _is_same_run(manifest, corpus, resolved, root):
            return None
        if not verify(layout.manifest, root).holds:
            return None
        report = _report(corpus, settings, layout, hub)
        if report is None or report.unchanged + report.retained_outside != report.rows_out:
            return None
        if b"".join(map(report_line, report.listed())) != layout.losses.read_bytes():
            return None
        return UnchangedCorpus(layout, report.rows_out, str(manifest["run_provenance"]["started_at_utc"]))
    except (VqaError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # what is wrong there the run says, in words


def _is_same_run(
    manifest: Mapping[str, Any], corpus: Corpus, resolved: Resolved[IngestSettings], root: DataRoot
) -> bool:
    """Whether the manifest is of a run by the same settings, of a corpus declared in the same words."""
    provenance = manifest["run_provenance"]
    stated = {name: one["value"] for name, one in provenance["args"].items()}
    now = {name: one["value"] for name, one in presentable(resolved.described(), root).items()}
    facts = {"licence": corpus.licence, "citation": corpus.citation}
    return bool(
        provenance["dagster"].get("run_id") and stated == now and all(manifest[name] == facts[name] for name in facts)
    )


def _report(corpus: Corpus, settings: IngestSettings, layout: CorpusLayout, hub: HubAccess) -> IngestReport | None:
    """The counters of a run that opens no clip; None where one would have to be fetched or read."""
    annotations = read_annotations(corpus, settings, *layout.annotation_files)
    earlier = read_earlier(corpus, layout)
    read_clips, template, deaths = cache.read_only(layout.cache)
    known = KnownClips(read_clips, Progress(layout.progress).entries, template, deaths)
    if earlier.in_words():
        return None
    plan = plan_ingest(corpus, settings, layout, annotations, earlier.lines, hub, lambda: known)
    if plan.tasks or plan.hub.refused is not None:
        return None
    report = IngestReport()
    count_names(plan, report)
    RowJudge(Labelling(corpus, settings, plan.annotations, utc_text()), earlier, report, {}).judge(plan.run, plan.known)
    return report
