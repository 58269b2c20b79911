"""Which formats of ours this version reads and writes, by name and number.

A file of a newer one is never read as if it were known, dropped, or overwritten. Who made a file is in ``makers``.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vqa_assets.errors import NewerFormatError

FORMATS: Mapping[str, int] = {
    "clip_features": 1,
    "corpus_jsonl": 1,
    "cross_corpus_evaluation": 1,
    "encode_grid_jsonl": 1,
    "feature_cache": 2,
    "fr_training_corpus": 1,
    "head_predictions": 1,
    "ingest_cache": 2,
    "mos_features": 1,
    "mos_head": 1,
    "mos_label_batch": 1,
    "predict": 1,
    "unified_corpus": 1,
    "unified_features": 1,
}
"""Stage or cache → the newest format of what it publishes or keeps. Caches of format 1 bore no checksums."""

DOCUMENTS: Mapping[str, tuple[str, int]] = {
    "ai-run-provenance": ("", 1),
    "clip-features-manifest": ("clip_features", 1),
    "cross-corpus-evaluation": ("cross_corpus_evaluation", 1),
    "cross-corpus-evaluation-manifest": ("cross_corpus_evaluation", 1),
    "encode-grid-manifest": ("encode_grid_jsonl", 1),
    "failed-steps": ("", 1),
    "fetch-manifest": ("fetch", 1),
    "fr-training-corpus-manifest": ("fr_training_corpus", 1),
    "judgement": ("judge", 1),
    "mos-corpus-manifest": ("corpus_jsonl", 1),
    "mos-head-manifest": ("mos_head", 1),
    "mos-label-audit": ("mos_features", 1),
    "mos-label-materializer-batch": ("mos_label_batch", 1),
    "predictions": ("predict", 1),
    "predictions-manifest": ("predict", 1),
    "related-clips": ("unified_corpus", 1),
    "training-failure": ("training", 1),
    "training-job": ("training", 1),
    "training-result": ("training", 1),
    "unified-corpus-manifest": ("unified_corpus", 1),
    "unified-corpus-parquet": ("unified_corpus", 1),
    "unified-features-manifest": ("unified_features", 1),
    "unfinished-predictions": ("predict", 1),
    "vqa-published": ("", 1),
    "vqa-publishing": ("", 1),
    "vqa-run-failure": ("", 1),
    "vqa-shared": ("", 1),
    "window-predictions": ("predict", 1),
}
"""Name of a JSON document's ``schema`` without its ``-v1`` → the stage that writes it, and the newest version."""

_SCHEMA = re.compile(r"([a-z][a-z0-9-]*)-v(\d+)")


def schema_of(document: object) -> tuple[str, int, int] | None:
    """(stage, version, newest known version) by a JSON document's ``schema``; None where it says none of ours."""
    schema = document.get("schema") if isinstance(document, Mapping) else None
    found = _SCHEMA.fullmatch(schema) if isinstance(schema, str) else None
    if found is None or found[1] not in DOCUMENTS:
        return None
    stage, newest = DOCUMENTS[found[1]]
    return stage, int(found[2]), newest


def version_of(said: object, stage: str) -> tuple[int, int]:
    """(version, newest known version) of what a stage published, by a number or the name of a schema.

    ValueError where it is neither.
    """
    by_name = schema_of({"schema": said})
    return by_name[1:] if by_name is not None else (int(str(said)), FORMATS.get(stage, 0))


def refuse_newer_document(document: Mapping[str, Any], path: Path) -> None:
    """NewerFormatError where a JSON document of ours, or the provenance in it, is of a later version."""
    for part in (document, document.get("run_provenance")):
        said = schema_of(part)
        if said is not None and said[1] > said[2]:
            raise newer_format(path, str(part["schema"]), *said[1:])  # type: ignore[index]


def newer_format(path: Path, name: str, version: int, newest: int) -> NewerFormatError:
    """The error of a file in a format that this version does not know."""
    return NewerFormatError(
        f"{path}",
        found=f"format {version} ({name}), which a later version of vqa-assets wrote",
        expected=f"format {newest} or an earlier one" if newest else "a file that this version knows",
        next_step="install that version (pip install --upgrade vqa-assets); or move the file away to have it made "
        "again by this one: it is neither read nor replaced",
    )
