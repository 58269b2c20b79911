"""Small unified corpora on disk, made of rows that say only what a test is about."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vqa_assets.corpora import CORPORA, EXTERNAL_SHARDS
from vqa_assets.provenance import RunContext
from vqa_assets.tables.paths import DataRoot
from vqa_assets.unified.aggregation import UnifiedCorpus, UnifiedSettings, make_unified_corpus
from vqa_assets.unified.shards import Shard

SOURCES = {**CORPORA, **EXTERNAL_SHARDS}


def clip(src: str, mos: float, corpus: str, **changes: Any) -> dict[str, Any]:
    """A row of a corpus JSONL; bytes are named by ``src`` and the corpus unless ``sha`` names them."""
    sha = changes.pop("sha", f"{corpus}/{src}")
    return {
        "src": src,
        "src_sha256": sha.encode().hex()[-64:].rjust(64, "0"),
        "src_size_bytes": 1_000,
        "width": 960,
        "height": 540,
        "framerate": 25.0,
        "duration_s": 8.0,
        "pix_fmt": "yuv420p",
        "encoder_upstream": "h264",
        "mos": mos,
        "mos_scale": SOURCES[corpus].scales[0].name if corpus in SOURCES else "1-5-acr",
        "mos_std_dev": 0.0,
        "n_ratings": 0,
        "corpus": corpus,
        "corpus_version": "1",
        "ingested_at_utc": "2026-05-08T12:00:00+00:00",
    } | changes


def unify(root: Path, *shards: Iterable[Mapping[str, Any]]) -> UnifiedCorpus:
    """The unified corpus of these shards, in this order, under a data root."""
    given = []
    for number, rows in enumerate(shards):
        path = root / f"shard{number}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        given.append(Shard(path))
    data_root = DataRoot(root)
    settings = UnifiedSettings(tuple(given), data_root.unified_corpus())
    return make_unified_corpus(settings, SOURCES, RunContext(data_root, {}, Path(__file__), started=0.0))
