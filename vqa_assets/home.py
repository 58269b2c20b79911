"""``python -m vqa_assets.home``: prepares a Dagster home, as often as you like: folder, dagster.yaml, storage, limits.

Processes that first meet in a fresh home make its storage at the same time, and may ruin it for good (a fault of
Dagster's): let this command meet it first. What somebody set there already is left as it is.

The home belongs to the data root: where ``DAGSTER_HOME`` names no other, every command of ours keeps its runs there.
"""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import yaml
from alembic.util import CommandError
from filelock import FileLock, Timeout
from sqlalchemy.exc import SQLAlchemyError

from vqa_assets.errors import SettingsError, VqaError
from vqa_assets.pool_limits import set_missing_limits
from vqa_assets.printing import tell, tell_error
from vqa_assets.settings import typed_path
from vqa_assets.tables.files import write_bytes
from vqa_assets.tables.paths import DataRoot, shipped

SETTINGS, POSTGRES = "dagster.yaml", "deploy/storage-postgres.yaml"
LOCK_NAME = ".home.lock"
VARIABLE, FOLDER = "DAGSTER_HOME", ".dagster"
"""The environment's name of a home, and the folder of the data root that is one where the environment names none."""
LONGEST_WAIT_S = 300.0
"""A migration of a long history takes minutes; whoever else prepares the same home waits for it."""
UNUSABLE = (CommandError, SQLAlchemyError, dg.DagsterError, yaml.YAMLError, OSError)
"""What Dagster raises where it cannot open a home."""


@dataclass(frozen=True)
class PreparedHome:
    """A home that any number of processes may open at once. ``limits`` are those of the pools, runs at once."""

    folder: Path
    wrote_settings: bool
    migrated: bool
    limits: dict[str, int]

    def lines(self) -> list[str]:
        """What was done, for people."""
        limits = ", ".join(f"{pool}: {limit} at once" for pool, limit in self.limits.items())
        settings = "written" if self.wrote_settings else "left as it was"
        storage = "migrated" if self.migrated else "up to date"
        return [f"{self.folder}: {SETTINGS} {settings}, storage {storage}, {limits}"]


def home_of(root: DataRoot) -> Path:
    """The home of a data root's runs: what ``$DAGSTER_HOME`` names, else ``<root>/.dagster``."""
    named = os.environ.get(VARIABLE)
    return typed_path(named).absolute() if named else root.path / FOLDER


def instance_of(root: DataRoot) -> dg.DagsterInstance:
    """The instance in the home of a data root, prepared; SettingsError where there can be none."""
    home = prepare_home(home_of(root))
    try:
        return dg.DagsterInstance.from_config(str(home.folder))
    except UNUSABLE as error:
        raise unusable(home.folder, error) from error


def prepare_home(folder: Path, *, postgres: bool = False) -> PreparedHome:
    """Make or complete a Dagster home, alone with it; SettingsError where it cannot be one.

    With ``postgres`` a home without settings gets some that keep runs in PostgreSQL; those that are there stand.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / LOCK_NAME, timeout=LONGEST_WAIT_S):
            wrote_settings = _write_settings(folder, (SETTINGS, POSTGRES) if postgres else (SETTINGS,))
            # Opening makes what is not there: the tables of all three storages, at this version.
            with dg.DagsterInstance.from_config(str(folder)) as instance:
                migrated = _migrate(instance)
                return PreparedHome(folder, wrote_settings, migrated, set_missing_limits(instance))
    except Timeout as error:
        raise SettingsError(
            f"the Dagster home {folder}",
            found=f"another process prepares it and did not end within {LONGEST_WAIT_S:g} s",
            next_step="wait for it, or stop it",
        ) from error
    except UNUSABLE as error:
        raise unusable(folder, error) from error


def _write_settings(folder: Path, names: Sequence[str]) -> bool:
    """Put our settings, all ``names`` one after the other, into a home that has none; whether they were written."""
    target = folder / SETTINGS
    if target.is_file():
        return False
    ours = [shipped(name) for name in names]
    for path in ours:
        if not path.is_file():
            raise SettingsError(
                f"{target}",
                found=f"nothing there, and no {path}",
                expected="the package as pip installs it, or in a checkout of its repository",
                next_step=f"install it again, or copy {path.name} from the repository into the home",
            )
    write_bytes(target, b"".join(path.read_bytes() for path in ours))
    return True


def _migrate(instance: dg.DagsterInstance) -> bool:
    """Bring a storage of an older version up to date; whether that was needed."""
    storages = (instance.run_storage, instance.event_log_storage, instance.schedule_storage)
    versions = [storage.alembic_version() for storage in storages if storage is not None]
    if all(version is None or version[0] == version[1] for version in versions):
        return False
    instance.upgrade()
    return True


def _reason(error: Exception) -> str:
    """What is wrong, without the whole schema that Dagster puts before it."""
    if isinstance(error, dg.DagsterInvalidConfigError):
        told = sorted(one.message for one in error.errors)
        unset = [found[1] for one in told if (found := re.search(r'environment variable "(\w+)" which is not', one))]
        if unset:
            return f"the environment lacks {', '.join(unset)}"
        return "; ".join(one.partition("\n")[0] for one in told)
    return str(getattr(error, "strerror", None) or error)


def unusable(folder: Path, error: Exception) -> SettingsError:
    """What to say of a home that cannot be opened, one of the ``UNUSABLE``."""
    name = getattr(error, "filename", None) or f"the Dagster home {folder}"
    torn = "more than one head" in str(error)
    return SettingsError(
        f"{name}",
        found=" ".join(_reason(error).split())[:300],
        expected="a folder that can be written, with settings and a storage that Dagster can open",
        next_step="processes that met in it before it was prepared ruined its storage: move its folders history and "
        "schedules away (the record of runs, no artefact), then prepare it again"
        if torn
        else f"correct what it names in {folder / SETTINGS}, or its permissions, then prepare it again",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit status 0 where the home is ready, 1 where there is none, or none that can be used."""
    parser = argparse.ArgumentParser(prog="python -m vqa_assets.home", description=__doc__)
    parser.add_argument("folder", nargs="?", help="the home (default: $DAGSTER_HOME, else <data root>/.dagster)")
    parser.add_argument(
        "--postgres",
        action="store_true",
        help="a home without settings keeps its runs in PostgreSQL (DAGSTER_PG_HOST, _USERNAME, _PASSWORD, _DB)",
    )
    options = parser.parse_args(arguments)
    named = options.folder or os.environ.get(VARIABLE)
    try:
        folder = typed_path(named).absolute() if named else home_of(DataRoot.resolve(None))
        home = prepare_home(folder, postgres=options.postgres)
    except VqaError as error:
        tell_error(error)
        return 1
    tell("\n".join(home.lines()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
