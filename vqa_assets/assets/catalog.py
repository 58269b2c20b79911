"""The corpora as Dagster sees them: one static partition each, the same definition for every per-corpus asset."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import dagster as dg

from vqa_assets.corpora import Corpus
from vqa_assets.tables.paths import DataRoot

if TYPE_CHECKING:
    from vqa_assets.ingest.layout import CorpusLayout


@dataclass(frozen=True)
class Catalog:
    """Every corpus with opinion scores, in the order that breaks ties."""

    corpora: Mapping[str, Corpus]

    @cached_property
    def partitions(self) -> dg.StaticPartitionsDefinition:
        """One partition a corpus. Every per-corpus asset uses this very definition."""
        return dg.StaticPartitionsDefinition(list(self.corpora))

    def layout(self, root: DataRoot, name: str) -> "CorpusLayout":
        """Where a corpus's files lie, as its ``ingest.toml`` says; SettingsError where that cannot be used."""
        from vqa_assets.ingest.layout import CorpusLayout

        return CorpusLayout.standing(self.corpora[name], root)

    def every(self, key: str) -> dg.AssetDep:
        """A dependency of an unpartitioned asset on all corpora of a partitioned one; absent ones are tolerated."""
        return dg.AssetDep(key, partition_mapping=dg.AllPartitionMapping())

    def some(self, key: str, corpora: tuple[str, ...]) -> dg.AssetDep:
        """The same on some corpora; those that are not declared are left out."""
        declared = [name for name in corpora if name in self.corpora]
        return dg.AssetDep(key, partition_mapping=dg.SpecificPartitionsPartitionMapping(declared))

    def same(self, key: str) -> dg.AssetDep:
        """A dependency of a partitioned asset on the same corpus of another."""
        return dg.AssetDep(key, partition_mapping=dg.IdentityPartitionMapping())
