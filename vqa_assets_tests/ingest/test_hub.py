"""Clips that lie in a dataset on the Hugging Face Hub, against a small Hub on 127.0.0.1 and by both downloaders."""

import json
import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from vqa_assets.clips.curl import CurlBinaryDownloader
from vqa_assets.clips.downloading import DownloadLimits
from vqa_assets.clips.hub import HubAccess, open_dataset
from vqa_assets.clips.libcurl import LibcurlDownloader
from vqa_assets.corpora import CORPORA
from vqa_assets.corpora.declarations import read_declaration
from vqa_assets.errors import DownloadError, IngestError, SettingsError
from vqa_assets.ingest.fakes import FakeProber
from vqa_assets.ingest.tools import DownloaderDescription
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.fakes import SmallCorpus
from vqa_assets_tests.shared.hostile_server import Exchange, HostileServer
from vqa_assets_tests.shared.hub_server import Dataset, HubServer
from vqa_assets_tests.shared.platform import Platform

pytestmark = pytest.mark.usefixtures("no_proxy")

FIRST, SECOND = "1" * 40, "2" * 40
TOKEN = "hf_secretsecret"
FILES = {
    "README.md": b"# clips",
    "Videos/a/1.mp4": b"clip one",
    "Videos/b/1.mp4": b"clip of another folder",
    "Videos/x.mov.mp4": b"clip x",
    "Videos/p#q 2.mp4": b"clip p",
}
LSVQ = CORPORA["lsvq"]


@pytest.fixture
def hub() -> Iterator[HubServer]:
    dataset = Dataset({FIRST: FILES}, {"main": FIRST, "v1": FIRST})
    with HubServer({"someone/clips": dataset}) as running:
        yield running


@pytest.fixture(
    params=[
        pytest.param(LibcurlDownloader, id="libcurl"),
        pytest.param(CurlBinaryDownloader, id="program", marks=pytest.mark.needs_tool("curl")),
    ]
)
def ingesting(request: pytest.FixtureRequest, root_path: Path, hub: HubServer, monkeypatch: Any) -> Iterator[Any]:
    """A corpus that asks that Hub with a token, or none, and with that annotation."""
    monkeypatch.setattr("vqa_assets.ingest.gather.DownloadLimits", partial(DownloadLimits, backoff_s=0.01, retries=1))
    made = []

    def corpus(annotation: str = "name,mos\na/1,60\nx.mov,40\n", token: str = "") -> SmallCorpus:
        access = HubAccess(hub.endpoint, token)
        made.append(request.param(token_site=access.token_site()))
        one = SmallCorpus(DataRoot(root_path), downloader=made[-1], corpus=LSVQ, hub=access)
        one.drop("manifest.csv", annotation)
        return one

    yield corpus
    for downloader in made:
        downloader.close()


def test_absent_clips_are_fetched_under_the_names_that_the_dataset_has_for_them(ingesting: Any, hub: HubServer) -> None:
    corpus = ingesting("name,mos\na/1,60\nx.mov,40\np#q 2,50\n")
    run = corpus.ingest(hf="someone/clips")
    rows = {row["src"]: row for row in corpus.rows()}
    assert set(rows) == {"Videos/a/1.mp4", "Videos/x.mov.mp4", "Videos/p#q 2.mp4"}
    assert rows["Videos/a/1.mp4"]["annotated_as"] == "a/1"
    assert rows["Videos/x.mov.mp4"]["mos"] == 40
    for name in rows:
        assert (corpus.folder / "clips" / name).read_bytes() == FILES[name]
    assert run.manifest["hub"] == {"repository": "someone/clips", "revision": None, "commit": FIRST}
    assert f"/datasets/someone/clips/resolve/{FIRST}/Videos/a/1.mp4" in hub.requests
    before = hub.requests.copy()
    again = corpus.ingest(hf="someone/clips")
    assert again.report.unchanged == 3
    assert again.manifest["hub"] == run.manifest["hub"]
    assert hub.requests == before, "nothing is absent: nobody is asked"


def test_a_branch_is_taken_for_one_commit_and_stays_it_until_another_revision_is_declared(
    ingesting: Any, hub: HubServer
) -> None:
    corpus = ingesting()
    assert corpus.ingest(hf="someone/clips@main").manifest["hub"]["commit"] == FIRST
    hub.datasets["someone/clips"].commits[SECOND] = {"Videos/a/1.mp4": b"cut anew", "new.mp4": b"new"}
    hub.datasets["someone/clips"].branches["main"] = SECOND
    corpus.drop("manifest.csv", "name,mos\na/1,60\nx.mov,40\nnew,50\n")
    stays = corpus.ingest(hf="someone/clips@main")
    assert stays.manifest["hub"]["commit"] == FIRST
    assert stays.report.skipped_missing == 1
    moves = corpus.ingest(hf=f"someone/clips@{SECOND}")
    assert moves.manifest["hub"] == {"repository": "someone/clips", "revision": SECOND, "commit": SECOND}
    assert {row["src"] for row in corpus.rows()} == {"Videos/a/1.mp4", "Videos/x.mov.mp4", "new.mp4"}


def test_what_could_be_two_files_or_is_no_file_is_missing_and_told(ingesting: Any, caplog: Any) -> None:
    corpus = ingesting("name,mos\n1,60\nnowhere,50\nx.mov,40\n")
    with caplog.at_level(logging.WARNING):
        report = corpus.ingest(hf="someone/clips").report
    assert (report.written, report.skipped_missing) == (1, 2)
    assert "no file, and no URL, nor a file in someone/clips on the Hugging Face Hub" in report.losses[0].reason
    assert "README.md" in caplog.text


def test_a_row_with_an_address_or_a_clip_of_its_own_does_not_ask_the_hub(ingesting: Any, hub: HubServer) -> None:
    corpus = ingesting("name,url,mos\na/1,http://127.0.0.1:9/a.mp4,60\nb/1,,50\n")
    corpus.stage("b/1.mp4", b"staged by hand")
    assert corpus.ingest(hf="someone/clips").report.written == 1
    assert not hub.requests


@pytest.mark.parametrize(
    ("token", "dataset", "status", "words"),
    [
        ("", {"gated": True}, 401, ("is gated (HF_TOKEN is not set)", "accept its licence there")),
        ("hf_other", {"gated": True}, 403, ("is gated (HF_TOKEN is set, and has no access)", "accept its licence")),
        ("", {}, 401, ("is not there, or private (HF_TOKEN is not set)", "correct hf")),
    ],
)
def test_a_dataset_that_is_not_open_says_what_to_do_and_leaves_no_entry(
    ingesting: Any, hub: HubServer, caplog: Any, token: str, dataset: Any, status: int, words: Any
) -> None:
    hub.datasets["someone/closed"] = Dataset({FIRST: FILES}, {"main": FIRST}, (TOKEN,), **dataset)
    corpus = ingesting(token=token)
    corpus.stage("x.mov.mp4", b"staged by hand")
    with caplog.at_level(logging.WARNING):
        report = corpus.ingest(hf="someone/closed").report
    assert (report.written, report.skipped_download) == (1, 1)
    assert all(word in caplog.text and word in report.losses[0].reason for word in words)
    assert "a/1.mp4" not in corpus.progress()
    assert not any("resolve" in path for path in hub.requests), "asked once for all, not once a clip"
    opened = ingesting(token=TOKEN)
    assert opened.ingest(hf="someone/closed").report.written == 1


def test_a_run_that_the_hub_gave_nothing_is_an_error_that_says_why(ingesting: Any, hub: HubServer) -> None:
    hub.datasets["someone/closed"] = Dataset({FIRST: FILES}, {"main": FIRST}, (TOKEN,), gated=True)
    with pytest.raises(IngestError) as error:
        ingesting().ingest(hf="someone/closed", allow_empty=False)
    assert "is gated (HF_TOKEN is not set), accept its licence there and give a token of yours in HF_TOKEN" in str(
        error.value
    )


def test_the_token_goes_to_the_hub_and_to_no_other_host_log_or_file(
    ingesting: Any, hub: HubServer, server: HostileServer, caplog: Any
) -> None:
    def cdn(exchange: Exchange) -> bool:
        exchange.send("200 OK", b"clip", Content_Length=4, Content_Type="video/mp4")
        return True

    hub.cdn = server.on("/blob", cdn)
    hub.datasets["someone/clips"].opened_by, hub.datasets["someone/clips"].gated = (TOKEN,), True
    corpus = ingesting(f"name,url,mos\na/1,,60\nother,{server.on('/other', cdn)},50\n", token=TOKEN)
    with caplog.at_level(logging.DEBUG):
        assert corpus.ingest(hf="someone/clips").report.rows_out >= 1
    assert {token for path, token in hub.authorizations} == {TOKEN}
    assert any("/resolve/" in path for path, _ in hub.authorizations)
    assert set(server.requests) == {"/blob", "/other"}
    assert not any("Authorization" in exchange.headers for exchange in server.seen)
    assert TOKEN not in caplog.text
    files = [path for path in corpus.folder.rglob("*") if path.is_file()]
    assert not [path for path in files if TOKEN.encode() in path.read_bytes()]
    assert TOKEN not in repr((corpus.hub, corpus.hub.token_site(), DownloaderDescription(None, corpus.hub)))


def test_an_address_of_the_hub_in_the_score_file_has_the_token_too_and_says_what_a_refusal_means(
    ingesting: Any, hub: HubServer
) -> None:
    hub.datasets["someone/closed"] = Dataset({FIRST: FILES}, {"main": FIRST}, (TOKEN,), gated=True)
    url = f"{hub.endpoint}/datasets/someone/closed/resolve/main/Videos/a/1.mp4"
    annotation = f"name,url,mos\na/1,{url},60\n"
    refused = ingesting(annotation).ingest().report
    assert refused.losses[0].reason.startswith("curl-rc=22: HTTP 401 Unauthorized; accept the licence")
    assert ingesting(annotation, TOKEN).ingest().report.written == 1


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("someone/clips@v9", "someone/clips has no revision v9 on the Hugging Face Hub"),
        ("nobody/clips", "is not there, or private"),
    ],
)
def test_a_name_or_revision_that_is_not_there_is_told(hub: HubServer, source: str, expected: str) -> None:
    with pytest.raises(DownloadError, match=expected) as error:
        open_dataset(source, HubAccess(hub.endpoint))
    assert not error.value.permanent


def test_a_hub_that_does_not_answer_or_is_none_is_told(server: HostileServer) -> None:
    with pytest.raises(DownloadError, match="cannot be reached") as error:
        open_dataset("a/b", HubAccess("http://127.0.0.1:9"))
    assert error.value.unreachable

    def page(exchange: Exchange) -> bool:
        exchange.send("200 OK", b"<html>", Content_Length=6, Content_Type="text/html")
        return True

    server.behaviours = dict.fromkeys(["/api/datasets/a/b?expand=sha&expand=gated"], page)
    with pytest.raises(DownloadError, match="does not answer as the Hugging Face Hub does"):
        open_dataset("a/b", HubAccess(server.url("")))


@pytest.mark.parametrize(
    ("environment", "endpoint", "token"),
    [
        ({}, "https://huggingface.co", ""),
        ({"HF_TOKEN": " hf_a\n", "HF_ENDPOINT": "https://mirror.example/hf/"}, "https://mirror.example/hf", "hf_a"),
    ],
)
def test_the_environment_says_which_hub_and_which_token(environment: Any, endpoint: str, token: str) -> None:
    assert HubAccess.of(environment) == HubAccess(endpoint, token)


@pytest.mark.parametrize("environment", [{"HF_TOKEN": "a\nb: c"}, {"HF_ENDPOINT": "ftp://x"}])
def test_an_environment_that_cannot_be_used_is_an_error_without_the_token(environment: Any) -> None:
    with pytest.raises(SettingsError) as error:
        HubAccess.of(environment)
    assert "b: c" not in str(error.value)


def test_a_declaration_in_toml_names_a_dataset(tmp_path: Path) -> None:
    from vqa_assets.doc_tables import EXAMPLE

    path = tmp_path / "a.toml"
    path.write_text(EXAMPLE.replace("[acquisition]", 'hf = "someone/clips@v1"\n\n[acquisition]'))
    assert read_declaration(path).hf == "someone/clips@v1"
    path.write_text(EXAMPLE.replace("[acquisition]", 'hf = "https://huggingface.co/someone/clips"\n\n[acquisition]'))
    with pytest.raises(SettingsError, match="owner/name or owner/name@revision"):
        read_declaration(path)


def test_a_manifest_that_cannot_be_read_costs_nothing_but_the_remembered_commit(ingesting: Any) -> None:
    corpus = ingesting()
    first = corpus.ingest(hf="someone/clips")
    first.layout.manifest.write_text("{")
    (corpus.folder / "clips/Videos/a/1.mp4").unlink()
    again = corpus.ingest(hf="someone/clips")
    assert json.loads(again.layout.manifest.read_text())["hub"]["commit"] == FIRST


def test_a_run_asks_the_hub_that_its_environment_names_for_nothing_but_the_dataset(
    platform: Platform, hub: HubServer, monkeypatch: Any
) -> None:
    hub.datasets["someone/clips"].opened_by, hub.datasets["someone/clips"].gated = (TOKEN,), True
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    platform.resources = {"prober": FakeProber()}
    folder = platform.root.corpus_dir(LSVQ)
    folder.mkdir(parents=True)
    (folder / "manifest.csv").write_text("name,mos\na/1,60\n")
    result = platform.run("corpus_jsonl", partition="lsvq", hf="someone/clips@v1", min_rows=1)
    assert result.success
    manifest = (folder / "lsvq.manifest.json").read_text()
    assert json.loads(manifest)["hub"] == {"repository": "someone/clips", "revision": "v1", "commit": FIRST}
    assert (folder / "clips/Videos/a/1.mp4").read_bytes() == FILES["Videos/a/1.mp4"]
    assert all("someone/clips" in path and token == TOKEN for path, token in hub.authorizations)
    events = platform.instance.all_logs(result.run_id)
    assert TOKEN not in manifest + str(events)
