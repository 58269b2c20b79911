"""The baseline of the unified corpus: the same rows from the same shards by the standard library alone.

One dictionary a row, in memory, as a script would have it. Writes no Parquet file: the library has none.
"""

import hashlib
import json
import logging
import math
from pathlib import Path
from typing import Any

SCALES = {"1-5-acr": (1.0, 5.0), "0-100-continuous": (0.0, 100.0), "vmaf": (0.0, 100.0), "cvd2014": (-10.0, 100.0)}
REQUIRED = ("src", "src_sha256", "mos", "corpus")
_Row = dict[str, Any]
_log = logging.getLogger("benchmarks.plain_unified")


def unify(shards: list[Path], corpora: set[str], output: Path, now: str) -> dict[str, int]:
    """Write the unified rows and a manifest; the counters."""
    counts = dict.fromkeys(("rows_in", "rows_out", "cross", "same", "unknown", "bad_scale"), 0)
    best: dict[str, _Row] = {}
    seen: set[tuple[str, str]] = set()
    for shard in shards:
        with shard.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    where = f"{shard}:{number}"
                    _take(_checked(json.loads(line), where), where, (corpora, now), (best, seen, counts))
    rows = sorted(best.values(), key=lambda row: (row["corpus_source"], row["src_sha256"], row["src"]))
    counts["rows_out"] = len(rows)
    with output.open("w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n")
    hashes = {str(path): _hash_of(path) for path in [*shards, output]}
    output.with_suffix(".manifest.json").write_text(json.dumps({"files": hashes, "counters": counts}, indent=2))
    return counts


def _checked(row: Any, where: str) -> _Row:
    if not isinstance(row, dict) or "mos_native" in row or row.keys() >= {"vmaf_score", "encoder", "preset", "crf"}:
        raise ValueError(f"{where}: no row of a corpus JSONL")
    missing = [key for key in REQUIRED if row.get(key) is None]
    if missing:
        raise ValueError(f"{where}: missing required keys: {missing}")
    if isinstance(row["mos"], bool) or not isinstance(row["mos"], (int, float)):
        raise ValueError(f"{where}: mos is no number")  # noqa: TRY004  # the file is wrong, not the caller
    return row


def _take(
    row: _Row,
    where: str,
    given: tuple[set[str], str],
    state: tuple[dict[str, _Row], set[tuple[str, str]], dict[str, int]],
) -> None:
    (corpora, now), (best, seen, counts) = given, state
    counts["rows_in"] += 1
    if row["corpus"] not in corpora:
        counts["unknown"] += 1
        _log.warning("%s: unknown corpus label %r; row dropped", where, row["corpus"])
        return
    low, high = SCALES[row["mos_scale"]]
    if not (math.isfinite(row["mos"]) and low - 0.05 <= row["mos"] <= high + 0.05):
        counts["bad_scale"] += 1
        _log.warning("%s: mos %s is outside the published [%g, %g] range; row dropped", where, row["mos"], low, high)
        return
    sha256, corpus = row["src_sha256"], row["corpus"]
    if (sha256, corpus) in seen:
        counts["same"] += 1
        return
    seen.add((sha256, corpus))
    unified = _unified(row, now)
    if sha256 in best:
        counts["cross"] += 1
        if (unified["mos_std_dev_unified"] or math.inf) >= (best[sha256]["mos_std_dev_unified"] or math.inf):
            return
    best[sha256] = unified


def _unified(row: _Row, now: str) -> _Row:
    low, high = SCALES[row["mos_scale"]]
    slope = 100.0 / (high - low)
    spread = float(row.get("mos_std_dev") or 0.0)
    spread = spread if 0 < spread < math.inf else 0.0
    raw = row.get("mos_raw_0_100")
    row["mos_native"] = row["mos"] if raw is None else raw
    row["mos_native_scale"] = row["mos_scale"] if raw is None else "0-100-continuous"
    row["mos"] = slope * row["mos"] - slope * low if raw is None else float(raw)
    row["mos_scale"] = "0-100-continuous"
    row["mos_std_dev"] = spread if raw is None else spread * slope
    row["mos_std_dev_unified"] = spread * slope
    row["corpus_source"], row["aggregated_at_utc"] = row["corpus"], now
    return row


def _hash_of(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
