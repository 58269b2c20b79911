"""A small data root with one file of every format that a version writes, made by that version's own code.

``python -P released_formats.py 45ead8c released/first.tar.gz``, in this folder, makes what the tests open; it is run
once for each version that is released. It imports nothing of this package but what the version it runs has, too.
"""

import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

CORPUS = "konvid-150k"
CLIPS = 12
HEAD = "konvid_150k_mos_head"
COLUMNS = ["adm2", "vif_scale0", "motion2", "si"]
STEPS: tuple[tuple[str, str | None, dict[str, Any]], ...] = (
    ("corpus_annotations", CORPUS, {}),
    ("corpus_jsonl", CORPUS, {}),
    ("unified_corpus", None, {}),
    ("clip_features", CORPUS, {}),
    ("mos_features", CORPUS, {}),
    ("unified_features", None, {}),
    ("mos_head", CORPUS, {"columns": COLUMNS, "epochs": 2, "k_folds": 2}),
    ("libvmaf_reports", "bvi-dvc", {}),
    ("encode_grid_jsonl", "bvi-dvc", {}),
    ("fr_training_corpus", None, {}),
)
"""Asset, partition and run config, in order; of those that the version has."""
_SIX = {"adm2": 0.9, "vif_scale0": 0.4, "vif_scale1": 0.7, "vif_scale2": 0.8, "vif_scale3": 0.9, "motion2": 4.0}


def make(revision: str, archive: Path) -> None:
    """Make the archive of a revision of this repository, from its own code in a process of its own."""
    repository = Path(__file__).parents[2]
    command = ["git", "-C", str(repository), "archive", revision]
    code = subprocess.run(command, check=True, capture_output=True).stdout
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=io.BytesIO(code)) as files:
        checkout, root = Path(folder) / "code", Path(folder) / "data"
        files.extractall(checkout, filter="data")
        root.mkdir()
        environment = {**os.environ, "PYTHONPATH": str(checkout), "VQA_DATA_ROOT": str(root), "NO_PROXY": "*"}
        # -P: the modules beside this file are no modules of that version.
        filling = [sys.executable, "-P", __file__, "--fill", str(root)]
        subprocess.run(filling, check=True, env=environment, cwd=folder)
        archive.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as made:
            made.add(root, "data", filter=_by_nobody)
        archive.write_bytes(gzip.compress(content.getvalue(), mtime=0))


def _by_nobody(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """An entry that says nothing of whose machine it was made on; None for what only a run at work needs."""
    if entry.name.endswith((".lock", "/.runs")):
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def unpack(archive: Path, folder: Path) -> Path:
    """The data root in an archive, unpacked below a folder."""
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    return folder / "data"


class _Gone(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(404)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Nothing."""


def fill(root: Path) -> None:
    """Fill a data root by the version that is imported: its inputs first, then every asset that it has."""
    import dagster as dg

    from vqa_assets import provenance
    from vqa_assets.definitions import build_defs
    from vqa_assets.resources.data_root import DataRootResource

    provenance._processor = lambda: "a processor"  # type: ignore[assignment]
    sys.argv = ["released_formats"]
    server = HTTPServer(("127.0.0.1", 0), _Gone)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    _write_inputs(root, f"http://127.0.0.1:{server.server_port}/gone.mp4")
    definitions = build_defs(data_root=DataRootResource(path=str(root)))
    graph = definitions.resolve_asset_graph()
    there = {key.to_user_string(): graph.get(key).partitions_def for key in graph.get_all_asset_keys()}
    job = definitions.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        for asset, partition, config in STEPS:
            if asset in there:
                job.execute_in_process(
                    asset_selection=[dg.AssetKey(asset)],
                    partition_key=partition if there[asset] is not None else None,
                    run_config={"ops": {asset: {"config": config}}} if config else {},
                    instance=instance,
                )
    server.shutdown()


def _write_inputs(root: Path, gone: str) -> None:
    corpus = root / CORPUS
    clips = corpus / "clips"
    clips.mkdir(parents=True)
    lines = ["file_name,mos,sd,n,url"]
    for number in range(CLIPS):
        _write_clip(clips / f"{number:04d}.mp4", number)
        lines.append(f"{number:04d}.mp4,{1.5 + number / 4},0.5,20,")
    lines += ["missing.mp4,3,0.5,20,", f"gone.mp4,3,0.5,20,{gone}"]
    (corpus / "manifest.csv").write_text("\n".join(lines) + "\n")
    (corpus / "ingest.toml").write_text("min_rows = 1\n")
    reports = root / "encode-grid" / "bvi-dvc"
    reports.mkdir(parents=True)
    for number in range(3):
        vmaf = 70.0 + number
        frames = [
            {"frameNum": i, "metrics": {**{f"integer_{f}": v + i / 100 for f, v in _SIX.items()}, "vmaf": vmaf}}
            for i in range(2)
        ]
        pooled = {"vmaf": {"min": vmaf, "max": vmaf, "mean": vmaf, "harmonic_mean": vmaf}}
        report = {"version": "3.0.0", "frames": frames, "pooled_metrics": pooled}
        (reports / f"Clip{number}_480x272_25fps_10bit_420.json").write_text(json.dumps(report))


def _write_clip(path: Path, seed: int) -> None:
    """A 64×48 x264 clip of noise blocks that no other seed gives."""
    import av
    import numpy as np

    blocks = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    picture = blocks.repeat(8, axis=0).repeat(8, axis=1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.options = {"preset": "ultrafast", "threads": "1"}
        for shift in range(5):
            frame = av.VideoFrame.from_ndarray(np.roll(picture, (1 + seed % 4) * shift, axis=1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    # A time that an archive keeps whole, so that what caches know of the clip still is of this one.
    os.utime(path, (1_700_000_000, 1_700_000_000))


if __name__ == "__main__":
    if sys.argv[1] == "--fill":
        fill(Path(sys.argv[2]))
    else:
        make(sys.argv[1], Path(sys.argv[2]))
