"""The warmed-up process from which each fault's run is forked: ``python -m vqa_assets_tests.faults.stem <data root>``.

It imports all that stages use and builds the assets once; then it forks a child per request, so a fault costs the run
itself and not the imports. A child calls the asset's own function with a context that only records: Dagster's event log
is no part of what faults are made for. Requests are lines of JSON on the input, answers lines of JSON on the output.
How a fault is made is in ``preload.c``; what is asked for, and what is made of the answers, is in ``campaign``.
"""

import contextlib
import ctypes
import gc
import importlib
import io
import json
import logging
import os
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from vqa_assets.clips import scratch

LIMIT_S = 120
"""A run that takes longer hangs."""
_HEAVY = (
    "PIL.ImageDraw",
    "PIL.ImageFont",
    "PIL.JpegImagePlugin",
    "av.subtitles.stream",
    "encodings.idna",
    "imageio_ffmpeg",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "matplotlib.pyplot",
    "numpy",
    "obstore",
    "obstore.exceptions",
    "obstore.store",
    "onnx",
    "onnxruntime",
    "openpyxl",
    "pandas",
    "pandas.io.formats.string",
    "pandera.backends.pandas.register",
    "pandera.pandas",
    "polars._utils.parquet",
    "pyarrow.dataset",
    "pyarrow.json",
    "pyarrow.parquet",
    "pycurl",
    "regex",
    "scipy.optimize",
    "scipy.stats",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "sympy",
    "torch",
    "torch._dynamo",
    "torch.func",
    "vqa_assets.annotations.reading",
    "vqa_assets.encode_grid.grid_sources",
    "vqa_assets.features.corpus_table",
    "vqa_assets.features.extractor",
    "vqa_assets.heads.build",
    "vqa_assets.heads.publish",
    "vqa_assets.heads.members.training",
    "vqa_assets.ingest.gather",
    "vqa_assets.ingest.run",
    "vqa_assets.labels.batch",
    "vqa_assets.mirror",
    "vqa_assets.predict",
    "vqa_assets.status",
    "vqa_assets.unified.aggregation",
    "vqa_assets.unified.feature_rows",
)


class Printed(io.TextIOWrapper):
    """What a command prints, as bytes of a terminal would be."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)

    @property
    def text(self) -> str:
        written: io.BytesIO = self.buffer  # type: ignore[assignment]
        return written.getvalue().decode("utf-8", "replace")


class Stem:
    """The assets over one data root, and children that run one of them with a fault."""

    def __init__(self, root: Path) -> None:
        from vqa_assets import provenance
        from vqa_assets.assets import runs
        from vqa_assets.clips import stores
        from vqa_assets.definitions import build_defs, default_resources
        from vqa_assets.errors import VqaError
        from vqa_assets.resources.data_root import DataRootResource
        from vqa_assets.resources.extractor import ClipExtractorResource
        from vqa_assets.tables.specs import CLIP_FEATURES, CORPUS_JSONL
        from vqa_assets.tables.validation import validate_rows

        self.root = root
        self.library = ctypes.CDLL(os.environ.pop("LD_PRELOAD"))  # what a run starts is left alone
        stores.RETRIES = 2  # each waits longer than the one before it
        self.resources = default_resources() | {
            "data_root": DataRootResource(path=str(root)),
            "extractor": ClipExtractorResource(feature_sets=["konvid-v1"]),
        }
        defs = build_defs(**self.resources)
        self.assets = {key.to_user_string(): defs.resolve_assets_def(key) for key in defs.resolve_all_asset_keys()}
        for name in ("corpora", "labels", "unified", "unified_features"):
            module = importlib.import_module(f"vqa_assets.assets.{name}")
            for drawing in [drawing for drawing in vars(module) if drawing.endswith("_png")]:
                setattr(module, drawing, lambda *_: b"")  # pictures for the web UI, which touch no file
        runs.git_state()
        provenance.packages()
        for table in (CORPUS_JSONL, CLIP_FEATURES):  # makes its schema, and the library's backends
            with contextlib.suppress(VqaError):
                validate_rows([{}], table, "")

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Run one request in a child of its own: {ended, seconds, ...}, what it left and how it ended."""
        begun = time.monotonic()
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read_end)
            self._in_child(request, write_end)
        os.close(write_end)
        pidfd = os.pidfd_open(child)
        hangs = not select.select([pidfd], [], [], LIMIT_S)[0]
        os.close(pidfd)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # with what it had started
        _, status = os.waitpid(child, 0)
        with os.fdopen(read_end, "rb") as pipe:
            left = pipe.read()
        ended = "hangs" if hangs else f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "ended"
        return {"ended": ended, "seconds": time.monotonic() - begun, **(json.loads(left) if left else {})}

    def _in_child(self, request: Mapping[str, Any], write_end: int) -> None:
        os.setpgid(0, 0)
        result: dict[str, Any] = {}
        try:
            logging.getLogger().handlers.clear()
            os.environ.update(request.get("environment", {}))
            tempfile.tempdir = os.environ.get("TMPDIR", tempfile.tempdir)  # it was decided before this one was set
            if pid_file := request.get("pid_file"):
                Path(pid_file).write_text(str(os.getpid()))
            with Path(request["log"]).open("ab") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            held, shifted = request.get("clock", (0, 0))
            self.library.faults_clock(ctypes.c_int64(held), ctypes.c_int64(shifted))
            result = self._with_fault(request)
        except BaseException:
            result = {"success": False, "message": traceback.format_exc(), "raw": True}
        finally:
            self.library.faults_disarm()
            scratch._close_all(os.getpid())  # as at the end of any process
            with os.fdopen(write_end, "wb") as pipe:
                pipe.write(json.dumps(result).encode())
            os._exit(0)

    def _with_fault(self, request: Mapping[str, Any]) -> dict[str, Any]:
        fault = request["fault"]
        self.library.faults_arm(
            os.fsencode(request.get("within") or self.root),
            ctypes.c_int(fault["call"]),
            ctypes.c_long(fault["nth"]),
            ctypes.c_int(fault["error"]),
            ctypes.c_int(fault["stays"]),
            os.fsencode(request.get("shadow", "")),
        )
        result = self._run(request)
        self.library.faults_disarm()
        counts = [self.library.faults_count(ctypes.c_int(number)) for number in range(6)]
        return {**result, "tripped": bool(self.library.faults_tripped()), "counts": counts}

    def _run(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if "command" in request:
            return _command(request["command"], request["arguments"])
        return self._materialize(
            request["asset"], request.get("partition"), request.get("config") or {}, request.get("dask", "")
        )

    def _materialize(self, asset: str, partition: str | None, config: Mapping[str, Any], dask: str) -> dict[str, Any]:
        import dagster as dg

        from vqa_assets.clips.dask_cluster import ADDRESS
        from vqa_assets.resources.clip_pool import ClipPoolResource

        definition = self.assets[asset]
        told: list[str] = []
        context = _context(definition, dg.AssetKey(asset), partition, config, told)
        function = definition.op.compute_fn.decorated_fn  # type: ignore[union-attr]
        resources = {name: self.resources[name] for name in definition.required_resource_keys & self.resources.keys()}
        if dask:
            os.environ[ADDRESS] = dask
            resources["clip_pool"] = ClipPoolResource(implementation="dask")
        warnings = _Heard()
        logging.getLogger("vqa_assets").addHandler(warnings)
        try:
            function(context, **resources)
        except dg.Failure as failure:
            return {"success": False, "message": str(failure.description), "raw": False, "told": told + warnings.lines}
        except Exception:
            return {"success": False, "message": traceback.format_exc(), "raw": True, "told": told + warnings.lines}
        return {"success": True, "message": "", "raw": False, "told": told + warnings.lines}


class _Heard(logging.Handler):
    """The warnings of a run."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def _context(definition: Any, key: Any, partition: str | None, config: Mapping[str, Any], told: list[str]) -> Any:
    """What an asset's function sees of a run: the same run every time, so that equal runs leave equal bytes."""
    log = SimpleNamespace(info=lambda *_: None, debug=lambda *_: None, warning=told.append, error=told.append)
    context = SimpleNamespace(
        run=SimpleNamespace(run_id="00000000-0000-0000-0000-000000000000", tags={}),
        asset_key=key,
        has_partition_key=partition is not None,
        partition_key=partition,
        assets_def=definition,
        op_config=dict(config),
        log=log,
        log_event=lambda _event: None,
    )
    context.op_execution_context = context
    return context


def _command(module: str, arguments: list[str]) -> dict[str, Any]:
    """A command's ``main`` as its process would run it: whether its exit status is 0, and what it printed."""
    printed = Printed()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        status = importlib.import_module(module).main(arguments)
    return {"success": status == 0, "message": printed.text, "raw": False}


def _import_dask() -> None:
    """Dask's deadlines go by a clock that nobody holds: with one that stands, what it sends would wait for ever."""
    from tornado.ioloop import IOLoop

    really, begun = time.time, time.time() - time.monotonic()

    def unheld() -> float:
        return begun + time.monotonic()

    time.time = unheld  # as it is found by whoever imports it now
    importlib.import_module("distributed")
    time.time = really
    IOLoop.time = lambda _: unheld()  # type: ignore[method-assign]


def main() -> None:
    """Serve requests until the input ends."""
    for name in _HEAVY:
        importlib.import_module(name)
    _import_dask()
    answers = os.fdopen(os.dup(1), "w")
    stem = Stem(Path(sys.argv[1]))
    gc.collect()
    gc.freeze()  # a child's collections would copy every page of what was imported
    for line in sys.stdin:
        answers.write(json.dumps(stem.answer(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
