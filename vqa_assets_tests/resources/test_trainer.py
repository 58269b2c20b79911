"""Training here and in another process: the same bytes, its log lines and measures, and what its failures say."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from vqa_assets.errors import NewerFormatError, TrainingError
from vqa_assets.heads.members import training
from vqa_assets.heads.members.method import HeadRows, TrainingRows
from vqa_assets.heads.members.training import TorchTrainer
from vqa_assets.heads.members.training_job import Job, read_job, read_result, run_job, write_job, write_result
from vqa_assets.heads.members.weights import encoder_onehot
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.resources.trainer import TrainerResource
from vqa_assets.resources.training_process import main
from vqa_assets_tests.shared.head_tables import labelled, written
from vqa_assets_tests.shared.platform import Platform, failure, metadata

REPOSITORY = Path(__file__).parents[2]
CHILD = [sys.executable, "-m", "vqa_assets.resources.training_process", "{job}"]
COMMAND_NAME, JOBS_NAME = "VQA_TRAINER_COMMAND", "VQA_TRAINER_JOBS"
SHORT = TrainingSettings(epochs=3, device="cpu", corpus_weights={"lsvq": 2.0})


def rows(count: int = 60, contents: int = 20) -> TrainingRows:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((count, 4)).astype(np.float32)
    mos = (3 + 0.5 * features[:, 0]).clip(1, 5).astype(np.float32)
    return TrainingRows(features, encoder_onehot(count), mos, tuple(f"c{i % contents}" for i in range(count)))


def job(**settings: Any) -> Job:
    chosen = TrainingSettings(**{"epochs": 3, "device": "cpu", **settings})
    of_its_own = np.linspace(2, 4, 50, dtype=np.float32)
    return Job(rows(), [HeadRows("a", np.arange(40)), HeadRows("b", np.arange(10, 60), of_its_own)], chosen, "cpu")


def numbers(trained: Any) -> list[bytes]:
    networks = [network for head in trained.heads for network in head.networks]
    ridges = [head.ridge for head in trained.heads]
    maps = [array.tobytes() for head in trained.heads for array in vars(head.map).values() if array is not None]
    return [array.tobytes() for member in (*networks, *ridges) for array in member.arrays()] + maps


def no_progress(done: int, total: int, rmse: float, what: str = "epochs") -> None:
    """Says nothing."""


def test_a_job_and_its_result_survive_their_files(tmp_path):
    wanted = job(corpus_weights={"lsvq": 2.0}, columns=("x", "y"), seed=4)
    write_job(tmp_path, wanted)
    found = read_job(tmp_path)
    assert (found.settings, found.device) == (wanted.settings, "cpu")
    assert found.data.groups == wanted.data.groups
    np.testing.assert_array_equal(found.data.features, wanted.data.features)
    assert [(h.name, h.rows.tolist()) for h in found.heads] == [(h.name, h.rows.tolist()) for h in wanted.heads]
    assert found.heads[0].mos is None
    np.testing.assert_array_equal(found.heads[1].mos, wanted.heads[1].mos)
    trained = TorchTrainer().train(wanted.data, wanted.heads, wanted.settings, no_progress)
    write_result(tmp_path, trained)
    again = read_result(tmp_path, read_job(tmp_path))
    assert numbers(again) == numbers(trained)
    assert again.device == trained.device
    assert [h.best_epochs for h in again.heads] == [h.best_epochs for h in trained.heads]


def test_paths_of_tables_do_not_leave_with_a_job(tmp_path):
    write_job(tmp_path, job(tables={"mine": "/secret/place.parquet"}))
    assert "secret" not in (tmp_path / "job.json").read_text()


def test_a_job_of_another_version_is_refused(tmp_path):
    write_job(tmp_path, job())
    told = json.loads((tmp_path / "job.json").read_text())
    (tmp_path / "job.json").write_text(json.dumps({**told, "schema": "training-job-v0"}))
    with pytest.raises(TrainingError, match=r"job\.json of schema 'training-job-v0', expected training-job-v1"):
        read_job(tmp_path)
    (tmp_path / "job.json").write_text(json.dumps({**told, "schema": "training-job-v9"}))
    with pytest.raises(NewerFormatError, match=r"job\.json: format 9 \(training-job-v9\)"):
        read_job(tmp_path)


def test_a_failure_is_left_in_the_folder_and_raised_as_it_was(tmp_path):
    lonely = Job(rows(contents=1), [HeadRows("a", np.arange(20))], SHORT)
    write_job(tmp_path, lonely)
    with pytest.raises(TrainingError) as met:
        run_job(tmp_path, no_progress)
    with pytest.raises(TrainingError) as told:
        read_result(tmp_path, read_job(tmp_path))
    assert str(told.value) == str(met.value)


def test_without_a_job_the_process_says_how_it_is_used(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "no training waits in" in capsys.readouterr().err
    assert main([]) == 2


class Heads(Platform):
    """The head assets on a data root with one small labelled table."""

    def __init__(self, root_path: Path, instance: dg.DagsterInstance) -> None:
        super().__init__(root_path, instance)
        # The protocol trains ten heads more and judges them; what travels to another process is the same without it.
        self.defaults = {"epochs": 3, "device": "cpu", "protocol_splits": 0}
        (root_path / "konvid-1k").mkdir(parents=True)
        written(labelled(60), root_path / "konvid-1k" / "features_with_mos.parquet")

    def train(self, trainer: dict[str, Any], **settings: Any) -> dg.ExecuteInProcessResult:
        return self.run("mos_head", partition="konvid-1k", resource_config={"trainer": trainer}, **settings)

    def onnx(self) -> bytes:
        return (self.root.path / "models" / "konvid_1k_mos_head.onnx").read_bytes()

    def said(self, result: dg.ExecuteInProcessResult) -> list[str]:
        return [entry.user_message for entry in self.instance.all_logs(result.run_id)]


@pytest.fixture
def heads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Heads]:
    for name in (COMMAND_NAME, JOBS_NAME):
        monkeypatch.delenv(name, raising=False)
    with dg.DagsterInstance.ephemeral() as instance:
        yield Heads(tmp_path / "data", instance)


def test_another_process_trains_the_same_bytes_and_says_what_it_does(heads, tmp_path, monkeypatch):
    here = heads.train({"implementation": "torch"})
    first = heads.onnx()
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    monkeypatch.setenv(JOBS_NAME, str(jobs))
    there = heads.train({"implementation": "process"})
    assert here.success
    assert there.success
    assert heads.onnx() == first
    assert any(re.search(r"epoch 3 of 3, stopping RMSE 0\.\d+, .* epochs/s", line) for line in heads.said(there))
    assert any("'stopping_rmse': 0." in line for line in heads.said(there))
    assert any("'device': 'cpu (" in line for line in heads.said(there))
    device = json.loads((heads.root.path / "models" / "konvid_1k_mos_head.json").read_text())["training_recipe"][
        "device"
    ]
    assert device.startswith("cpu (")
    assert metadata(there, "mos_head")["status"] == "Proposed"
    assert list(jobs.iterdir()) == []


def test_a_process_that_is_not_told_by_its_environment_finds_the_pipe_in_the_jobs_folder(heads, monkeypatch):
    without = ["env", "-u", "DAGSTER_PIPES_CONTEXT", "-u", "DAGSTER_PIPES_MESSAGES", *CHILD]
    monkeypatch.setenv(COMMAND_NAME, shlex.join(without))
    result = heads.train({"implementation": "auto"})
    assert result.success
    assert any("epoch 3 of 3" in line for line in heads.said(result))


def test_what_another_process_met_is_what_the_run_says(heads):
    told = failure(heads.train({"implementation": "process"}, device="tpu"))
    assert told.startswith("device: 'tpu', expected auto")
    assert not (heads.root.path / "models").exists()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)", "{job}"],
            "exit status -9, .* lower batch_size",
        ),
        ([sys.executable, "-c", "pass", "{job}"], r"no result\.json in its folder, .* does not see the same folder"),
        (["/nowhere/ssh", "{job}"], "VQA_TRAINER_COMMAND: /nowhere/ssh cannot be started"),
    ],
    ids=["killed", "says nothing", "not there"],
)
def test_a_process_that_ends_without_heads_fails_the_run_and_leaves_the_earlier_head(
    heads, monkeypatch, command, message
):
    heads.train({"implementation": "torch"})
    before = heads.onnx()
    monkeypatch.setenv(COMMAND_NAME, shlex.join(command))
    assert re.search(message, failure(heads.train({}, seed=1)))
    assert heads.onnx() == before


@pytest.mark.parametrize(
    ("trainer", "variables", "message"),
    [
        ({"implementation": "cluster"}, {}, "trainer: implementation: 'cluster', expected auto, torch or process"),
        ({}, {COMMAND_NAME: "ssh 'gpu1 {job}"}, "VQA_TRAINER_COMMAND: ssh 'gpu1 {job} (No closing quotation)"),
        ({}, {COMMAND_NAME: "ssh gpu1 train"}, "VQA_TRAINER_COMMAND: ssh gpu1 train, no word of which is {job}"),
        (
            {"implementation": "process"},
            {JOBS_NAME: "/nowhere/jobs"},
            "VQA_TRAINER_JOBS: no folder to write to: /nowhere/jobs",
        ),
    ],
    ids=["implementation", "quotes", "no job", "jobs"],
)
def test_a_trainer_that_cannot_be_is_named(heads, monkeypatch, trainer, variables, message):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert message in failure(heads.train(trainer))


@pytest.mark.parametrize("setting", [{"command": ["touch", "{job}"]}, {"jobs": "/tmp"}], ids=["command", "jobs"])
def test_what_is_executed_and_where_its_jobs_lie_is_no_run_config(heads, setting):
    with pytest.raises(dg.DagsterInvalidConfigError, match=f'unexpected config entry "{next(iter(setting))}"'):
        heads.train({"implementation": "process", **setting})


def test_the_trainer_here_knows_its_device():
    trainer = TrainerResource(device="tpu").of_run(dg.build_asset_context())
    with pytest.raises(TrainingError, match="device: 'tpu', expected auto"):
        trainer.train(rows(), [], TrainingSettings(), no_progress)


def test_very_many_heads_are_trained_in_lots_and_are_the_same(monkeypatch):
    wanted, told = job(), list[tuple]()
    heads = [*wanted.heads, HeadRows("c", np.arange(20, 60))]
    together = TorchTrainer().train(wanted.data, heads, wanted.settings, no_progress)
    monkeypatch.setattr(training, "_ROWS_AT_ONCE", 1)
    apart = TorchTrainer().train(wanted.data, heads, wanted.settings, lambda *at: told.append(at))
    for one, other in zip(together.heads, apart.heads, strict=True):
        assert one.best_epochs == other.best_epochs
        for member, again in zip(one.networks, other.networks, strict=True):
            np.testing.assert_allclose(member.skip, again.skip, atol=1e-4)
    members, epochs = ([at[:2] for at in told if len(at) == size] for size in (4, 3))
    assert members == [(1, 3), (2, 3), (3, 3)]  # the ridge member of each head, in whichever lot
    assert epochs == sorted(epochs)
    assert (epochs[0][1], epochs[-1]) == (3, (3, 3))


def test_out_of_memory_says_the_batch_size():
    """A limit on the address space, set when all is imported, makes the real allocator fail."""
    program = """
import resource, sys
import numpy as np, torch
from vqa_assets.heads.members.method import HeadRows
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.heads.members.training import TorchTrainer
from vqa_assets.errors import TrainingError
from vqa_assets_tests.resources.test_trainer import no_progress, rows
torch.set_num_threads(1)
# What training imports must be there: some libraries wait for memory for ever where they find none to begin with.
TorchTrainer("cpu").train(rows(), [HeadRows("a", np.arange(40))], TrainingSettings(epochs=1), no_progress)
data = rows(60_000, 500)
heads = [HeadRows(f"h{i}", np.arange(60_000)) for i in range(20)]
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 100_000_000, resource.RLIM_INFINITY))
try:
    TorchTrainer("cpu").train(data, heads, TrainingSettings(epochs=1, batch_size=60_000), no_progress)
except TrainingError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=100)
    assert "out of memory while training on cpu: batch_size 60000, 1 heads at once" in done.stdout, done.stderr
    assert "set batch_size to 30000 or less" in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB.",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    ],
)
def test_a_devices_words_for_no_memory_are_known(monkeypatch, words):
    def failing(*_):
        raise RuntimeError(words)

    monkeypatch.setattr(training, "train", failing)
    wanted = job()
    with pytest.raises(TrainingError, match=r"out of memory while training on cpu: batch_size \d+, 2 heads at once"):
        TorchTrainer("cpu").train(wanted.data, wanted.heads, wanted.settings, no_progress)


def test_an_interrupted_run_ends_the_process_that_trains(tmp_path):
    (tmp_path / "home").mkdir()
    shutil.copy(REPOSITORY / "dagster.yaml", tmp_path / "home")
    jobs, table = tmp_path / "jobs", tmp_path / "data" / "konvid-1k" / "features_with_mos.parquet"
    jobs.mkdir()
    table.parent.mkdir(parents=True)
    written(labelled(60), table)
    config = {
        "ops": {"mos_head": {"config": {"epochs": 1_000_000, "device": "cpu", "protocol_splits": 0}}},
        "resources": {"trainer": {"config": {"implementation": "process"}}},
    }
    command = ("-m", "dagster", "asset", "materialize", "-m", "vqa_assets.definitions", "--select", "mos_head")
    environment = {**os.environ, "DAGSTER_HOME": str(tmp_path / "home"), "VQA_DATA_ROOT": str(tmp_path / "data")}
    environment[JOBS_NAME] = str(jobs)
    with (tmp_path / "log.txt").open("wb") as log:
        run = subprocess.Popen(
            [sys.executable, *command, "--partition", "konvid-1k", "--config-json", json.dumps(config)],
            env={**environment, "PYTHONPATH": str(REPOSITORY)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            until(lambda: any(b"epoch 1 of" in f.read_bytes() for f in jobs.glob("*/pipes-messages.jsonl")), run)
            os.kill(run.pid, signal.SIGINT)
            assert run.wait(timeout=60) != 0
        finally:
            with suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)
    assert list(jobs.iterdir()) == []
    assert trainings_of(jobs) == []
    assert not (tmp_path / "data" / "models").exists()


def until(happened: Callable[[], bool], run: subprocess.Popen[bytes]) -> None:
    """Waits for what a living run is about to do."""
    for _ in range(1200):
        if happened():
            return
        assert run.poll() is None, "the run ended early"
        time.sleep(0.1)
    raise AssertionError("it never happened")


def trainings_of(jobs: Path) -> list[str]:
    """Command lines of living processes that name the folder."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in lines if str(jobs) in line and "training_process" in line]


def spoiled(folder: Path, how: str) -> None:
    weights, result = folder / "weights.npz", folder / "result.json"
    if how == "garbage":
        weights.write_bytes(b"no weights")
    elif how == "cut":
        weights.write_bytes(weights.read_bytes()[:-200])
    elif how == "gone":
        weights.unlink()
    elif how == "one too few":
        told = json.loads(result.read_text())
        result.write_text(json.dumps({**told, "heads": told["heads"][:1]}))
    else:
        with np.load(weights) as held:
            arrays = dict(held)
        arrays["1.0.bias1"] = arrays["1.0.bias1"][:3] if how == "shape" else arrays["1.0.bias1"] * np.nan
        np.savez(weights, **arrays)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("garbage", "weights.npz that cannot be read"),
        ("cut", "weights.npz that cannot be read"),
        ("gone", "weights.npz that cannot be read"),
        ("one too few", "1 heads of 2"),
        ("shape", "weights of b that are of another shape, or no numbers"),
        ("NaN", "weights of b that are of another shape, or no numbers"),
    ],
)
def test_a_result_that_is_not_whole_is_told(tmp_path, how, told):
    write_job(tmp_path, job())
    run_job(tmp_path, no_progress)
    spoiled(tmp_path, how)
    with pytest.raises(TrainingError, match=re.escape(told)):
        read_result(tmp_path, read_job(tmp_path))
