"""``overview``: where the data root stands, as the page that a person opens first. ``vqa_assets.overview`` finds it.

It writes no file: the page is the asset's metadata, and ``vqa-assets status`` reads the same afresh.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import dagster as dg

from vqa_assets.assets.catalog import Catalog
from vqa_assets.assets.metadata import Room, behind_a_click, narrow, sentences
from vqa_assets.assets.published import shown_metadata
from vqa_assets.assets.runs import dagster_failures
from vqa_assets.resources.data_root import DataRootResource

CODE_VERSION = "1"
_PASSES_BY_ITSELF = ("age_days", "made_at_utc")
"""What differs at every look though nothing changed."""
_ROOM = Room(204)
"""Beside names as short as those of this page."""
_LONGEST = 22
"""The longest word of a table of one column there."""


def make_overview_asset(catalog: Catalog, published: Iterable[dg.AssetsDefinition]) -> dg.AssetsDefinition:
    """The asset over all ``published`` ones of a catalog."""
    deps = [
        dg.AssetDep(one.key, partition_mapping=dg.AllPartitionMapping() if one.partitions_def else None)
        for one in published
    ]

    @dg.asset(
        deps=deps,
        group_name="overview",
        kinds={"markdown"},
        code_version=CODE_VERSION,
        description="Where things stand, what failed, and the next step: made at the end of every vqa-assets run.",
    )
    def overview(data_root: DataRootResource) -> dg.MaterializeResult[Any]:
        import json

        from vqa_assets.overview import overview_of
        from vqa_assets.provenance import content_version

        with dagster_failures():
            found = overview_of(data_root.root(), catalog.corpora)
        failed = (f"{one.title}: {one.message}; once mended: {one.command}" for one in found.failed)
        told = {
            "failed": failed,
            "corpora": found.corpus_sentences(),
            "heads": (f"{one.name}: {one.verdict}" for one in found.heads),
            "shared": (one.in_words() for one in found.shared),
        }
        sentences_of = {name: sentences(name, (narrow(line, _LONGEST) for line in of)) for name, of in told.items()}
        facts = json.dumps(_without_times(asdict(found)), sort_keys=True, default=str)
        return dg.MaterializeResult(
            metadata=shown_metadata(
                {
                    "made_at": found.made_at_utc.replace("T", " ").replace("+00:00", " UTC"),
                    # A text, for a table would be out of the first screen.
                    "next": narrow(_numbered(found.next_steps), _LONGEST),
                    "page": behind_a_click(found.markdown()),
                    # Sentences, which wrap: this page leaves a value half the room that others do. The tables are in
                    # the Markdown.
                    **sentences_of,
                },
                _ROOM,
            ),
            data_version=dg.DataVersion(content_version([facts.encode()])),
        )

    return overview


def _numbered(steps: Sequence[str]) -> str:
    return " ".join(f"({n}) {step}" for n, step in enumerate(steps, 1)) if len(steps) > 1 else "".join(steps)


def _without_times(value: Any) -> Any:
    """Facts without those that pass by themselves: two looks at the same things are equal."""
    if isinstance(value, dict):
        return {name: _without_times(one) for name, one in value.items() if name not in _PASSES_BY_ITSELF}
    return [_without_times(one) for one in value] if isinstance(value, list | tuple) else value
