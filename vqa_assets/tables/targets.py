"""Before a stage writes: no file is replaced that a setting named by mistake.

A stage replaces what it wrote itself, as ``makers`` says, or as the file's own content does where nothing else can. Its
default places are its own. Everything else that stands at a place which a setting names stays, and the run fails.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqa_assets.errors import SchemaError, SettingsError
from vqa_assets.settings import fits_a_disk
from vqa_assets.tables.files import read_json_object
from vqa_assets.tables.formats import schema_of
from vqa_assets.tables.makers import Wrote, made_by, refuse_newer


@dataclass(frozen=True)
class OwnTarget:
    """A file that a stage is to write, and the setting that names it, or that the place follows from.

    ``usual`` where it is the stage's default place: what stands there is the stage's. ``is_own`` looks at a file of
    which nothing says who made it; ``why_not`` says why one that this stage wrote is another's all the same, and
    ``edited`` whether the stage takes in what a person changed in it.
    """

    setting: str
    path: Path
    stage: str
    usual: bool = False
    edited: bool = False
    is_own: Callable[[Path], bool] = lambda _: False
    why_not: Callable[[Path], str] = lambda _: ""


def check_targets(what: str, targets: Iterable[OwnTarget], inputs: Mapping[str, Path]) -> None:
    """SettingsError where a target is an input (use → path), another target, a folder, or a file of somebody else.

    ``what`` is the stage or the corpus, for the message. Links and spellings hide nothing. NewerFormatError where a
    later version wrote what stands there.
    """
    roles = {place: use for use, path in inputs.items() for place in _places(path)}
    for target in targets:
        role = next((roles[place] for place in _places(target.path) if place in roles), "")
        why = f"which is {role}, too" if role else ""
        if not fits_a_disk(target.path):  # one that follows from a setting may be longer than what is stated
            why = "a path that no disk can hold"
        if not why and not target.usual:  # at its usual place a stage says in its own words what is in the way
            why = _why_foreign(target)
        if why:
            raise SettingsError(
                f"{what}: {target.setting}",
                found=f"{target.path}, {why}",
                expected=f"a new file, or one that {target.stage} wrote at this place",
                next_step="name another path, or move that file away; it was left as it is",
            )
        roles |= dict.fromkeys(_places(target.path), target.setting)


def is_written_for(manifest: Path, stage: str, path: Path, shown: Callable[[Path], str]) -> bool:
    """Whether a replay manifest of the stage says that it wrote the file at ``path``."""
    try:
        document = read_json_object(manifest)
    except (OSError, SchemaError):
        return False
    said = schema_of(document)
    return said is not None and said[0] == stage and shown(path) in _outputs(document)


def why_other_manifest(stage: str, output: Path, shown: Callable[[Path], str]) -> Callable[[Path], str]:
    """For a replay manifest's target: why the one that stands there is another artefact's."""

    def why(manifest: Path) -> str:
        ours = is_written_for(manifest, stage, output, shown)
        return "" if ours else f"which is the manifest of another file than {shown(output)}"

    return why


def _outputs(document: Mapping[str, Any]) -> list[str]:
    try:
        return [str(record["path"]) for record in document["run_provenance"]["outputs"].values()]
    except (KeyError, TypeError, AttributeError):
        return []


def _why_foreign(target: OwnTarget) -> str:
    """Why the file that stands there is not the target's own; empty where it is, or where nothing is lost."""
    path = target.path
    if not os.path.lexists(path) or (path.is_file() and not path.stat().st_size):
        return ""
    if not path.is_file():
        return "which is a folder" if path.is_dir() else "which is no plain file"
    refuse_newer(path)
    made = made_by(path)
    if made is not None and made.stage != target.stage:
        return f"which {made.stage} wrote"
    if made is None and not target.is_own(path):
        return f"of which nothing says that {target.stage} wrote it"
    if made is not None and made.content is Wrote.CHANGED and not target.edited:
        return f"which was changed since {target.stage} wrote it ({made.said_by.name} says so)"
    return target.why_not(path)


def _places(path: Path) -> list[object]:
    """By what a file is known, however it is spelled: where it is found, and which one it is on its disk."""
    places: list[object] = [os.path.realpath(path)]
    try:
        status = path.stat()
    except OSError:
        return places
    return [*places, (status.st_dev, status.st_ino)]
