"""Which files a run config may name. Opens none.

Whoever reaches the web UI states a run config; what stands in files, in the environment and on a command line is the
operator's own. A run config therefore reads and writes in the data root, in the folders that ``$VQA_ALLOW_PATHS``
lists, and where a link of the data root leads. What the platform itself is steered by it never writes.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vqa_assets.errors import SettingsError
from vqa_assets.settings import Settings, typed_path
from vqa_assets.tables.paths import DataRoot

ALLOW_NAME = "VQA_ALLOW_PATHS"
KEPT_FOLDERS = (".dagster", "corpora", "backbones")
"""The folders of the data root that only an operator writes to: runs, declarations, networks."""
_KEPT_BY_NAME = ("DAGSTER_HOME", "VQA_CORPORA_DIR", "VQA_BACKBONES_DIR")
"""The variables that say where such folders are instead."""
_STEERS = (".toml",)
_NOT_HIDDEN = {os.pardir, ".workingdir2"}
"""The latter is how the older scripts called their data root; shipped batch manifests name it."""


@dataclass(frozen=True)
class AllowedPlaces:
    """The data root, and the ``folders`` beside it that paths of a run config may lie in; all are resolved.

    ``kept`` are those below which a run config writes nothing.
    """

    root: Path
    folders: tuple[Path, ...] = ()
    kept: tuple[Path, ...] = ()

    @classmethod
    def of(
        cls, root: DataRoot, also: Iterable[Path] = (), environment: Mapping[str, str] | None = None
    ) -> "AllowedPlaces":
        """The places of a data root: what ``$VQA_ALLOW_PATHS`` lists, and folders that the operator named otherwise."""
        env = os.environ if environment is None else environment
        # Unlike in PATH an empty entry is not the working folder: it is mostly a variable that was not set.
        listed = [part for part in env.get(ALLOW_NAME, "").split(os.pathsep) if part]
        named = [env[name] for name in _KEPT_BY_NAME if env.get(name)]
        return cls(
            root=_resolved(root.path),
            folders=tuple(map(_resolved, [*map(typed_path, listed), *also])),
            kept=(
                # Of the operator's root too, where a run named a wider one.
                *(_resolved(one / name) for one in (root.path, DataRoot.named(env).path) for name in KEPT_FOLDERS),
                *(_resolved(typed_path(one)) for one in named),
            ),
        )

    def check_stated(self, settings: Settings, names: Iterable[str] | None = None, where: str = "") -> None:
        """SettingsError for the first path that a run may not name, among the settings ``names``, else all stated."""
        for stated in settings.named_paths(names):
            self.check(f"{where}: {stated.name}" if where else stated.name, stated.path, written=stated.written)

    def check(self, what: str, path: Path, *, written: bool = False) -> None:
        """SettingsError where a run may not read, or write, at this path; ``what`` is the setting that names it."""
        base = self.base_of(path)
        if base is None:
            raise SettingsError(
                what,
                found=f"{path}, which lies outside the data root {self.root}",
                expected=f"a path in the data root, or in a folder that {ALLOW_NAME} lists",
                next_step=f"set {ALLOW_NAME} to folders separated by {os.pathsep!r} where the platform is started, or "
                "link the folder into the data root",
            )
        if written and (why := self._why_kept(path, base)):
            raise SettingsError(
                what,
                found=f"{path}, which is {why}",
                expected="a path that a run config may write to: no .toml file, nothing hidden, nothing in "
                f"{', '.join(KEPT_FOLDERS)}",
                next_step="name another path; what steers the platform is written by hand",
            )

    def base_of(self, path: Path) -> Path | None:
        """The allowed folder that holds the path, resolved: root, listed folder, or what a link of the root leads to.

        None where nothing allows the path.
        """
        resolved = _resolved(path)
        for folder in (self.root, *self.folders):
            if resolved.is_relative_to(folder):
                return folder
        linked = self._linked(path)
        return linked if linked is not None and resolved.is_relative_to(linked) else None

    def _linked(self, path: Path) -> Path | None:
        """Where the link leads by which a path leaves the root, if it does so by a link that lies there."""
        absolute, leads_to = path.absolute(), None
        # Step by step, as the system goes: after a link ".." is the folder above its target, not above the link.
        place = Path(absolute.anchor)
        for part in absolute.parts[1:]:
            step = place / part
            leaves = _resolved(place).is_relative_to(self.root) and not _resolved(step).is_relative_to(self.root)
            if leaves and part != os.pardir:
                leads_to = _resolved(step)
            place = step
        return leads_to

    def _why_kept(self, path: Path, base: Path) -> str:
        """Why a run config may not write at an allowed path; empty where it may."""
        resolved, by_name = _resolved(path), self._below_root(path)
        if any(one.name.lower().endswith(_STEERS) for one in (path, resolved)):
            return "a .toml file, which holds settings or a declaration"
        # By both names: a link may hide from the one what the other shows.
        parts = {*by_name, *resolved.relative_to(base).parts} - _NOT_HIDDEN
        if any(part.startswith(".") for part in parts):
            return "hidden"
        if resolved == self.root:
            return "the data root itself, which holds what only an operator writes to"
        # Where all that is allowed lies in such a folder, the folder says nothing of what is written.
        kept = [folder for folder in self.kept if resolved.is_relative_to(folder) and not base.is_relative_to(folder)]
        if kept or (by_name and by_name[0] in KEPT_FOLDERS):
            return f"in {kept[0] if kept else by_name[0]}, which only an operator writes to"
        return ""

    def _below_root(self, path: Path) -> tuple[str, ...]:
        """The names by which the path leads on from the root; none where it is not spelled through the root."""
        absolute = path.absolute()
        above = next((one for one in (absolute, *absolute.parents) if _resolved(one) == self.root), absolute)
        return absolute.relative_to(above).parts


def _resolved(path: Path) -> Path:
    """Where the system finds it, whether anything is there or not; a circle of links is its own place."""
    return Path(os.path.realpath(path))
