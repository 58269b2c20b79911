"""A failed run is told once: in the log, to a real web server where one is named, and a dead one breaks nothing."""

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from vqa_assets.definitions import build_defs
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.resources.notifier import NotifierResource, RunFailure, StepFailure
from vqa_assets.sensors.failed_runs import failure_of, make_failure_sensor

FAILURE = RunFailure("run-1", "job", ("corpus_jsonl",), "lsvq", (StepFailure("corpus_jsonl", "disk full"),))


class Server(HTTPServer):
    """Keeps what is posted; answers with ``status``."""

    posted: list[tuple[str, dict[str, Any]]]
    status = 200


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.posted.append((self.headers["Content-Type"], body))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as found:
        found.posted = []
        thread = threading.Thread(target=found.serve_forever, daemon=True)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def address(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}/hook/top-secret?token=hidden"


def failed_run(instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    @dg.asset
    def broken() -> None:
        raise dg.Failure("the disk is full", allow_retries=False)

    job = dg.Definitions([broken]).resolve_implicit_global_asset_job_def()
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    return job.execute_in_process(instance=instance, raise_on_error=False, run_config=quiet)


def test_the_sensor_tells_what_failed_and_why(caplog: pytest.LogCaptureFixture) -> None:
    told: list[RunFailure] = []

    class Kept:
        def notify(self, failure: RunFailure) -> None:
            told.append(failure)

    with dg.DagsterInstance.ephemeral() as instance:
        result = failed_run(instance)
        context = dg.build_run_status_sensor_context(
            "failed_runs", result.get_run_failure_event(), instance, result.dagster_run
        ).for_run_failure()
        make_failure_sensor(30)(context, notifier=Kept())
    (found,) = told
    assert (found.run_id, found.failures) == (result.run_id, (StepFailure("broken", "the disk is full"),))


@pytest.mark.parametrize("automation", ["weekly_reingest", "changed_annotation_files"])
def test_a_run_that_a_schedule_or_sensor_started_is_told_by_its_assets(root_path: Path, automation: str) -> None:
    found = build_defs(data_root=DataRootResource(path=str(root_path)))
    (job,) = [name for name in found.get_repository_def().job_names if name.endswith(automation)]
    with dg.DagsterInstance.ephemeral() as instance:
        result = found.resolve_job_def(job).execute_in_process(
            instance=instance,
            partition_key="lsvq",
            raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        context = dg.build_run_status_sensor_context(
            "failed_runs", result.get_run_failure_event(), instance, result.dagster_run
        ).for_run_failure()
        told = failure_of(context)
    assert (told.job, told.assets, told.partition) == (automation, ("corpus_annotations", "corpus_jsonl"), "lsvq")
    assert told.text.startswith("corpus_annotations + corpus_jsonl [lsvq] failed")
    assert "__" not in json.dumps(told.as_json())


def test_a_run_that_ended_without_a_failed_step_is_told_without_dagsters_own_job_name() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = failed_run(instance)
        job = result.dagster_run.job_name
        lost = dg.DagsterEvent(
            dg.DagsterEventType.RUN_FAILURE.value, job, message=f'Execution of run for "{job}" failed.'
        )
        context = dg.build_run_status_sensor_context("failed_runs", lost, instance, result.dagster_run)
        told = failure_of(context.for_run_failure())
    assert told.assets == ("broken",)
    assert "__" not in json.dumps(told.as_json())


def test_without_a_webhook_it_is_logged(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VQA_FAILURE_WEBHOOK", raising=False)
    with caplog.at_level(logging.WARNING, "vqa_assets"):
        NotifierResource().notify(FAILURE)
    assert caplog.messages == ["corpus_jsonl [lsvq] failed (run run-1): corpus_jsonl: disk full"]


@pytest.mark.parametrize("by_environment", [True, False])
def test_with_a_webhook_it_is_posted_as_json(
    server: Server, monkeypatch: pytest.MonkeyPatch, by_environment: bool
) -> None:
    if by_environment:
        monkeypatch.setenv("VQA_FAILURE_WEBHOOK", address(server))
    NotifierResource(webhook=None if by_environment else address(server)).notify(FAILURE)
    assert server.posted == [
        (
            "application/json",
            {
                "schema": "vqa-run-failure-v1",
                "text": "corpus_jsonl [lsvq] failed (run run-1): corpus_jsonl: disk full",
                "run_id": "run-1",
                "job": "job",
                "assets": ["corpus_jsonl"],
                "partition": "lsvq",
                "failures": [{"step": "corpus_jsonl", "reason": "disk full"}],
            },
        )
    ]


@pytest.mark.parametrize("fault", ["gone", "500", "file:///etc/hostname", "http://[broken"])
def test_a_webhook_that_fails_is_a_warning_without_its_secret(
    server: Server, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    hook = address(server)
    if fault == "gone":
        server.server_close()
    server.status = 500
    with caplog.at_level(logging.WARNING, "vqa_assets"):
        NotifierResource(webhook=fault if "://" in fault else hook).notify(FAILURE)
    assert "was not told" in caplog.messages[-1]
    assert "top-secret" not in caplog.text
    assert "hidden" not in caplog.text


def test_the_hook_can_be_replaced() -> None:
    class Mine:
        def notify(self, failure: RunFailure) -> None:
            """Tells nobody."""

    mine = Mine()
    assert build_defs(notifier=mine).resources["notifier"] is mine  # type: ignore[index]
