"""When an ingest need not run: only where everything is as the last one left it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vqa_assets.clips.hub import HubAccess
from vqa_assets.ingest.gather import Services
from vqa_assets.ingest.run import ingest_corpus
from vqa_assets.ingest.settings import resolve
from vqa_assets.ingest.unchanged import UnchangedCorpus, unchanged_corpus
from vqa_assets.provenance import RunContext
from vqa_assets_tests.shared.fakes import SmallCorpus

ROWS = [("a.mp4", "", 3, 0.5, 5), ("b.mp4", "", 4, 0.5, 5), ("gone.mp4", "", 2, 0.5, 5)]


@pytest.fixture
def ingested(corpus: SmallCorpus) -> SmallCorpus:
    """Two clips and a row without one, ingested by a run of Dagster."""
    corpus.annotate(ROWS)
    corpus.drop("ingest.toml", "min_rows = 1\n")
    for name in ("a.mp4", "b.mp4"):
        corpus.stage(name, name.encode() * 9)
    ingest(corpus, run_id="one")
    return corpus


def ingest(corpus: SmallCorpus, **dagster: str) -> None:
    resolved = resolve(corpus.corpus, {}, corpus.root.ingest_toml(corpus.corpus))
    services = Services(corpus.prober, corpus.downloader, corpus.pool)
    ingest_corpus(corpus.corpus, resolved, services, RunContext(corpus.root, dagster, Path(__file__)))


def unchanged(corpus: SmallCorpus, **settings: object) -> UnchangedCorpus | None:
    resolved = resolve(corpus.corpus, settings, corpus.root.ingest_toml(corpus.corpus))
    return unchanged_corpus(corpus.corpus, resolved, corpus.root, HubAccess())


def test_what_was_just_ingested_is_unchanged_and_looking_writes_nothing(ingested: SmallCorpus) -> None:
    before = {path: path.stat().st_mtime_ns for path in ingested.root.path.rglob("*")}
    found = unchanged(ingested)
    assert found is not None
    assert (found.rows, found.layout.output) == (2, ingested.root.corpus_jsonl(ingested.corpus))
    assert {path: path.stat().st_mtime_ns for path in ingested.root.path.rglob("*")} == before


def touched(corpus: SmallCorpus) -> None:
    os.utime(corpus.folder / "clips" / "a.mp4", (1, 1))


@pytest.mark.parametrize(
    "change",
    [
        touched,
        lambda corpus: (corpus.folder / "clips" / "b.mp4").unlink(),
        lambda corpus: corpus.stage("gone.mp4", b"it came"),
        lambda corpus: corpus.stage("new.mp4", b"no row names it"),
        lambda corpus: corpus.annotate([*ROWS[:2], ("gone.mp4", "", 2.5, 0.5, 5)]),
        lambda corpus: corpus.annotate(ROWS[:2]),
        lambda corpus: corpus.drop("ingest.toml", "min_rows = 1\nmax_rows = 1\n"),
        lambda corpus: corpus.drop("konvid_150k.jsonl", ""),
        lambda corpus: corpus.drop("konvid_150k.manifest.json", "{}"),
        lambda corpus: (corpus.folder / "konvid_150k.losses.jsonl").unlink(),
        lambda corpus: (corpus.folder / ".ingest-cache.sqlite").unlink(),
    ],
    ids=[
        "a clip was touched",
        "a clip is gone",
        "a missing clip came",
        "a clip that no row names",
        "another score",
        "a row less",
        "another setting",
        "rows are gone",
        "another manifest",
        "the losses are gone",
        "the cache is gone",
    ],
)
def test_whatever_changed_is_for_a_run(ingested: SmallCorpus, change: Callable[[SmallCorpus], object]) -> None:
    change(ingested)
    assert unchanged(ingested) is None


def test_a_run_by_other_settings_or_by_no_run_of_dagster_is_another(ingested: SmallCorpus) -> None:
    assert unchanged(ingested, max_rows=2) is None
    assert unchanged(ingested, rescan=True) is None
    (ingested.folder / "konvid_150k.manifest.json").unlink()
    ingest(ingested)
    assert unchanged(ingested) is None
