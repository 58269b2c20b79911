"""The stage of one corpus: its annotation file and clips become its JSONL."""

import os
from typing import TYPE_CHECKING

from vqa_assets.clips.programs import AUTO, DOWNLOADING, PROBING
from vqa_assets.clips.work import ClipPool, Observer, unobserved
from vqa_assets.corpora import Corpus
from vqa_assets.ingest.settings import IngestSettings
from vqa_assets.ingest.tools import DownloaderSource, ProberSource
from vqa_assets.provenance import RunContext
from vqa_assets.settings import Resolved
from vqa_assets.stages.run import log_level

if TYPE_CHECKING:
    from vqa_assets.ingest.run import Ingested
    from vqa_assets.ingest.tools import DownloaderDescription, ProberDescription

CORPUS_JSONL_VERSION = "1"
"""The code version of ``corpus_annotations`` and ``corpus_jsonl``."""


def ingest(
    corpus: Corpus,
    resolved: Resolved[IngestSettings],
    prober: ProberSource,
    downloader: DownloaderSource,
    pool: ClipPool,
    run: RunContext,
    observe: Observer = unobserved,
) -> "Ingested":
    """Make or refresh one corpus's JSONL, as ``ingest.run.ingest_corpus`` says; logs from the settings' level on."""
    from vqa_assets.clips.hub import HubAccess
    from vqa_assets.ingest.gather import Services
    from vqa_assets.ingest.run import ingest_corpus

    services = Services(prober, downloader, pool, observe, HubAccess.of(os.environ))
    with log_level(resolved.values.log_level):
        return ingest_corpus(corpus, resolved, services, run)


def prober_named(implementation: str = AUTO) -> "ProberDescription":
    """What probes clips; SettingsError where that names no implementation."""
    from vqa_assets.ingest.tools import ProberDescription

    return ProberDescription(PROBING.binary(implementation))


def downloader_named(implementation: str = AUTO) -> "DownloaderDescription":
    """What fetches clips; the environment that counts (``HF_TOKEN``) is this process's."""
    from vqa_assets.clips.hub import HubAccess
    from vqa_assets.ingest.tools import DownloaderDescription

    return DownloaderDescription(DOWNLOADING.binary(implementation), HubAccess.of(os.environ))
