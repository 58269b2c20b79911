"""Encode-grid inputs for tests: libvmaf reports of the wheel's real libvmaf and in older shapes, and vmaf-tune rows."""

import json
import subprocess
from pathlib import Path
from typing import Any

from vqa_assets.encode_grid.grid_rows import DEFAULTS, ROW_KEYS, VERSION_2_KEYS
from vqa_assets.features.ffmpeg import ffmpeg_binary

SIX = {"adm2": 0.9, "vif_scale0": 0.4, "vif_scale1": 0.7, "vif_scale2": 0.8, "vif_scale3": 0.9, "motion2": 4.0}


def real_report(path: Path, blur: int = 2, frames: int = 4, model: str = "") -> Path:
    """Score a blurred 64×48 test picture against itself by the real libvmaf, into ``path``.

    ``model`` is one of its own, given its name; else it is libvmaf's default without one.
    """
    picture = f"testsrc2=size=64x48:rate=25:duration={frames / 25}"
    named = f":model=version={model}\\\\:name={model}" if model else ""
    graph = f"[0:v]boxblur={blur}[d];[d][1:v]libvmaf=log_fmt=json:log_path={path.name}{named}"
    sides = ["-f", "lavfi", "-i", picture] * 2
    command = [ffmpeg_binary(), "-nostdin", "-v", "error", *sides, "-lavfi", graph, "-f", "null", "-"]
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(command, check=True, cwd=path.parent, capture_output=True)
    return path


def frames(*scores: float, prefix: str = "", **changes: Any) -> list[dict[str, Any]]:
    """Per-frame entries of libvmaf with these VMAF scores; canonical-6 grows by 0.01 a frame."""
    return [
        {
            "frameNum": i,
            "metrics": {**{prefix + f: v + i / 100 for f, v in SIX.items()}, "vmaf": score, **changes},
        }
        for i, score in enumerate(scores)
    ]


def small_report(vmaf: float = 80.0, **changes: Any) -> str:
    """A report of two frames with this pooled VMAF, as JSON."""
    pooled = {"pooled_metrics": {"vmaf": {"min": vmaf, "max": vmaf, "mean": vmaf, "harmonic_mean": vmaf}}}
    return json.dumps({"version": "3.0.0", "frames": frames(vmaf, vmaf, prefix="integer_")} | pooled | changes)


def tune_row(index: int = 0, **changes: Any) -> dict[str, Any]:
    """A row of version 3 as vmaf-tune writes it, one encode an index; ``...`` takes a key away."""
    row = {
        **DEFAULTS,
        "run_id": f"{index:032x}",
        "timestamp": "2026-05-08T12:00:00+00:00",
        "src": f"ref_{index}.yuv",
        "src_sha256": f"{index:064x}",
        "width": 1920,
        "height": 1080,
        "pix_fmt": "yuv420p",
        "framerate": 25.0,
        "duration_s": 6.0,
        "encoder": "libx264",
        "preset": "medium",
        "crf": 23,
        "extra_params": [],
        "encode_size_bytes": 1000,
        "vmaf_score": 90.0 + index / 100,
        "vmaf_model": "vmaf_v0.6.1",
        **{f"{f}_mean": v for f, v in SIX.items()},
        **{f"{f}_std": 0.1 for f in SIX},
        **changes,
    }
    return {key: value for key, value in row.items() if value is not ...}


def version_2(row: dict[str, Any]) -> dict[str, Any]:
    """The same row as a vmaf-tune of schema version 2 wrote it."""
    assert set(row) <= set(ROW_KEYS)
    return {key: row[key] for key in VERSION_2_KEYS} | {"schema_version": 2}


def write_rows(path: Path, *rows: dict[str, Any] | bytes) -> Path:
    """Rows (or raw lines) as JSON Lines, NaN as the standard library writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(r if isinstance(r, bytes) else json.dumps(r).encode() + b"\n" for r in rows))
    return path
