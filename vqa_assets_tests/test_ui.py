"""The web UI's server, started for real: it knows the assets and checks, and shows what a run left as metadata."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from vqa_assets.definitions import defs
from vqa_assets_tests.clips import tiny_clips

REPOSITORY = Path(__file__).parents[1]
DAGSTER = (sys.executable, "-m", "dagster")
START_LIMIT_S = 120


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def served(environment: dict[str, str], log: Path) -> Iterator[str]:
    """``dagster dev`` as ``make ui`` starts it; the address of its GraphQL. All its processes are gone at the end."""
    port = free_port()
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*DAGSTER, "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)],
            cwd=REPOSITORY,
            env=environment,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
        try:
            yield wait_for(f"http://127.0.0.1:{port}/graphql", process)
        finally:
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)


def wait_for(address: str, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "dagster dev ended"
        with suppress(OSError):
            if ask(address, "{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }")[
                "repositoriesOrError"
            ].get("nodes"):
                return address
        time.sleep(0.5)
    raise AssertionError("dagster dev did not answer")


def ask(address: str, query: str) -> dict[str, Any]:
    request = urllib.request.Request(
        address, json.dumps({"query": query}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        found = json.load(answer)
    assert "errors" not in found, found["errors"]
    data: dict[str, Any] = found["data"]
    return data


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The UI on a data root whose corpus was ingested by the command line a moment ago."""
    folder = tmp_path_factory.mktemp("ui")
    corpus, home = folder / "data" / "konvid-150k", folder / "home"
    home.mkdir()
    shutil.copy(REPOSITORY / "dagster.yaml", home)
    names = tiny_clips(corpus / "clips", 6)
    (corpus / "ingest.toml").write_text("min_rows = 1\n")
    (corpus / "manifest.csv").write_text(
        "video_name,mos,sd,n\n" + "".join(f"{name},{1.5 + i / 2},0.5,9\n" for i, name in enumerate(names))
    )
    environment = {**os.environ, "DAGSTER_HOME": str(home), "VQA_DATA_ROOT": str(folder / "data")}
    selected = ("--select", "corpus_annotations,corpus_jsonl", "--partition", "konvid-150k")
    subprocess.run(
        [*DAGSTER, "asset", "materialize", "-m", "vqa_assets.definitions", *selected],
        cwd=REPOSITORY,
        env=environment,
        check=True,
        capture_output=True,
        timeout=120,
    )
    with served(environment, folder / "log.txt") as found:
        yield found


def test_it_shows_every_asset_with_its_group_and_partitions(address: str) -> None:
    nodes = ask(address, "{ assetNodes { assetKey { path } groupName isPartitioned kinds description } }")["assetNodes"]
    found = {node["assetKey"]["path"][0]: node for node in nodes}
    graph = defs.resolve_asset_graph()
    assert {name: (node["groupName"], node["isPartitioned"]) for name, node in found.items()} == {
        node.key.to_user_string(): (node.group_name, node.is_partitioned) for node in graph.asset_nodes
    }
    assert all(node["description"] for node in nodes)


def test_it_shows_the_checks_and_which_of_them_block(address: str) -> None:
    query = (
        "{ assetNodes { assetKey { path } assetChecksOrError { ... on AssetChecks { checks { name blocking } } } } }"
    )
    checks = {
        check["name"]: check["blocking"]
        for node in ask(address, query)["assetNodes"]
        for check in node["assetChecksOrError"].get("checks", [])
    }
    tables = ("corpus_jsonl", "unified_corpus", "clip_features", "mos_features")
    assert {f"{table}_schema": True for table in tables}.items() <= checks.items()
    assert checks["corpus_jsonl_attrition"] is False
    assert checks["konvid_mos_head_v1_gate"] is False
    assert checks["konvid_mos_head_v1_runs_anywhere"] is True


def test_it_shows_counters_column_schema_and_manifest_as_metadata(address: str) -> None:
    entries = """metadataEntries { label
        ... on IntMetadataEntry { intValue } ... on JsonMetadataEntry { jsonString }
        ... on MarkdownMetadataEntry { mdStr } ... on TableMetadataEntry { table { records } }
        ... on TableSchemaMetadataEntry { schema { columns { name constraints { unique nullable other } } } } }"""
    query = f"""{{ assetOrError(assetKey: {{path: ["corpus_jsonl"]}}) {{ ... on Asset {{
        assetMaterializations(limit: 1) {{ partition {entries} }} }} }} }}"""
    (event,) = ask(address, query)["assetOrError"]["assetMaterializations"]
    assert event["partition"] == "konvid-150k"
    told = {entry["label"]: entry for entry in event["metadataEntries"]}
    assert told["dagster/row_count"]["intValue"] == 6
    counters = [json.loads(record) for record in told["counters"]["table"]["records"]]
    assert {"counter": "written", "rows": 6} in counters
    columns = {c["name"]: c["constraints"] for c in told["dagster/column_schema"]["schema"]["columns"]}
    assert columns["src_sha256"]["unique"] is True
    assert json.loads(told["manifest"]["jsonString"])["schema"] == "mos-corpus-manifest-v1"
    assert told["mos_histogram"]["mdStr"].startswith("![MOS histogram](data:image/png;base64,")


def test_it_shows_how_the_checks_of_a_partition_went(address: str) -> None:
    query = """{ assetNodes { assetKey { path } assetChecksOrError { ... on AssetChecks { checks { name
        executionForLatestMaterialization { status evaluation { success description } } } } } } }"""
    found = {
        check["name"]: check["executionForLatestMaterialization"]
        for node in ask(address, query)["assetNodes"]
        for check in node["assetChecksOrError"].get("checks", [])
    }
    assert found["corpus_jsonl_schema"]["evaluation"]["success"] is True
    assert found["corpus_jsonl_schema"]["evaluation"]["description"] == "6 rows keep the column specs"
    assert found["corpus_jsonl_reconciles"]["evaluation"]["success"] is True
