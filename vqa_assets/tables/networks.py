"""Whose vectors a Parquet table holds: the networks that measured them, as the table's own metadata says.

It goes with the table wherever that is copied, labelled or joined. What a network is is ``backbones``' affair.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from vqa_assets.tables.parquet import open_parquet

NETWORKS_KEY = "vqa_assets.networks"
"""The key in a file's metadata."""
_PARQUET = (".parquet", ".pq")


@dataclass(frozen=True)
class RecordedNetwork:
    """A network as tables and manifests record it: its hash, and one of all in its declaration that changes numbers."""

    sha256: str
    declaration: str


Networks = Mapping[str, RecordedNetwork]
"""Networks by the ids of their backbones; the columns of their vectors begin with these."""


def networks_mark(networks: Networks) -> dict[str, str]:
    """The networks as metadata of a file; nothing where there is none."""
    content = {name: asdict(network) for name, network in sorted(networks.items())}
    return {NETWORKS_KEY: json.dumps(content)} if content else {}


def networks_of(path: Path) -> dict[str, RecordedNetwork]:
    """The networks whose vectors a table says it holds; none of a table that does not say.

    Those are tables of other formats, of earlier editions, and of somebody else. SchemaError as ``open_parquet``.
    """
    if path.suffix.lower() not in _PARQUET:
        return {}
    content = (open_parquet(path).metadata.metadata or {}).get(NETWORKS_KEY.encode())
    if content is None:
        return {}
    try:
        return {name: RecordedNetwork(str(one["sha256"]), str(one["declaration"])) for name, one in _objects(content)}
    except (ValueError, KeyError, TypeError, AttributeError):  # somebody's own words under our key say nothing
        return {}


def _objects(content: bytes) -> list[tuple[str, Mapping[str, object]]]:
    return list(json.loads(content).items())
