"""Where one corpus's files are, from the data root and the settings. Opens none but what may be a Git-LFS pointer."""

import os
from dataclasses import dataclass
from pathlib import Path

from vqa_assets.annotations import find_annotation_files, present_annotation_files
from vqa_assets.clips.folders import ClipFolders
from vqa_assets.corpora import Corpus
from vqa_assets.errors import SettingsError
from vqa_assets.ingest.settings import IngestSettings, resolve
from vqa_assets.tables.paths import DataRoot, manifest_path

ARCHIVES = "archives"
"""The folder that a corpus's archives are fetched into."""


def losses_path(output: Path) -> Path:
    """Every lost row of the last run, one JSON object a line, beside the corpus JSONL: ``<c_>.losses.jsonl``."""
    return output.with_name(f"{output.stem}.losses.jsonl")


@dataclass(frozen=True)
class CorpusLayout:
    """The paths one ingest reads and writes."""

    folder: Path
    annotation_files: tuple[Path, ...]
    clips: ClipFolders
    output: Path
    manifest: Path
    losses: Path
    progress: Path
    cache: Path

    @classmethod
    def of(cls, corpus: Corpus, settings: IngestSettings, root: DataRoot) -> "CorpusLayout":
        """The layout of one corpus; AnnotationError where its annotation file is not there.

        SettingsError where two of its files would be one.
        """
        folder = corpus_folder(corpus, settings, root)
        output = settings.output or root.corpus_jsonl(corpus)
        layout = cls(
            folder=folder,
            annotation_files=find_annotation_files(corpus, folder, settings.manifest_csv),
            clips=ClipFolders.of(corpus, settings.clips_subdir, folder),
            output=output,
            manifest=settings.manifest_out or manifest_path(output),
            losses=losses_path(output),
            progress=settings.progress_path or folder / ".download-progress.json",
            cache=folder / ".ingest-cache.sqlite",
        )
        _refuse_one_path_for_two(layout, corpus)
        return layout


def waiting_annotation_files(corpus: Corpus, root: DataRoot) -> tuple[Path, ...]:
    """The annotation files that an ordinary run would read, as ``ingest.toml`` and the layout say; empty without any.

    SettingsError where the ``ingest.toml`` cannot be used.
    """
    settings = resolve(corpus, {}, root.ingest_toml(corpus)).values
    if settings.manifest_csv is not None:
        return (settings.manifest_csv,) if settings.manifest_csv.is_file() else ()
    return present_annotation_files(corpus, corpus_folder(corpus, settings, root))


def corpus_folder(corpus: Corpus, settings: IngestSettings, root: DataRoot) -> Path:
    """The folder of one corpus: the setting, else its place under the data root."""
    return settings.corpus_dir or root.corpus_dir(corpus)


def _refuse_one_path_for_two(layout: CorpusLayout, corpus: Corpus) -> None:
    """SettingsError where one file would overwrite another, whatever links and spellings hide it."""
    uses = [(path, "the annotation file") for path in dict.fromkeys(layout.annotation_files)]
    uses += [
        (layout.output, "output"),
        (layout.manifest, "manifest_out"),
        (layout.losses, "the file of losses beside output"),
        (layout.progress, "progress_path"),
        (layout.cache, "the ingest cache"),
    ]
    first: dict[str, str] = {}
    for path, use in uses:
        other = first.setdefault(os.path.realpath(path), use)
        if other != use:
            raise SettingsError(
                f"{corpus.name}: {other} and {use}",
                found=f"one path for both: {path}",
                expected="a path of its own for each file",
                next_step="set another output, manifest_out, progress_path or manifest_csv",
            )
