"""Where one corpus's files are, from the data root and the settings. Opens no file."""

from dataclasses import dataclass
from pathlib import Path

from vqa_assets.annotations import find_annotation_file
from vqa_assets.corpora import Corpus
from vqa_assets.settings import IngestSettings
from vqa_assets.store.paths import DataRoot, manifest_path


def losses_path(output: Path) -> Path:
    """Every lost row of the last run, one JSON object a line, beside the corpus JSONL: ``<c_>.losses.jsonl``."""
    return output.with_name(f"{output.stem}.losses.jsonl")


@dataclass(frozen=True)
class CorpusLayout:
    """The paths one ingest reads and writes."""

    folder: Path
    annotation_file: Path
    clips: Path
    output: Path
    manifest: Path
    losses: Path
    progress: Path
    cache: Path

    @classmethod
    def of(cls, corpus: Corpus, settings: IngestSettings, root: DataRoot) -> "CorpusLayout":
        """The layout of one corpus; AnnotationError where its annotation file is not there."""
        folder = settings.corpus_dir or root.corpus_dir(corpus)
        output = settings.output or root.corpus_jsonl(corpus)
        return cls(
            folder=folder,
            annotation_file=find_annotation_file(corpus, folder, settings.manifest_csv),
            clips=folder / settings.clips_subdir,
            output=output,
            manifest=settings.manifest_out or manifest_path(output),
            losses=losses_path(output),
            progress=settings.progress_path or folder / ".download-progress.json",
            cache=folder / ".ingest-cache.sqlite",
        )
