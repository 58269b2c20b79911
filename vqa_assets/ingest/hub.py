"""Rows whose clips lie in a dataset on the Hugging Face Hub get their addresses there.

The dataset's files are taken as if they lay in the folder of the clips: ``naming`` says which one is a row's, and the
clip gets its name. How the Hub is asked is in ``clips.hub``, fetching in ``clip_task``.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vqa_assets.annotations.rows import VIDEO_SUFFIXES, AnnotationRow, leaves_folder
from vqa_assets.clips.hub import HubAccess, HubDataset, open_dataset, repository_and_revision
from vqa_assets.errors import DownloadError, SchemaError
from vqa_assets.ingest.layout import ClipsOnDisk, FoundFile
from vqa_assets.ingest.naming import named_on_disk, score_drop
from vqa_assets.ingest.settings import IngestSettings
from vqa_assets.printing import logger
from vqa_assets.tables.files import read_json_object

_FILES_SHOWN = 3
_log = logger("vqa_assets.ingest")


@dataclass(frozen=True)
class HubClips:
    """What the Hub gave a run: the rows, and what the replay manifest says of the dataset (empty: none is declared).

    ``refused`` is why it gave nothing to those that wait for it; ``without`` is said of a row that it has no file for.
    """

    rows: tuple[AnnotationRow, ...] = ()
    record: Mapping[str, object] = field(default_factory=dict)
    refused: DownloadError | None = None
    without: str = ""


def rows_with_hub_addresses(
    rows: tuple[AnnotationRow, ...],
    run: Sequence[AnnotationRow],
    disk: ClipsOnDisk,
    settings: IngestSettings,
    access: HubAccess,
    manifest: Path,
) -> HubClips:
    """The rows, those of the run without clip and address with the name and address that the dataset has for them.

    The Hub is asked only where a row waits for it. ``manifest`` is the earlier run's: the commit that it names stands.
    """
    if not settings.hf:
        return HubClips(rows)
    repository, revision = repository_and_revision(settings.hf)
    record: dict[str, object] = {"repository": repository, "revision": revision or None, "commit": None}
    earlier = _earlier_record(manifest)
    if all(earlier.get(name) == record[name] for name in ("repository", "revision")):
        record["commit"] = earlier.get("commit")
    waiting = {
        row.src
        for row in run
        if not (row.problem or row.repeats or row.url) and not disk.holds(row.src, score_drop(row))
    }
    if not waiting:
        return HubClips(rows, record)
    try:
        dataset = open_dataset(settings.hf, access, str(record["commit"] or ""))
    except DownloadError as error:
        _log.warning("%s: %d clips wait for it: %s", settings.hf, len(waiting), error.reason)
        return HubClips(rows, record, refused=error)
    record["commit"] = dataset.commit
    addressed = _addressed(rows, waiting, dataset, settings.clip_suffix)
    found = sum(bool(new.url) for row, new in zip(rows, addressed, strict=True) if row.src in waiting)
    _log.info(
        "%s at commit %s: %d files, %d of the %d clips that are not here",
        repository,
        dataset.commit,
        len(dataset.names),
        found,
        len(waiting),
    )
    shown = ", ".join(dataset.names[:_FILES_SHOWN])
    without = f", nor a file in {repository} on the Hugging Face Hub (there lie {shown or 'none'})"
    return HubClips(addressed, record, without=without)


def _addressed(
    rows: tuple[AnnotationRow, ...], waiting: Collection[str], dataset: HubDataset, suffix: str
) -> tuple[AnnotationRow, ...]:
    files = _FilesOnHub(dataset)
    # All rows take part: a file that another row names is none of the waiting ones'.
    named = named_on_disk(rows, files, suffix).rows
    return tuple(
        replace(new, url=dataset.address_of(new.src)) if row.src in waiting and files.holds(new.src) else row
        for row, new in zip(rows, named, strict=True)
    )


def _earlier_record(manifest: Path) -> Mapping[str, object]:
    """What the earlier run's manifest says of the dataset; empty where there is none, or it cannot be read."""
    try:
        record = read_json_object(manifest).get("hub") if manifest.is_file() else None
    except SchemaError:
        return {}
    return record if isinstance(record, dict) else {}


class _FilesOnHub:
    """A dataset's files, as ``naming`` asks for them."""

    def __init__(self, dataset: HubDataset) -> None:
        self._names = {name for name in dataset.names if not leaves_folder(name)}

    def file_of(self, src: str, score_drop: str = "") -> FoundFile | None:  # noqa: ARG002 - it has no drops' folders
        return (Path(), src) if src in self._names else None

    def holds(self, src: str, score_drop: str = "") -> bool:  # noqa: ARG002
        return src in self._names

    def clips(self, but: Collection[FoundFile] = ()) -> Iterator[FoundFile]:
        for name in sorted(self._names):
            if (Path(), name) not in but and name.lower().endswith(VIDEO_SUFFIXES):
                yield Path(), name
