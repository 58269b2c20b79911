"""The clip pool on Dask: worker processes over TCP that give the same bytes, die, are unfit, or are not there."""

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from distributed.comm import CommClosedError

import vqa_assets
from vqa_assets.backbones.folder import read_backbone
from vqa_assets.clip_list import open_list
from vqa_assets.clips import dask_cluster, dask_engine, elsewhere
from vqa_assets.clips.dask_cluster import ADDRESS, CLUSTER, place_named, read_cluster_file
from vqa_assets.clips.dask_engine import DaskExecutor, everywhere
from vqa_assets.clips.folders import ClipFolders, ClipStore
from vqa_assets.clips.marks import mark_in
from vqa_assets.clips.work import PassCounts
from vqa_assets.corpora import CORPORA
from vqa_assets.definitions import build_defs
from vqa_assets.errors import ClusterError, SettingsError, VqaError
from vqa_assets.features.backbone import backbone_family
from vqa_assets.features.corpus_table import FeatureSettings, MeasuredTable, make_clip_features
from vqa_assets.features.extractor import ClipExtractor
from vqa_assets.heads.using import open_head
from vqa_assets.ingest.tools import ClipTools, DownloaderDescription
from vqa_assets.list_scores import ListServices, PoolOfEnvironment, caches_of, score_list
from vqa_assets.provenance import RunContext
from vqa_assets.resources.clip_pool import ClipPoolResource
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.resources.downloader import DownloaderResource
from vqa_assets.resources.prober import ProberResource
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.clips import tiny_clips
from vqa_assets_tests.shared.dask_processes import DaskProcesses
from vqa_assets_tests.shared.dask_work import (
    CountedProber,
    DeadlyExtractor,
    DeadlyNumbers,
    DeadlyProber,
    chunk_of,
    networks_here,
    runs_here,
    take_environment,
    until_stopped,
)
from vqa_assets_tests.shared.fakes import SmallCorpus
from vqa_assets_tests.shared.hostile_server import HostileServer, answering, gives
from vqa_assets_tests.shared.networks import backbone_folder
from vqa_assets_tests.shared.object_server import Bucket
from vqa_assets_tests.shared.released_formats import HEAD, unpack

pytestmark = pytest.mark.usefixtures("no_proxy")
KONVID = CORPORA["konvid-150k"]
DASK = ClipPoolResource(implementation="dask")


class Cluster:
    """A scheduler and workers in processes of their own, under nannies."""

    def __init__(self, workers: int) -> None:
        import dask
        from distributed import LocalCluster

        with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
            self.cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0")
        self.address = str(self.cluster.scheduler_address)

    def scale(self, workers: int) -> None:
        """As many workers, all of them whole: of one that dies while it begins, a nanny starts no other."""
        self.cluster.scale(workers)
        wait(lambda: self.whole == workers)

    @property
    def whole(self) -> int:
        """How many workers the scheduler knows whose nannies have seen them begin; 0 while any is not."""
        running = [nanny.status.name == "running" for nanny in self.cluster.workers.values()]
        known = len(self.cluster.scheduler.workers)
        return known if all(running) and len(running) == known else 0


def wait(condition: Callable[[], object], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def workers() -> Iterator[Cluster]:
    """Two workers that the tests of this file share."""
    made = Cluster(2)
    yield made
    made.cluster.close()


@pytest.fixture
def cluster(workers: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Those workers, as the environment names them."""
    monkeypatch.delenv(CLUSTER, raising=False)
    monkeypatch.setenv(ADDRESS, workers.address)
    workers.scale(2)
    return workers


def staged(root: Path, bodies: dict[str, bytes], **services: Any) -> SmallCorpus:
    """A corpus whose clips are there, read by a fake prober on Dask unless told otherwise."""
    root.mkdir(parents=True, exist_ok=True)
    chosen = {"downloader": DownloaderResource(), "prober": DeadlyProber(), "pool": DASK, **services}
    corpus = SmallCorpus(DataRoot(root), **chosen)
    corpus.annotate([(name, "", 3, 0.5, 5) for name in bodies])
    for name, body in bodies.items():
        corpus.stage(name, body)
    return corpus


def measured(corpus: SmallCorpus, extractor: Any) -> MeasuredTable:
    clips = ClipFolders(corpus.folder / "clips")
    settings = FeatureSettings(corpus.root.corpus_jsonl(corpus.corpus), clips, workers=2)
    return make_clip_features(corpus.corpus, settings, extractor, corpus.pool, RunContext(corpus.root, {}, Path("x")))


# The same bytes


def outputs(root: Path, pool: ClipPoolResource, bodies: dict[str, bytes], server: HostileServer, extractor: Any) -> Any:
    """All that an ingest of staged, fetched, torn and absent clips and a measuring write, on a pool."""
    names = list(bodies)
    rows = [(name, "", 3, 0.5, 5) for name in (*names[:4], "torn.mp4", "nowhere.mp4")]
    rows += [(name, server.on(f"/{name}", gives(bodies[name], after_s=0.05)), 2, 0.5, 5) for name in names[4:]]
    root.mkdir()
    corpus = SmallCorpus(DataRoot(root), prober=ProberResource(), downloader=DownloaderResource(), pool=pool)
    corpus.annotate(rows)
    for name in names[:4]:
        corpus.stage(name, bodies[name])
    corpus.stage("torn.mp4", bodies[names[0]][:900])
    server.peak = 0
    report = corpus.ingest(per_host=2).report
    assert report.written == 8
    assert server.peak <= 2, "over all workers together"
    made = measured(corpus, extractor)
    fetched = {path.name: path.read_bytes() for path in (corpus.folder / "clips").iterdir()}
    files = (corpus.root.corpus_jsonl(KONVID), corpus.folder / "konvid_150k.losses.jsonl", made.path)
    return [path.read_bytes() for path in files], report.counters(), fetched, made.data_version


def test_clips_of_an_object_store_are_fetched_and_measured_on_workers_that_see_no_disk_of_the_run(
    cluster: Cluster, root_path: Path, server: HostileServer, bucket: Bucket
) -> None:
    from distributed import Client

    with Client(cluster.address) as client:
        client.run(take_environment, bucket.server.environment)
    bodies = {"a.mp4": b"clip a", "b.mp4": b"clip b"}
    corpus = SmallCorpus(DataRoot(root_path), prober=DeadlyProber(), downloader=DownloaderResource(), pool=DASK)
    corpus.drop("ingest.toml", f'clips_url = "s3://{bucket.name}/x"\n')
    corpus.annotate([(name, server.on(f"/{name}", gives(body)), 3, 0.5, 5) for name, body in bodies.items()])
    corpus.ingest()
    assert {key: bucket.content(key) for key in sorted(bucket.keys())} == {
        f"x/{name}": body for name, body in bodies.items()
    }
    clips = ClipFolders.of(KONVID, "clips", corpus.folder, ClipStore(f"s3://{bucket.name}/x", 10**6))
    settings = FeatureSettings(corpus.root.corpus_jsonl(KONVID), clips, workers=2)
    context = RunContext(corpus.root, {}, Path("x"))
    assert make_clip_features(KONVID, settings, DeadlyExtractor(), DASK, context).rows == 2


def test_threads_and_workers_write_the_same_bytes(
    cluster: Cluster, tmp_path: Path, server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqa_assets.ingest.run.utc_text", lambda: "2026-01-01T00:00:00+00:00")
    bodies, extractor = tiny_clips(tmp_path / "made", 8), DeadlyExtractor()
    by_threads = outputs(tmp_path / "threads", ClipPoolResource(), bodies, server, extractor)
    assert outputs(tmp_path / "dask", DASK, bodies, server, extractor) == by_threads


def test_a_list_is_scored_by_workers_as_by_threads_and_a_clip_that_its_worker_dies_of_costs_itself(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = max((Path(__file__).parents[1] / "shared" / "released").glob("*.tar.gz"))
    head, bodies = unpack(archive, tmp_path) / "models" / f"{HEAD}.onnx", {f"{n}.mp4": b"x" * n for n in range(1, 9)}
    for name, body in bodies.items():
        (tmp_path / name).write_bytes(body)
    (tmp_path / "list.csv").write_text("\n".join(["path", *bodies, "gone.mp4"]))

    def rows(folder: Path, prober: DeadlyProber) -> list[dict[str, Any]]:
        root, out = DataRoot(folder), folder / "scores.parquet"
        folder.mkdir()
        clips, tools = open_list(tmp_path / "list.csv", root), ClipTools(prober, DownloaderDescription())
        caches = caches_of(clips, root, out)
        services = ListServices(DeadlyNumbers(), tools, PoolOfEnvironment(), *caches, say=lambda _: None, workers=2)
        report = score_list(open_head(head), head, clips, out, services, RunContext(root, {}, Path("x")))
        assert report.reconciles
        return pl.read_parquet(out).to_dicts()

    found = rows(tmp_path / "dask", DeadlyProber("3.mp4"))
    monkeypatch.delenv(ADDRESS)
    expected = rows(tmp_path / "threads", DeadlyProber())
    assert [one for one in found if one["key"] != "3.mp4"] == [one for one in expected if one["key"] != "3.mp4"]
    assert [one["mos"] is None for one in expected] == [False] * 8 + [True]
    assert "crashed on it" in found[2]["reason"]


@pytest.mark.takes_long("six worker processes that measure")
def test_threads_and_one_and_four_workers_write_the_same_features(
    cluster: Cluster, tmp_path: Path, server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqa_assets.ingest.run.utc_text", lambda: "2026-01-01T00:00:00+00:00")
    bodies, extractor = tiny_clips(tmp_path / "made", 8), ClipExtractor(feature_sets=("nr-v1",))
    by_threads = outputs(tmp_path / "threads", ClipPoolResource(), bodies, server, extractor)
    for count in (4, 1):
        cluster.scale(count)
        assert outputs(tmp_path / str(count), DASK, bodies, server, extractor) == by_threads
    cluster.scale(2)


# Chunks, and tools


def chunks(calls: int, pause_s: float, chunk_clips: int = 0) -> list[int]:
    """How many calls of so many seconds travelled together, chunk by chunk."""
    with dask_cluster.dask_executor(os.environ, chunk_clips) as connected:
        return list(Counter(connected.executor.map(chunk_of, [pause_s] * calls)).values())


def test_a_chunk_is_as_many_clips_as_take_a_second(cluster: Cluster) -> None:
    assert max(chunks(36, 0.25)) == 4
    assert set(chunks(3, 1.1)) == {1}


def test_the_size_of_a_chunk_is_a_setting(cluster: Cluster) -> None:
    assert chunks(9, 0.0, chunk_clips=3) == [3, 3, 3]


def test_tools_are_opened_once_in_each_process_and_closed_with_the_run(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    pool = ClipPoolResource(implementation="dask", chunk_clips=1)
    bodies = {f"{number}.mp4": bytes([number]) for number in range(12)}
    corpus = staged(tmp_path / "data", bodies, prober=CountedProber(tmp_path / "notes"), pool=pool)
    assert corpus.ingest().report.written == 12
    notes = {int(path.name): path.read_text().split() for path in (tmp_path / "notes").iterdir()}
    assert set(notes) - {os.getpid()} <= {nanny.pid for nanny in cluster.cluster.workers.values()}
    assert len(notes) > 1
    assert list(notes.values()) == [["opened", "closed"]] * len(notes)


# Backbones


@pytest.mark.takes_long("workers with and without a GPU's resource")
def test_backbones_are_measured_by_the_workers_with_a_gpu_which_open_one_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = read_backbone(backbone_folder(tmp_path / "backbones"))
    extractor = ClipExtractor(feature_sets=(), further=(backbone_family(backbone, "cpu"),))
    with DaskProcesses() as dask:
        dask.add("--resources", "GPU=1", "--name", "with", threads=2)
        dask.add("--name", "without")
        dask.wait_for(2)
        monkeypatch.setenv(ADDRESS, dask.address)
        monkeypatch.delenv(CLUSTER, raising=False)
        made = {}
        for name, pool in (("threads", ClipPoolResource()), ("dask", DASK)):
            corpus = staged(tmp_path / name, tiny_clips(tmp_path / "made", 6), pool=pool, prober=ProberResource())
            assert corpus.ingest().report.written == 6
            made[name] = measured(corpus, extractor)
        with DASK.open(1) as executor:
            assert isinstance(executor, DaskExecutor)
            info = executor._client.scheduler_info(n_workers=-1)["workers"]
            networks = {info[worker]["name"]: count for worker, count in executor.everywhere(networks_here).items()}
            assert networks == {"with": 1, "without": 0}
    of_threads, of_dask = (pl.read_parquet(made[name].path) for name in ("threads", "dask"))
    columns = [name for name in of_dask.columns if name.startswith("tiny.")]
    assert len(columns) == 2
    for name in columns:
        np.testing.assert_allclose(of_dask[name].to_numpy(), of_threads[name].to_numpy(), rtol=1e-5)
    for table in made.values():
        manifest = json.loads(table.path.with_name("features.manifest.json").read_text())
        assert manifest["data_version"] == table.data_version
        assert manifest["families"]["backbone:tiny"]["device"] == "cpu"


# Deaths


@pytest.mark.parametrize(
    "how", [signal.SIGSEGV, pytest.param(signal.SIGKILL, marks=pytest.mark.takes_long("workers that are killed"))]
)
def test_a_clip_that_kills_its_workers_is_found_by_name_and_its_neighbours_are_kept(
    cluster: Cluster, tmp_path: Path, how: signal.Signals
) -> None:
    bodies = {f"{number}.mp4": bytes([number, int(how)]) for number in range(5)}
    pool = ClipPoolResource(implementation="dask", chunk_clips=2)
    corpus = staged(tmp_path / "data", bodies, prober=DeadlyProber("2.mp4", how), pool=pool)
    report = corpus.ingest().report
    assert {row["src"] for row in corpus.rows()} == set(bodies) - {"2.mp4"}
    (loss,) = report.losses
    assert loss.src == "2.mp4"
    if how is signal.SIGSEGV:
        assert (report.skipped_broken, report.skipped_probe) == (1, 0)
        assert loss.reason == "its worker crashed on it (signal 11)"
    else:  # it may have been the machine: three runs decide
        assert (report.skipped_broken, report.skipped_probe) == (0, 1)
        assert loss.reason == "its worker was killed (signal 9)"


@pytest.mark.takes_long("workers that are killed")
def test_a_clip_that_kills_its_workers_costs_its_feature_row_only(cluster: Cluster, tmp_path: Path) -> None:
    corpus = staged(tmp_path / "data", {f"{number}.mp4": bytes([number]) * (number + 1) for number in range(6)})
    corpus.ingest()
    report = measured(corpus, DeadlyExtractor("3.mp4")).report
    assert report is not None
    assert report.failed == [("3.mp4", "its worker crashed on it (signal 11)")]
    assert report.measured == 5


@pytest.mark.takes_long("workers that are killed")
def test_a_worker_that_is_killed_in_mid_run_costs_no_clip(cluster: Cluster, tmp_path: Path) -> None:
    corpus = staged(tmp_path / "data", {f"{number}.mp4": bytes([number]) for number in range(30)})
    corpus.ingest()
    pids = [nanny.pid for nanny in cluster.cluster.workers.values()]
    killer = threading.Timer(0.5, os.kill, (pids[0], signal.SIGKILL))
    killer.start()
    report = measured(corpus, DeadlyExtractor(pause_s=0.05)).report
    killer.join()
    assert report is not None
    assert (report.measured, report.failed) == (30, [])


def test_an_interrupt_stops_the_workers_within_two_seconds(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqa_assets.clips.work.OBSERVED_EVERY_S", 0.0)
    corpus = staged(tmp_path / "data", {f"{number}.mp4": bytes([number]) for number in range(4)})
    corpus.ingest()
    begun: list[float] = []

    def interrupt(counts: PassCounts) -> None:
        begun.append(time.monotonic())
        raise KeyboardInterrupt

    clips = ClipFolders(corpus.folder / "clips")
    settings = FeatureSettings(corpus.root.corpus_jsonl(KONVID), clips, workers=2, observe=interrupt)
    with pytest.raises(KeyboardInterrupt):
        make_clip_features(
            KONVID, settings, DeadlyExtractor(pause_s=60.0), DASK, RunContext(corpus.root, {}, Path("x"))
        )
    wait(lambda: not any(state.processing for state in cluster.cluster.scheduler.workers.values()), 2.0)
    assert time.monotonic() - begun[0] < 4.0


def test_a_run_that_is_killed_lets_go_of_the_clips_that_its_workers_have_in_hand(
    cluster: Cluster, tmp_path: Path
) -> None:
    began, ended = tmp_path / "began", tmp_path / "ended"
    with dask_cluster.dask_executor(os.environ) as connected:
        connected.executor.submit(until_stopped, began, ended)
        wait(began.exists)
        connected.executor._client.close()  # as the system closes the connections of a process that is gone
        wait(ended.exists, 10.0)
    with dask_cluster.dask_executor(os.environ) as connected:
        wait(lambda: not any(connected.executor.everywhere(runs_here).values()), 5.0)


# Unfit, or not there


def refusal(environment: dict[str, str]) -> VqaError:
    """What a pool on Dask says of an environment, before twenty seconds have passed."""
    begun = time.monotonic()
    with pytest.raises(VqaError) as error, dask_cluster.dask_executor(environment):
        pass
    assert time.monotonic() - begun < 20
    assert error.value.next_step
    return error.value


def test_an_address_where_nobody_listens_is_an_error_that_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = refusal({ADDRESS: f"tcp://127.0.0.1:{port}"})
    assert str(error).startswith(f"{ADDRESS}: no Dask scheduler at tcp://127.0.0.1:{port}: connection refused")
    assert refusal({ADDRESS: "tcp://no-such-host.invalid:8786"}).found.startswith("name ")


@pytest.mark.parametrize("says", [None, b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n" * 100])
def test_an_address_where_something_else_answers_is_an_error(
    says: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_cluster, "_ANSWER_WITHIN_S", 1.0)  # of the one that says nothing
    with answering(says) as port:
        error = refusal({ADDRESS: f"tcp://127.0.0.1:{port}"})
    assert error.found == ("no answer within 1 seconds" if says is None else "an answer that is not Dask's")


def test_a_worker_s_address_is_no_scheduler_s(cluster: Cluster) -> None:
    worker = next(iter(cluster.cluster.scheduler.workers))
    assert refusal({ADDRESS: worker}).found == "a Dask worker"


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, f"neither {ADDRESS} nor {CLUSTER}"),
        ({ADDRESS: "tcp://h:1", CLUSTER: "c.toml"}, f"{ADDRESS} and {CLUSTER} both"),
        ({ADDRESS: "http://h:1"}, "http://h:1"),
        ({ADDRESS: "tcp://127.0.0.1"}, "no address"),
        ({ADDRESS: "tls://127.0.0.1:8786"}, "no keys"),
    ],
)
def test_an_environment_that_names_no_cluster_is_told_what_it_needs(environment: dict[str, str], found: str) -> None:
    assert found in refusal(environment).found


@pytest.mark.parametrize(
    ("text", "what", "found"),
    [
        ("workers = 2", "class", "nothing"),
        ('class = "LocalCluster"\nworkers = 2', "class", "'LocalCluster'"),
        ('class = "distributed.LocalCluster"\nworkers = 0', "workers", "0"),
        ('class = "distributed.LocalCluster"\nworkers = true', "workers", "True"),
        ('class = "distributed.LocalCluster"', "workers", "nothing"),
        ('class = "distributed.LocalCluster"\nworkers = 1\nnanny = 1', "nanny", "no setting of that name"),
        ('class = "distributed.LocalCluster"\nworkers = 1\noptions = 3', "options", "3"),
        ("class =", "", "no TOML"),
    ],
)
def test_a_cluster_file_that_cannot_be_used_says_what_is_wrong(
    tmp_path: Path, text: str, what: str, found: str
) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text(text)
    with pytest.raises(SettingsError) as error:
        read_cluster_file(path)
    assert error.value.what == f"{CLUSTER}: {path}" + (f": {what}" if what else "")
    assert error.value.found.startswith(found)
    with pytest.raises(SettingsError, match="no such file"):
        place_named({CLUSTER: str(tmp_path / "absent.toml")})


@pytest.mark.parametrize(
    ("name", "options", "found"),
    [
        ("dask_of_nobody.Cluster", "", "No module named 'dask_of_nobody'"),
        ("distributed.NoSuchCluster", "", "has no attribute 'NoSuchCluster'"),
        ("distributed.LocalCluster", 'protocol = "pigeon"', "unknown address scheme 'pigeon'"),
        (
            "dask_jobqueue.SLURMCluster",
            "cores = 1\nmemory = '1GB'",
            "none of 1 started: there is no program sbatch",
        ),
        ("pathlib.Path", "", "TypeError"),
    ],
)
def test_a_cluster_that_does_not_exist_or_does_not_start_is_an_error(
    tmp_path: Path, name: str, options: str, found: str
) -> None:
    (tmp_path / "cluster.toml").write_text(f'class = "{name}"\nworkers = 1\n[options]\n{options}\n')
    error = refusal({CLUSTER: str(tmp_path / "cluster.toml")})
    assert found in str(error)


def test_ctrl_c_does_what_it_did_whatever_the_module_of_a_cluster_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # as dask_jobqueue does while it is imported
    (tmp_path / "rude.py").write_text("import signal, sys\nsignal.signal(signal.SIGINT, lambda *_: sys.exit())\n")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "cluster.toml").write_text('class = "rude.Cluster"\nworkers = 1\n')
    before = signal.getsignal(signal.SIGINT)
    assert "has no attribute 'Cluster'" in str(refusal({CLUSTER: str(tmp_path / "cluster.toml")}))
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("package", "version"), [("vqa-assets", "0.0.1"), ("av", elsewhere.ABSENT), ("onnxruntime", "1.0")]
)
def test_a_worker_of_another_version_or_without_pyav_is_an_error_before_work_starts(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, package: str, version: str
) -> None:
    theirs = elsewhere.packages_here()
    really = theirs[package]
    monkeypatch.setattr(dask_cluster, "everywhere", lambda client, work: {"tcp://w:1": {**theirs, package: version}})
    error = refusal({ADDRESS: cluster.address})
    assert str(error).startswith(
        f"the Dask worker tcp://w:1 is of another version: {package} {version}, expected {package} {really}"
    )


def test_workers_that_do_not_see_the_clips_are_an_error_before_work_starts(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = staged(tmp_path / "data", {"a.mp4": b"a"})

    @contextmanager
    def of_this_process_only(folder: Path, content: str) -> Iterator[Path]:
        with mark_in(folder, content) as mark, mark.open("rb") as file:
            descriptor = fcntl.fcntl(file, fcntl.F_DUPFD, 900)
            try:
                yield Path(f"/proc/self/fd/{descriptor}")
            finally:
                os.close(descriptor)

    monkeypatch.setattr(dask_engine, "mark_in", of_this_process_only)
    with pytest.raises(ClusterError) as error, DASK.open(1) as executor:
        executor.check_sees(corpus.folder / "clips")  # type: ignore[attr-defined]
    assert error.value.what == "2 of 2 Dask workers do not see the clips"
    assert "no such file or directory" in error.value.found


def environment_without(folder: Path, *packages: str) -> str:
    """A second environment, with all that this one has but these packages: its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (theirs,) = folder.glob("lib/python*/site-packages")
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if path.name.partition("-")[0].partition(".")[0] not in packages:
            (theirs / path.name).symlink_to(path)
    return str(folder / "bin" / "python")


@pytest.mark.takes_long("workers in environments of their own")
def test_workers_of_a_second_environment_that_are_unfit_are_told_before_work_starts(tmp_path: Path) -> None:
    with DaskProcesses() as dask:
        worker = dask.add(python=environment_without(tmp_path / "without", "av"))
        dask.wait_for(1)
        error = refusal({ADDRESS: dask.address})
        assert error.found == "av absent"
        worker.terminate()
        worker.wait()
    package = shutil.copytree(Path(vqa_assets.__file__).parent, tmp_path / "older" / "vqa_assets")
    text = (package / "__init__.py").read_text()
    (package / "__init__.py").write_text(text.replace(f'"{vqa_assets.__version__}"', '"0.0.1"'))
    with DaskProcesses() as dask:
        dask.add(environment={"PYTHONPATH": str(tmp_path / "older")}, folder=tmp_path)
        dask.wait_for(1)
        error = refusal({ADDRESS: dask.address})
    assert error.what.endswith("is of another version")
    assert (error.found, error.expected) == ("vqa-assets 0.0.1", f"vqa-assets {vqa_assets.__version__}")


def keys(folder: Path) -> dict[str, str]:
    """An authority, and a certificate of 127.0.0.1 by it: Dask's variables that name their files."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    pem = serialization.Encoding.PEM
    folder.mkdir()
    (folder / "cert.pem").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(pem))
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(key.private_bytes(pem, *plain))
    variables = {"CA_FILE": "cert.pem"}
    for role in ("CLIENT", "SCHEDULER", "WORKER"):
        variables |= {f"{role}__CERT": "cert.pem", f"{role}__KEY": "key.pem"}
    return {f"DASK_DISTRIBUTED__COMM__TLS__{what}": str(folder / file) for what, file in variables.items()}


def configured(variables: dict[str, str]) -> AbstractContextManager[object]:
    """Dask's configuration as it is in a process that these variables of the environment stand in."""
    from dask import config

    made: AbstractContextManager[object] = config.set(config.merge(config.config, config.collect_env(variables)))
    return made


@pytest.mark.takes_long("a scheduler and a worker with keys")
def test_a_scheduler_with_keys_is_reached_with_them_and_not_without_or_with_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, others = keys(tmp_path / "ours"), keys(tmp_path / "others")
    with DaskProcesses("--protocol", "tls", environment=ours) as processes:
        processes.add()
        where = {ADDRESS: processes.address}
        assert processes.address.startswith("tls://")
        with configured(ours):
            processes.wait_for(1)
            with dask_cluster.dask_executor(where) as connected:
                assert list(connected.executor.map(len, ["a", "bc"])) == [1, 2]
        assert refusal(where).found == "no keys"
        with configured(others):
            assert refusal(where).found.startswith("a certificate that is not trusted: self-signed certificate")
        gone = {name: str(tmp_path / "gone.pem") for name in ours}
        with configured(gone):
            assert refusal(where).found.startswith("keys that cannot be used")


def test_a_worker_that_dies_while_it_is_asked_is_not_one_that_does_not_see_the_clips(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = CommClosedError("Stream is closed")
    monkeypatch.setattr(DaskExecutor, "everywhere", lambda self, work: {"tcp://w:1": closed, "tcp://w:2": ""})
    with DASK.open(1) as executor:
        executor.check_sees(tmp_path)  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir()) == []


def test_a_connection_that_breaks_is_no_file_that_could_not_be_read() -> None:
    class Broken:
        _run = None

        def sync(self, *work: object, **options: object) -> None:
            raise CommClosedError("Stream is closed")

    with pytest.raises(ClusterError, match="the Dask scheduler is gone: CommClosedError: Stream is closed"):
        everywhere(Broken(), os.getpid)


@pytest.mark.takes_long("a scheduler that is killed")
def test_a_scheduler_that_dies_in_mid_run_is_an_error_within_thirty_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = staged(tmp_path / "data", {f"{number}.mp4": bytes([number]) for number in range(4)})
    corpus.pool = ClipPoolResource()
    corpus.ingest()
    file = tmp_path / "scheduler.json"
    begin = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard"]
    scheduler = subprocess.Popen(
        [*begin, "--scheduler-file", str(file), "--host", "127.0.0.1"], stderr=subprocess.DEVNULL
    )
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(file), "--no-dashboard"]
    worker_process = subprocess.Popen([*worker, "--nthreads", "1", "--no-nanny"], stderr=subprocess.DEVNULL)
    try:
        wait(lambda: file.exists() and file.stat().st_size)
        monkeypatch.setenv(ADDRESS, json.loads(file.read_text())["address"])
        monkeypatch.delenv(CLUSTER, raising=False)
        corpus.pool = DASK
        killed: list[float] = []

        really = DaskExecutor._send

        def sent(executor: DaskExecutor, chunk: Any) -> None:
            really(executor, chunk)
            if not killed:
                killed.append(time.monotonic())
                scheduler.kill()

        monkeypatch.setattr(DaskExecutor, "_send", sent)
        with pytest.raises(ClusterError, match="the Dask scheduler is gone"):
            measured(corpus, DeadlyExtractor(pause_s=60.0))
        assert time.monotonic() - killed[0] < 30
    finally:
        for process in (scheduler, worker_process):
            process.kill()
            process.wait()


# As a run


def test_a_run_on_workers_says_how_many_and_where_dask_shows_them(cluster: Cluster, root_path: Path) -> None:
    corpus = SmallCorpus(DataRoot(root_path))
    corpus.annotate([(name, "", 3, 0.5, 5) for name in tiny_clips(corpus.folder / "clips", 3)])
    (corpus.folder / "ingest.toml").write_text("min_rows = 1\n")
    defs = build_defs(data_root=DataRootResource(path=str(root_path)))
    with dg.DagsterInstance.ephemeral() as instance:
        result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
            asset_selection=[dg.AssetKey("corpus_jsonl")],
            partition_key="konvid-150k",
            run_config={
                "loggers": {"console": {"config": {"log_level": "ERROR"}}},
                "resources": {"clip_pool": {"config": {"implementation": "dask"}}},
            },
            instance=instance,
        )
    metadata = result.asset_materializations_for_node("corpus_jsonl")[0].metadata
    assert metadata["dask_workers"].value == 2
    assert str(metadata["dask_dashboard"].value).startswith("http://127.0.0.1:")
    assert len(corpus.rows()) == 3


@pytest.mark.takes_long("a cluster that is started and ended")
def test_a_cluster_of_the_run_s_own_starts_and_ends_with_it(tmp_path: Path) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text('class = "distributed.LocalCluster"\nworkers = 1\n')
    with dask_cluster.dask_executor({CLUSTER: str(file)}) as connected:
        assert connected.executor.in_words() == "1 worker"
        assert list(connected.executor.map(len, ["a", "bc"])) == [1, 2]
        (pid,) = connected.executor.everywhere(os.getpid).values()
    wait(lambda: not Path(f"/proc/{pid}").exists())
