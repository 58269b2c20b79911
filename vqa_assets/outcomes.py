"""What became of the steps that our commands ran: those that failed, until they succeed. ``status`` and the overview
read it, without Dagster.

The record is a hidden file of the data root. Runs that are started elsewhere (the web UI, sensors) leave none: whoever
reads it compares its times with what was made since.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

from vqa_assets.errors import VqaError
from vqa_assets.provenance import utc_text
from vqa_assets.tables.files import read_json_object, write_json
from vqa_assets.tables.paths import DataRoot

SCHEMA = "failed-steps-v1"
_NAME, _LOCK = ".failed-steps.json", ".failed-steps.lock"
_LONGEST_WAIT_S = 10.0


@dataclass(frozen=True)
class FailedStep:
    """An asset (of one corpus) that a command could not make: when, and in which words its run ended.

    ``too_few`` says that nothing is wrong but the number of clips: a head of a corpus with three contents.
    """

    asset: str
    corpus: str | None
    at_utc: str
    message: str
    too_few: bool = False

    @property
    def title(self) -> str:
        """The asset and its corpus: ``mos_head [konvid-150k]``."""
        return self.asset + (f" [{self.corpus}]" if self.corpus else "")

    @property
    def command(self) -> str:
        """What is typed once the reason is mended."""
        if self.asset in ("corpus_annotations", "corpus_jsonl"):
            return f"vqa-assets ingest {self.corpus}"
        return materialize_command([self.asset], self.corpus)


def materialize_command(assets: Sequence[str], corpus: str | None) -> str:
    """The command that makes assets, of one corpus or of all."""
    return f"vqa-assets materialize {' '.join(assets)}" + (f" --partition {corpus}" if corpus else "")


def note_outcome(
    root: DataRoot,
    assets: Iterable[str],
    corpus: str | None,
    failures: Mapping[str, str],
    too_few: Iterable[str] = (),
) -> None:
    """Note which of a step's assets failed, by their messages, and forget earlier failures of the others.

    A disk that takes no such file costs the note, and no step.
    """
    if not failures and not (root.path / _NAME).exists():
        return
    of_step, few = {(asset, corpus) for asset in assets}, set(too_few)
    try:
        with FileLock(root.path / _LOCK, timeout=_LONGEST_WAIT_S):
            before = failed_steps(root)
            kept = [one for one in before if (one.asset, one.corpus) not in of_step]
            now = utc_text()
            kept += [FailedStep(asset, corpus, now, text, asset in few) for asset, text in failures.items()]
            if kept != before:
                write_json(root.path / _NAME, {"schema": SCHEMA, "steps": [asdict(one) for one in kept]})
    except OSError:  # of the lock too
        return


def failed_steps(root: DataRoot) -> list[FailedStep]:
    """The failures that no command has mended since, the earliest first; none where the record cannot be read."""
    path: Path = root.path / _NAME
    try:
        return [FailedStep(**one) for one in read_json_object(path)["steps"]] if path.is_file() else []
    except (VqaError, OSError, KeyError, TypeError):  # it is no artefact: the next failure writes it again
        return []
