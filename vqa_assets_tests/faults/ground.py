"""The data root on which faults are made, the stages that run on it, and the process that runs them.

A ``Ground`` makes a small data root of everything, runs every stage once, changes the inputs (a row more, a score
changed), and runs every stage again. Of each stage it keeps the root before that second run and after it: what a fault
may leave is one of these two, wholly. Making faults is in ``campaign``, in ``damage`` what is done to files.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from vqa_assets_tests.shared.clips import tiny_clip
from vqa_assets_tests.shared.grids import tune_row, write_rows
from vqa_assets_tests.shared.head_tables import labelled
from vqa_assets_tests.shared.hostile_server import HostileServer, gives
from vqa_assets_tests.shared.object_server import Bucket, ObjectServer
from vqa_assets_tests.shared.unified_corpora import clip

REPOSITORY = Path(__file__).parents[2]
SOURCE = Path(__file__).with_name("preload.c")
CORPUS = "konvid-150k"
DAY_S = 86_400
NO_FAULT = {"call": 0, "nth": 0, "error": 0, "stays": 0}
NOT_PUBLISHED = (".runs", ".ingest.lock")
UNFINISHED = (".tmp", ".part", ".publishing.json")
"""What no finished run leaves."""
WITH_CLIPS = ("corpus_jsonl", "clip_features")
"""The stages whose clips may be elsewhere."""
_BATCH = {"manifest": "batch.json", "report_json": "report.json", "report_md": "report.md"}
_QUICK = {"epochs": 1, "protocol_splits": 0, "device": "cpu"}


@dataclass(frozen=True)
class Stage:
    """One asset (of one partition), and the files that it publishes below the data root.

    ``manifest`` is the replay manifest that ``verify`` reads, ``rows`` the file whose rows are counted, by ``key``.
    ``dask`` is the address of the scheduler on whose workers it runs, empty where it runs on threads. With ``stored``
    its clips lie in an object store. ``within`` is the folder whose calls are counted, empty for the data root.
    """

    asset: str
    manifest: str
    rows: str
    key: str
    partition: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    caches: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    slow: bool = False
    dask: str = ""
    stored: bool = False
    within: str = ""

    @property
    def name(self) -> str:
        """By which its states are kept and its faults are told."""
        return f"{self.asset} from a store" if self.stored else self.asset

    def short(self, faults: int) -> int:
        """How many faults the short form makes where it makes ``faults`` in a stage that takes a blink."""
        return max(2, faults // 4) if self.slow else faults

    @property
    def request(self) -> dict[str, Any]:
        """What the stem is asked for."""
        return {
            "asset": self.asset,
            "partition": self.partition,
            "config": dict(self.config),
            "dask": self.dask,
            "stored": self.stored,
            "within": self.within,
        }


STAGES = (
    Stage(
        "corpus_jsonl",
        f"{CORPUS}/konvid_150k.manifest.json",
        f"{CORPUS}/konvid_150k.jsonl",
        "src",
        partition=CORPUS,
        caches=(f"{CORPUS}/.ingest-cache.sqlite", f"{CORPUS}/.download-progress.json"),
        inputs=(f"{CORPUS}/manifest.csv", f"{CORPUS}/ingest.toml", f"{CORPUS}/clips/0001.mp4"),
    ),
    Stage(
        "unified_corpus",
        "aggregated/unified_corpus.manifest.json",
        "aggregated/unified_corpus.jsonl",
        "src",
        inputs=("netflix/netflix_public.jsonl",),
    ),
    Stage(
        "clip_features",
        f"{CORPUS}/features.manifest.json",
        f"{CORPUS}/features.parquet",
        "key",
        partition=CORPUS,
        caches=(f"{CORPUS}/.feature-cache.sqlite",),
        inputs=(f"{CORPUS}/konvid_150k.jsonl", f"{CORPUS}/clips/0001.mp4"),
    ),
    Stage(
        "mos_features",
        f"{CORPUS}/features_with_mos.audit.json",
        f"{CORPUS}/features_with_mos.parquet",
        "key",
        partition=CORPUS,
        inputs=(f"{CORPUS}/features.parquet", f"{CORPUS}/konvid_150k.jsonl"),
    ),
    Stage(
        "mos_label_batch",
        "batch/report.json",
        "batch/labelled.parquet",
        "key",
        config={f"{name}": f"data/batch/{file}" for name, file in _BATCH.items()},
        inputs=("batch/batch.json",),
    ),
    Stage(
        "unified_features",
        "aggregated/unified_features.manifest.json",
        "aggregated/unified_features.parquet",
        "key",
        inputs=("aggregated/unified_corpus.parquet", f"{CORPUS}/features_with_mos.parquet"),
    ),
    Stage(
        "encode_grid_jsonl",
        "encode-grid/netflix_corpus.manifest.json",
        "encode-grid/netflix_corpus.jsonl",
        "src",
        partition="netflix",
        inputs=("encode-grid/netflix_vmaf_tune.jsonl",),
    ),
    Stage(
        "fr_training_corpus",
        "encode-grid/fr_v2_train_corpus.manifest.json",
        "encode-grid/fr_v2_train_corpus.jsonl",
        "src",
        inputs=("encode-grid/netflix_corpus.jsonl",),
    ),
    Stage(
        "mos_head",
        "models/lsvq_mos_head.json",
        "models/lsvq_mos_head.predictions.parquet",
        "key",
        partition="lsvq",
        config=_QUICK | {"k_folds": 2},
        inputs=("lsvq/features_with_mos.parquet",),
        slow=True,
    ),
)


def compiled(folder: Path) -> Path:
    """The preload library, compiled on the spot."""
    library = folder / "preload.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"], check=True)
    return library


class Ground:
    """A data root, its states before and after each stage, and the stem from which runs are forked."""

    def __init__(self, folder: Path, stages: tuple[Stage, ...] = STAGES) -> None:
        self.folder, self.root, self.stages = folder, folder / "data", stages
        self.shadow = folder / "shadow"
        self.log = folder / "runs.log"
        self.scratch, self.pid_file = folder / "scratch", folder / "pid"
        """Where runs whose clips are in a store bring them, and where each writes its process."""
        self.bucket: Bucket | None = None
        self.objects: dict[str, dict[str, bytes]] = {}
        """Per kept state what the bucket holds, once there is one."""
        self.clock = int(time.time()) + 60
        """The second that every run of the second round sees: equal runs leave equal bytes."""
        self.published: dict[str, list[str]] = {}
        """Per asset the files that its second run replaced or made."""
        self.finished: dict[str, dict[str, str]] = {}
        self.earlier: dict[str, dict[str, str]] = {}

    def __enter__(self) -> "Ground":
        self.root.mkdir(parents=True)
        self._server = HostileServer()
        self._server.__enter__()
        environment = {
            **os.environ,
            "LD_PRELOAD": str(compiled(self.folder)),
            "PYTHONPATH": str(REPOSITORY),
            "VQA_DATA_ROOT": str(self.root),
            "OMP_NUM_THREADS": "1",
            "POLARS_MAX_THREADS": "1",
            "NO_PROXY": "*",
            "no_proxy": "*",
        }
        with self.log.open("ab") as log:
            self._stem = subprocess.Popen(
                [sys.executable, "-m", "vqa_assets_tests.faults.stem", str(self.root)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=self.folder,
                env=environment,
            )
        self._make()
        return self

    def __exit__(self, *_exc: object) -> None:
        assert self._stem.stdin is not None
        assert self._stem.stdout is not None
        self._stem.stdin.close()
        self._stem.wait(30)
        self._stem.stdout.close()
        self._server.__exit__()
        if self.bucket is not None:
            self.bucket.server.__exit__()

    # ---- runs ----

    def ask(self, request: Mapping[str, Any], fault: Mapping[str, int] = NO_FAULT, **more: Any) -> dict[str, Any]:
        """One run in a process of its own; what it says is in ``stem``."""
        asked = {"log": str(self.log), "clock": (self.clock, 0), **request, "fault": fault, **more}
        if self.bucket is not None and request.get("stored"):
            environment = {**self.bucket.server.environment, "TMPDIR": str(self.scratch)}
            asked |= {"environment": environment, "pid_file": str(self.pid_file)}
        assert self._stem.stdin is not None
        assert self._stem.stdout is not None
        self._stem.stdin.write(json.dumps(asked) + "\n")
        self._stem.stdin.flush()
        answer: dict[str, Any] = json.loads(self._stem.stdout.readline())
        return answer

    def verify(self, stage: Stage) -> dict[str, Any]:
        """The command that compares a manifest with what lies beside it."""
        arguments = ["verify", str(self.root / stage.manifest), "--root", str(self.root)]
        return self.ask({"command": "vqa_assets.provenance.verify", "arguments": arguments})

    # ---- states ----

    def put(self, state: str) -> None:
        """Let the root be one of the kept states."""
        shutil.rmtree(self.root)
        shutil.copytree(self.folder / state, self.root, symlinks=True)
        if self.bucket is not None and state in self.objects:
            self.bucket.hold(self.objects[state])
            shutil.rmtree(self.scratch, ignore_errors=True)
            self.scratch.mkdir()

    def keep(self, state: str) -> None:
        """Keep the root as it is."""
        shutil.rmtree(self.folder / state, ignore_errors=True)
        shutil.copytree(self.root, self.folder / state, symlinks=True)
        if self.bucket is not None:
            self.objects[state] = self.bucket.held()

    def state(self, stage: Stage) -> dict[str, str]:
        """What each file that the stage publishes holds now, by its path; empty for one that is not there."""
        return {name: content(self.root / name) for name in self.published[stage.name]}

    def values(self, stage: Stage, state: str | None = None) -> dict[str, str]:
        """The same of the values in the root's, or a kept state's, files: but for times of rows, and for dead bytes."""
        folder = self.folder / state if state else self.root
        return {name: values(folder / name) for name in self.published[stage.name]}

    # ---- making it ----

    def _make(self) -> None:
        self._drop(first=True)
        for stage in self.stages:
            self._undisturbed(stage, clock=(self.clock - DAY_S, 0))
        self._drop(first=False)
        for stage in self.stages:
            self._second_run(stage)
        self.keep("complete")

    def _second_run(self, stage: Stage) -> None:
        """An undisturbed run on the changed inputs, with the states before and after it."""
        self.keep(f"before-{stage.name}")
        before = contents(self.root)
        self._undisturbed(stage)
        self.keep(f"after-{stage.name}")
        after = contents(self.root)
        self.published[stage.name] = sorted(
            name
            for name in after
            if before.get(name) != after[name]
            and not any(part.startswith(".") for part in Path(name).parts)
            and "clips" not in Path(name).parts
        )
        self.finished[stage.name] = self.state(stage)
        self.put(f"before-{stage.name}")
        self.earlier[stage.name] = self.state(stage)
        self.put(f"after-{stage.name}")

    def with_a_store(self) -> tuple[Stage, ...]:
        """The stages whose clips may be in an object store, with all of them there; made at the first call.

        What was staged lies in the bucket, and what is fetched goes there: the second run lists it, reads what it does
        not know of it, and puts the clip that is new.
        """
        stages = tuple(replace(stage, stored=True) for stage in self.stages if stage.asset in WITH_CLIPS)
        if self.bucket is None:
            self.bucket = ObjectServer().__enter__().bucket(f"faults-{uuid4().hex}")
            self.put("before-corpus_jsonl")
            corpus = self.root / CORPUS
            with (corpus / "ingest.toml").open("a") as toml:
                toml.write(f'clips_url = "s3://{self.bucket.name}/{CORPUS}"\n')
            for path in sorted((corpus / "clips").iterdir()):
                self.bucket.put(f"{CORPUS}/{path.name}", path.read_bytes())
            shutil.rmtree(corpus / "clips")
            self.scratch.mkdir(exist_ok=True)
            for stage in stages:
                self._second_run(stage)
        return stages

    def _undisturbed(self, stage: Stage, **more: Any) -> None:
        answer = self.ask(stage.request, **more)
        assert answer.get("success"), (stage.asset, answer)

    def _drop(self, *, first: bool) -> None:
        """The inputs: of the first round, or with a staged and a fetched clip more, and another score."""
        staged, fetched = (2, 2) if first else (3, 3)
        corpus = self.root / CORPUS
        (corpus / "clips").mkdir(parents=True, exist_ok=True)
        (corpus / "ingest.toml").write_text("min_rows = 1\n")
        lines = ["video_name,url,mos,sd,n"]
        made = self.folder / "made"
        made.mkdir(exist_ok=True)
        for number in range(staged):
            name = f"{number:04d}.mp4"
            tiny_clip(corpus / "clips" / name, number)
            lines.append(f"{name},,{2 + number / 4 + (not first and number == 0)},0.5,9")
        for number in range(10, 10 + fetched):
            name = f"{number:04d}.mp4"
            url = self._server.on(f"/{name}", gives(tiny_clip(made / name, number)))
            lines.append(f"{name},{url},{3 + number / 50},0.5,9")
        (corpus / "manifest.csv").write_text("\n".join(lines) + "\n")
        (self.root / "netflix").mkdir(exist_ok=True)
        shard = [clip(f"n{number}.mp4", 90.0 - number, "netflix-public") for number in range(2 + (not first))]
        (self.root / "netflix" / "netflix_public.jsonl").write_text("".join(json.dumps(row) + "\n" for row in shard))
        (self.root / "lsvq").mkdir(exist_ok=True)
        labelled(40, seed=int(not first)).write_parquet(self.root / "lsvq" / "features_with_mos.parquet")
        rows = [tune_row(number) for number in range(2 + (not first))]
        write_rows(self.root / "encode-grid" / "netflix_vmaf_tune.jsonl", *rows)
        (self.root / "batch").mkdir(exist_ok=True)
        table = {
            "id": "one",
            "features": str(self.root / CORPUS / "features.parquet"),
            "labels": [str(self.root / CORPUS / "konvid_150k.jsonl")],
            "out": str(self.root / "batch" / "labelled.parquet"),
            "audit_json": str(self.root / "batch" / "labelled.audit.json"),
        }
        (self.root / "batch" / "batch.json").write_text(json.dumps({"tables": [table]}))


@contextmanager
def ground(folder: Path, *assets: str) -> Iterator[Ground]:
    """A ground; where ``assets`` are named, faults are asked of these stages only."""
    with Ground(folder) as made:
        made.stages = tuple(stage for stage in STAGES if not assets or stage.asset in assets)
        yield made


def contents(root: Path) -> dict[str, str]:
    """What each file below the root holds, by its path."""
    return {
        path.relative_to(root).as_posix(): content(path)
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.is_symlink() and not set(path.parts) & set(NOT_PUBLISHED)
    }


def content(path: Path) -> str:
    """A hash of the bytes; of a replay manifest what it says of the files it is about: times differ between runs."""
    try:
        held = path.read_bytes()
    except FileNotFoundError:
        return ""
    if path.suffix == ".json":
        try:
            provenance = json.loads(held)["run_provenance"]
            files = {
                (role, name): record.get("sha256")
                for role in ("inputs", "outputs")
                for name, record in provenance[role].items()
            }
            return f"manifest {sorted(files.items())}"
        except (ValueError, KeyError, TypeError, AttributeError):
            pass
    return hashlib.sha256(held).hexdigest()


def values(path: Path) -> str:
    """The values of a table, but for when its rows were ingested; of a replay manifest only whether it is one."""
    import pyarrow.parquet as pq

    if path.suffix == ".jsonl":
        return json.dumps(rows_of(path))
    if path.suffix == ".parquet":
        # Bits of padding and of statistics mean nothing to whoever reads the rows.
        try:
            return str(pq.read_table(path).to_pylist())
        except (OSError, ValueError) as error:  # damage that was left: a finding, and no end of the campaign
            return f"no table: {error}"
    held = content(path)
    return "manifest" if held.startswith("manifest") else held


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a table, but for when they were ingested."""
    import pyarrow.parquet as pq

    if path.suffix == ".parquet":
        rows = pq.read_table(path).to_pylist()
    else:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [{name: value for name, value in row.items() if name != "ingested_at_utc"} for row in rows]


def keys(path: Path, column: str) -> list[str] | None:
    """The keys of a table's rows in their order; None where it is not there or cannot be read."""
    import pyarrow.parquet as pq

    try:
        if path.suffix == ".parquet":
            return [str(key) for key in pq.read_table(path, columns=[column])[column].to_pylist()]
        return [str(json.loads(line)[column]) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError, KeyError):
        return None
