"""The data root, resolved when it is used: the resource's path, else ``$VQA_DATA_ROOT``, else ``data``."""

from contextlib import suppress

import dagster as dg
from pydantic import Field

from vqa_assets.errors import VqaError
from vqa_assets.tables.lock import hold_run
from vqa_assets.tables.paths import DataRoot
from vqa_assets.tables.publication import settle_root


class DataRootResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Names the folder that every corpus, table and head lies in."""

    path: str | None = Field(
        default=None,
        description="Folder of all corpora. Default: $VQA_DATA_ROOT, else data under the working directory.",
    )

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Show that the run lives from its beginning on, before the first asset of it does anything.

        What a killed run left half published is settled before this one reads anything.
        """
        if context.run is not None:
            with suppress(VqaError):  # whoever needs the root says what is wrong with it
                hold_run(self.root(), context.run.run_id)
                settle_root(self.root())

    def root(self) -> DataRoot:
        """The data root; SettingsError where the folder is not there."""
        return DataRoot.resolve(self.path)
