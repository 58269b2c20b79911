"""The pages on ingesting and on adding a corpus say what is so: files, counters, settings, declarations that work."""

import json
import re
from pathlib import Path
from textwrap import dedent
from typing import Any

import dagster as dg
import pytest

from vqa_assets.corpora import CORPORA, Corpus
from vqa_assets.corpora.declarations import read_declaration
from vqa_assets.corpora.raw_video import RawVideo
from vqa_assets.doc_tables import settings_table
from vqa_assets.ingest.fakes import FakeProber
from vqa_assets.ingest.rows import KEPT, LOST
from vqa_assets.ingest.settings import IngestSettings, resolve
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.fakes import KONVID, FakeDownloader, SmallCorpus
from vqa_assets_tests.shared.platform import Platform

DOCS = Path(__file__).parents[2] / "docs"
INGEST = (DOCS / "ingest.md").read_text(encoding="utf-8")
ADDING = (DOCS / "adding-a-corpus.md").read_text(encoding="utf-8")


def block(page: str, language: str) -> str:
    (found,) = re.findall(rf"^ *```{language}\n(.*?)^ *```", page, re.DOTALL | re.MULTILINE)
    return dedent(found)


def first_cells(section: str) -> str:
    rows = INGEST.split(f"## {section}")[1].split("\n## ")[0].splitlines()
    return " ".join(row.split("|")[1] for row in rows if row.startswith("| `"))


def test_the_settings_it_names_exist() -> None:
    named = set(re.findall(r"`([a-z_]+)`", first_cells("Run it differently")))
    assert {"retry_failed", "rescan", "prune", "fetch"} <= named <= set(IngestSettings.model_fields)


def test_the_table_of_settings_is_the_codes() -> None:
    assert settings_table(IngestSettings) in INGEST


def test_the_raw_video_example_is_taken_from_ingest_toml_and_from_the_run_config(tmp_path: Path) -> None:
    (tmp_path / "ingest.toml").write_text(block(INGEST, "toml"))
    in_toml = resolve(CORPORA["konvid-150k"], {}, tmp_path / "ingest.toml").values.raw_video
    (table,) = re.findall(r'"raw_video": (\{[^}]*\})', INGEST)
    in_config = resolve(
        CORPORA["konvid-150k"], {"raw_video": json.loads(table)}, tmp_path / "none.toml"
    ).values.raw_video
    assert in_toml == in_config == RawVideo(width=1920, height=1080, framerate=50.0, pix_fmt="yuv420p10le")


def test_every_file_that_an_ingest_leaves_is_named(root_path: Path) -> None:
    corpus = SmallCorpus(DataRoot(root_path), downloader=FakeDownloader({"http://h/a.mp4": b"a"}))
    corpus.annotate([("a.mp4", "http://h/a.mp4", 3, "", ""), ("b.mp4", "http://h/b.mp4", 3, "", "")])
    corpus.ingest()
    named = first_cells("What is where").replace("<corpus_>", KONVID.stem).replace("<name>", f"{KONVID.stem}.jsonl")
    left = {path.name + "/" * path.is_dir() for path in corpus.folder.iterdir()} - {"manifest.csv"}
    assert {".download-progress.json", ".ingest-cache.sqlite", "clips/"} <= left
    assert [name for name in left if f"`{name}`" not in named] == []


def test_the_sums_are_those_that_are_checked() -> None:
    rows_in, rows_out = re.findall(r"^rows_(?:in|out) +=((?:[^=`]|\n)*?)(?=\nrows_out|\n```)", INGEST, re.MULTILINE)
    told = {name: set(re.findall(r"[a-z_]+", sum_)) for name, sum_ in (("rows_in", rows_in), ("rows_out", rows_out))}
    assert told == {"rows_in": {*KEPT, *LOST}, "rows_out": {*KEPT, "retained_outside"}}


@pytest.mark.parametrize("state", [name for name in LOST if name.startswith("skipped") and name != "skipped_bad_row"])
def test_every_loss_of_a_clip_is_explained(state: str) -> None:
    assert f"`{state}`" in INGEST.split("## What is where")[0]


def declared_in_toml(folder: Path) -> Corpus:
    path = folder / "street.toml"
    path.write_text(block(ADDING, "toml"), encoding="utf-8")
    return read_declaration(path)


def declared_in_python() -> Corpus:
    names: dict[str, object] = {}
    exec(block(ADDING, "python"), names)
    (corpus,) = [value for value in names.values() if isinstance(value, Corpus)]
    return corpus


def test_both_declarations_are_good_and_free_to_be_added(tmp_path: Path) -> None:
    for corpus in (declared_in_toml(tmp_path), declared_in_python()):
        assert corpus.but() == corpus
        assert corpus.name not in CORPORA


def test_the_declared_corpus_is_fetched_from_its_bucket_and_rated_by_its_own_columns(
    tmp_path: Path, root_path: Path
) -> None:
    bodies = {f"https://example.org/street-clips/{i}.mp4": bytes([i]) for i in range(3)}
    corpus = SmallCorpus(DataRoot(root_path), downloader=FakeDownloader(bodies), corpus=declared_in_toml(tmp_path))
    corpus.drop("manifest.csv", "video,quality,place\n" + "".join(f"{i},{i + 1.5},square\n" for i in range(3)))
    corpus.ingest()
    assert [(row["src"], row["mos"], row["content_id"]) for row in corpus.rows()] == [
        (f"{i}.mp4", i + 1.5, "square") for i in range(3)
    ]


def test_the_pages_are_linked_from_the_readme() -> None:
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    assert "](docs/ingest.md)" in readme
    assert "](docs/adding-a-corpus.md)" in readme


def test_the_fakes_ingest_without_clips_and_servers(platform: Platform) -> None:
    names: dict[str, Any] = {}
    exec(block(INGEST, "python"), names)
    assert isinstance(names["defs"], dg.Definitions)
    SmallCorpus(platform.root).annotate([("a.mp4", "https://example.org/a.mp4", 3, "", "")])
    platform.resources = {"prober": FakeProber(), "downloader": names["downloader"]}
    assert platform.run("corpus_jsonl", partition=KONVID.name, min_rows=1).success
    assert names["downloader"].fetched == {"https://example.org/a.mp4": 1}
