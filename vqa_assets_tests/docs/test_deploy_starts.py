"""Each line in deploy/ that starts a program of ours, of Dagster's or of Dask's, is started, from an installed wheel.

There is no container here: what an image, a network and a volume give a line (addresses, ports, folders) is put in its
place, and nothing else of it is changed.
"""

import configparser
import json
import os
import re
import shlex
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from vqa_assets_tests.shared import postgres
from vqa_assets_tests.shared.clips import tiny_clips
from vqa_assets_tests.shared.dask_work import slurm_cluster
from vqa_assets_tests.shared.installed import Installed
from vqa_assets_tests.shared.web_ui import free_port

REPOSITORY = Path(__file__).parents[2]
DEPLOY = REPOSITORY / "deploy"
SERVICES: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]
TOKEN = "a-token-of-some-length"
WITHIN_S = 120
DASK = {"resources": {"clip_pool": {"config": {"implementation": "dask"}}}}
LAUNCH = """mutation($config: RunConfigData) { launchPipelineExecution(executionParams: {
    selector: {repositoryLocationName: "vqa_assets", repositoryName: "__repository__", jobName: "__ASSET_JOB",
      assetSelection: [{path: ["corpus_jsonl"]}]}, runConfigData: $config,
    executionMetadata: {tags: [{key: "dagster/partition", value: "live-vqc"}]}}) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
STATUS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
DONE = ("SUCCESS", "FAILURE", "CANCELED")
LOCATIONS = """query { workspaceOrError { ... on Workspace { locationEntries { name loadStatus
    locationOrLoadError { __typename } } } } }"""
pytestmark = pytest.mark.takes_long("the processes of a deployment")


class Stack:
    """Processes that are started one after the other, and ended together, the last one first."""

    def __init__(self, installed: Installed, folder: Path) -> None:
        self.installed, self.folder = installed, folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: Sequence[str], **variables: str) -> None:
        """Start one; what it prints is kept under its name."""
        with (self.folder / f"{name}.log").open("wb") as log:
            self.running[name] = subprocess.Popen(
                [self.installed.program(command[0]), *command[1:]],
                cwd=self.folder,
                env=self.installed.variables(**variables),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def said(self, name: str) -> str:
        """What one printed."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def wait(self, what: Callable[[], Any]) -> Any:
        """What a question gives as soon as it gives something; every process has to live that long."""
        deadline = time.monotonic() + WITHIN_S
        while time.monotonic() < deadline:
            for name, process in self.running.items():
                assert process.poll() is None, f"{name} ended: {self.said(name)[-3000:]}"
            with suppress(OSError, ValueError):
                if answer := what():
                    return answer
            time.sleep(0.2)
        raise AssertionError({name: self.said(name)[-1000:] for name in self.running})

    def close(self) -> None:
        """End them all."""
        for process in reversed(self.running.values()):
            process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)


@contextmanager
def stack(installed: Installed, folder: Path) -> Iterator[Stack]:
    """A stack, ended with the block."""
    made = Stack(installed, folder)
    try:
        yield made
    finally:
        made.close()


def asked(port: int, query: str, variables: Mapping[str, Any] | None = None, token: str = TOKEN) -> dict[str, Any]:
    """The answer to a GraphQL query that shows a token."""
    body = json.dumps({"query": query, "variables": variables or {}}).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/graphql", body, headers)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        found = json.load(answer)
    assert "errors" not in found, found["errors"]
    data: dict[str, Any] = found["data"]
    return data


def loaded(port: int) -> list[str]:
    """The code locations that are there and whole, once none is still loading."""
    entries = asked(port, LOCATIONS)["workspaceOrError"]["locationEntries"]
    assert all(one["loadStatus"] == "LOADED" for one in entries) or not entries
    return [one["name"] for one in entries if one["locationOrLoadError"]["__typename"] == "RepositoryLocation"]


def staged(data: Path) -> None:
    """Three clips of a corpus, with their scores."""
    folder = data / "live-vqc"
    names = tiny_clips(folder / "clips", 3)
    (folder / "manifest.csv").write_text("".join(f"{name}, {50 + i}\n" for i, name in enumerate(names)))
    (folder / "ingest.toml").write_text("min_rows = 1\n")


class InPlace:
    """What containers would give: names of hosts, ports, folders and variables of lines are those of this machine."""

    def __init__(self, places: Mapping[str, str], variables: Mapping[str, str]) -> None:
        self.places, self.variables = places, variables

    def of(self, text: str) -> str:
        """A text with its variables and places filled in."""
        filled = re.sub(
            r"\$\{(\w+)(?::?[-?]([^}]*))?\}", lambda match: self.variables.get(match[1], match[2] or ""), text
        )
        for there, here in self.places.items():
            filled = filled.replace(there, here)
        return filled

    def command(self, service: str) -> list[str]:
        """A service's command."""
        return [self.of(word) for word in SERVICES[service]["command"]]

    def environment(self, service: str) -> dict[str, str]:
        """A service's variables, and the image's."""
        (line,) = re.findall(r"^ENV PATH=\S+ (.*)$", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
        image = dict(word.split("=", 1) for word in line.split())
        own = {**image, **SERVICES[service].get("environment", {})}
        return {name: self.of(value) for name, value in own.items()}


@pytest.mark.needs_tool("postgres")
def test_compose_starts_a_platform_whose_runs_work_on_dask_and_are_kept_in_postgresql(
    installed: Installed, tmp_path: Path
) -> None:
    data, home = tmp_path / "data", tmp_path / "home"
    ports = {name: free_port() for name in ("3000", "8786")}
    staged(data)
    shipped = installed.environment / "share/vqa-assets/deploy/storage-postgres.yaml"
    whole = shipped.read_text()
    with ExitStack() as at_end, postgres.running() as server, stack(installed, tmp_path) as up:
        at_end.callback(shipped.write_text, whole)
        shipped.write_text(whole.replace("5432", str(server.port)))
        line = InPlace(
            {
                "/srv/vqa/data": str(data),
                "/srv/vqa/dagster": str(home),
                "/opt/vqa": str(installed.environment),
                "dask-scheduler": "127.0.0.1",
                "8786": str(ports["8786"]),
            },
            {"VQA_UI_TOKEN": TOKEN, "DAGSTER_PG_PASSWORD": postgres.PASSWORD},
        )
        database = {"DAGSTER_PG_HOST": "127.0.0.1", "DAGSTER_PG_DB": "postgres"}  # the test server's own
        done = installed.run(line.command("home"), **{**line.environment("home"), **database})
        assert done.returncode == 0, done.stderr
        assert "dagster.yaml written" in done.stdout
        up.start("dask-scheduler", line.command("dask-scheduler"), **line.environment("dask-scheduler"))
        for worker in ("dask-worker", "dask-gpu-worker"):
            up.start(worker, line.command(worker), **line.environment(worker))
        up.start("daemon", line.command("daemon"), **{**line.environment("daemon"), **database})
        up.start(
            "ui",
            [*line.command("ui"), "--port", str(ports["3000"])],
            **{**line.environment("ui"), **database},
        )
        assert {*up.running, "home", "postgres"} == {*SERVICES}
        assert up.wait(lambda: loaded(ports["3000"])) == ["vqa_assets"]
        with pytest.raises(urllib.error.HTTPError, match="401"):
            asked(ports["3000"], LOCATIONS, token="another-token-altogether")
        launched = asked(ports["3000"], LAUNCH, {"config": DASK})["launchPipelineExecution"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        run = {"id": launched["run"]["runId"]}
        ended = up.wait(lambda: (found := asked(ports["3000"], STATUS, run)["runOrError"]["status"]) in DONE and found)
        assert ended == "SUCCESS", up.said("daemon")
    assert len((data / "live-vqc" / "live_vqc.jsonl").read_text().splitlines()) == 3
    assert [*home.rglob("*.db")] == []  # no run is kept in a file


def test_the_charts_web_server_and_code_server_answer_through_the_guards_deployment(
    installed: Installed, tmp_path: Path
) -> None:
    values = yaml.safe_load((DEPLOY / "kubernetes/values.yaml").read_text(encoding="utf-8"))
    (code,) = values["dagster-user-deployments"]["deployments"]
    deployment = next(iter(yaml.safe_load_all((DEPLOY / "kubernetes/guard.yaml").read_text(encoding="utf-8"))))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    data, home = tmp_path / "data", tmp_path / "home"
    data.mkdir()
    home.mkdir()
    ports = {name: str(free_port()) for name in ("code", "web", "guard")}
    # What the chart itself makes of the values: a workspace with the code server, and these two commands.
    server = {"host": "127.0.0.1", "port": int(ports["code"]), "location_name": code["name"]}
    (tmp_path / "workspace.yaml").write_text(yaml.safe_dump({"load_from": [{"grpc_server": server}]}))
    # The chart keeps runs in PostgreSQL; here both processes share a home of files, which is prepared for that.
    assert installed.run(["python", "-m", "vqa_assets.home", str(home)]).returncode == 0
    with stack(installed, tmp_path) as up:
        variables = {one["name"]: one["value"].replace("/srv/vqa/data", str(data)) for one in code["env"]}
        grpc = ["dagster", "api", "grpc", "-h", "127.0.0.1", "-p", ports["code"], *code["dagsterApiGrpcArgs"]]
        up.start("code", grpc, **variables, DAGSTER_HOME=str(home))
        web = ["dagster-webserver", "-h", "127.0.0.1", "-p", ports["web"], "-w", "workspace.yaml"]
        up.start("web", web, DAGSTER_HOME=str(home))
        address = f"http://127.0.0.1:{ports['web']}"
        command = [word.replace("http://vqa-dagster-webserver:3000", address) for word in container["args"]]
        up.start("guard", [word if word != "3000" else ports["guard"] for word in command], VQA_UI_TOKEN=TOKEN)
        assert up.wait(lambda: loaded(int(ports["guard"]))) == ["vqa-assets"]
        with pytest.raises(urllib.error.HTTPError, match="401"):
            asked(int(ports["guard"]), LOCATIONS, token="another-token-altogether")


def test_the_worker_that_slurm_starts_comes_to_the_run_with_its_keys(installed: Installed, tmp_path: Path) -> None:
    from distributed import Client

    from vqa_assets.clips.dask_cluster import read_cluster_file

    options = dict(read_cluster_file(DEPLOY / "slurm/cluster.toml").options)
    python = str(installed.program("python"))
    options |= {"shared_temp_directory": str(tmp_path), "log_directory": str(tmp_path), "python": python}
    with stack(installed, tmp_path) as up, slurm_cluster(**options) as cluster, Client(cluster) as client:
        command = shlex.split(cluster.job_script().strip().splitlines()[-1])
        assert command[0] == python
        up.start("worker", ["python", *command[1:]])
        workers = up.wait(lambda: client.scheduler_info()["workers"])
        assert [one["nthreads"] for one in workers.values()] == [4]
        assert all(address.startswith("tls://") for address in workers)


def test_the_script_for_slurm_measures_a_corpus_on_the_cluster_that_its_file_describes(
    installed: Installed, tmp_path: Path
) -> None:
    data, home = tmp_path / "data", tmp_path / "home"
    staged(data)
    cluster = tmp_path / "cluster.toml"
    cluster.write_text('class = "distributed.LocalCluster"\nworkers = 1\n')
    variables = {"VQA_DATA_ROOT": str(data), "DAGSTER_HOME": str(home), "VQA_DASK_CLUSTER": str(cluster)}
    assert installed.run(["python", "-m", "vqa_assets.home"], **variables).returncode == 0
    script = (DEPLOY / "slurm/measure.sh").read_text(encoding="utf-8")
    copy = tmp_path / "measure.sh"
    copy.write_text(script.replace("/srv/vqa/code/.venv/bin", str(installed.environment / "bin")))
    done = installed.run(["bash", str(copy), "corpus_jsonl", "live-vqc"], **variables)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Dask: 1 worker at " in done.stderr
    assert len((data / "live-vqc" / "live_vqc.jsonl").read_text().splitlines()) == 3


def test_the_units_of_systemd_start_a_page_and_a_daemon(installed: Installed, tmp_path: Path) -> None:
    data, home = tmp_path / "data", tmp_path / "home"
    for folder in (data, home):
        folder.mkdir()
    port = free_port()
    variables = {"VQA_DATA_ROOT": str(data), "DAGSTER_HOME": str(home), "VQA_UI_TOKEN": TOKEN}
    (tmp_path / "workspace.yaml").write_bytes((REPOSITORY / "workspace.yaml").read_bytes())
    with stack(installed, tmp_path) as up:
        for name, more in (("vqa-daemon", []), ("vqa-webserver", ["--port", str(port)])):
            unit = configparser.ConfigParser()
            unit.optionxform = str  # type: ignore[assignment,method-assign]
            unit.read(DEPLOY / f"{name}.service")
            before, start = (
                shlex.split(unit["Service"][key].replace("/srv/vqa/code/.venv/bin/", ""))
                for key in ("ExecStartPre", "ExecStart")
            )
            assert installed.run(before, **variables).returncode == 0
            up.start(name, [*start, *more], **variables)
        assert up.wait(lambda: loaded(port)) == ["vqa_assets"]
        healthy = "{ instance { daemonHealth { allDaemonStatuses { daemonType healthy } } } }"
        assert up.wait(
            lambda: [
                one
                for one in asked(port, healthy)["instance"]["daemonHealth"]["allDaemonStatuses"]
                if one["daemonType"] == "SENSOR" and one["healthy"]
            ]
        )
