"""The data root, resolved when it is used: the resource's path, else ``$VQA_DATA_ROOT``, else ``data``."""

import dagster as dg
from pydantic import Field

from vqa_assets.store.paths import DataRoot


class DataRootResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Where every artefact lies."""

    path: str | None = Field(
        default=None,
        description="Folder of all corpora. Default: $VQA_DATA_ROOT, else data under the working directory.",
    )

    def root(self) -> DataRoot:
        """The data root; SettingsError where the folder is not there."""
        return DataRoot.resolve(self.path)
