"""Replay manifests that a test writes by itself."""

from pathlib import Path
from typing import Any

from vqa_assets.provenance import Manifest, RunContext, write_manifest
from vqa_assets.tables.publication import publishing


def publish_manifest(path: Path, manifest: Manifest, context: RunContext) -> dict[str, Any]:
    """A manifest published alone, beside files that are there."""
    with publishing("test", path, manifest.schema) as publication:
        return write_manifest(publication, path, manifest, context)
