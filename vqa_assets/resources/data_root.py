"""The data root, resolved when it is used: the resource's path, else ``$VQA_DATA_ROOT``, else ``data``."""

import os
from contextlib import suppress
from typing import Any

import dagster as dg
from pydantic import Field, PrivateAttr

from vqa_assets.errors import VqaError
from vqa_assets.settings import typed_path
from vqa_assets.tables.allowed import AllowedPlaces
from vqa_assets.tables.lock import hold_run
from vqa_assets.tables.paths import DataRoot
from vqa_assets.tables.publication import settle_root

NAME = "data_root"
"""The resource's name, by which a run config speaks of it."""


class DataRootResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Names the folder that every corpus, table and head lies in."""

    path: str | None = Field(
        default=None,
        description="Folder of all corpora. Default: $VQA_DATA_ROOT, else data under the working directory. A run may "
        "name one inside that folder, or inside what VQA_ALLOW_PATHS lists.",
    )
    _is_of_run: bool = PrivateAttr(default=False)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Show that the run lives from its beginning on, before the first asset of it does anything.

        What a killed run left half published is settled before this one reads anything.
        """
        if context.run is not None:
            resources: Any = context.run.run_config.get("resources") or {}
            self._is_of_run = bool((resources.get(NAME, {}).get("config") or {}).get("path"))
            with suppress(VqaError):  # whoever needs the root says what is wrong with it
                hold_run(self.root(), context.run.run_id)
                settle_root(self.root())

    def named_root(self) -> DataRoot:
        """The root that definitions are loaded for, whether it is there or not."""
        return DataRoot(typed_path(self.path).absolute()) if self.path else DataRoot.named()

    def root(self) -> DataRoot:
        """The data root; SettingsError where the folder is not there, or a run config may not name it."""
        root = DataRoot.resolve(self.path)
        if self._is_of_run:
            # Whoever names the root allows every path below it: that is the operator's to say.
            named = DataRoot.named()
            # What a run writes lies below the root it names: an only readable folder cannot be one.
            is_other = os.path.realpath(root.path) != os.path.realpath(named.path)
            AllowedPlaces.of(named).check(f"resources: {NAME}: path", root.path, written=is_other)
        return root
