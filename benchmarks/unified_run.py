"""One way to unify shards, in a process of its own: ``python -m benchmarks.unified_run <way> <shards> <output>``.

Prints seconds by the clock, seconds of processor, and the peak of memory in MiB, child processes included.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import orjson

from benchmarks import plain_unified
from vqa_assets.clips.processes import WorkerPool
from vqa_assets.corpora import CORPORA
from vqa_assets.provenance import Manifest, RunContext, write_manifest
from vqa_assets.tables.paths import DataRoot, manifest_path
from vqa_assets.tables.publication import publishing
from vqa_assets.unified.aggregation import UnifiedSettings, Workers, aggregate, make_unified_corpus, write_unified_lines
from vqa_assets.unified.shards import Shard

NOW = "2026-05-09T00:00:00+00:00"


def plain(shards: list[Path], output: Path) -> None:
    """The standard library."""
    plain_unified.unify(shards, set(CORPORA), output, NOW)


def ours(shards: list[Path], output: Path) -> None:
    """The same rows and a manifest with the same hashes, on every core."""
    with WorkerPool() as workers:
        _rows(shards, output, workers)


def ours_alone(shards: list[Path], output: Path) -> None:
    """The same on one core."""
    _rows(shards, output, None)


def asset(shards: list[Path], output: Path) -> None:
    """Everything that the asset makes."""
    with WorkerPool() as workers:
        settings = UnifiedSettings(tuple(map(Shard, shards)), output)
        make_unified_corpus(settings, CORPORA, _context(output.parent), workers)


def limit(shards: list[Path], output: Path) -> None:
    """Every line read, decoded, encoded with sorted keys and written, in the order in which they come."""
    with output.open("wb") as out:
        for shard in shards:
            with shard.open("rb") as lines:
                for line in lines:
                    out.write(orjson.dumps(orjson.loads(line), option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE))


WAYS: Mapping[str, Callable[[list[Path], Path], None]] = {
    way.__name__: way for way in (plain, ours, ours_alone, asset, limit)
}


def _rows(shards: list[Path], output: Path, workers: Workers | None) -> None:
    found = aggregate(map(Shard, shards), CORPORA, NOW, workers)
    write_unified_lines(found.rows, output, workers)
    inputs = {path.name: path for path in shards}
    manifest = Manifest("bench", found.report.as_dict(), {}, inputs, {"unified_corpus": output})
    with publishing("bench", output, "bench") as publication:
        publication.keep(output)
        write_manifest(publication, manifest_path(output), manifest, _context(output.parent))


def _context(folder: Path) -> RunContext:
    return RunContext(DataRoot(folder), {}, Path(__file__))


def main() -> None:
    """Run one way and tell what it took."""
    way, folder, output = sys.argv[1:]
    shards = [path for corpus in CORPORA.values() if (path := Path(folder) / f"{corpus.stem}.jsonl").exists()]
    begun = time.perf_counter()
    WAYS[way](shards, Path(output))
    seconds = time.perf_counter() - begun
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    processes = len(os.sched_getaffinity(0)) if children.ru_maxrss else 0
    peak = (own.ru_maxrss + processes * children.ru_maxrss) / 1024
    print(json.dumps({"clock_s": seconds, "cpu_s": sum(os.times()[:4]), "peak_mib": peak}))


if __name__ == "__main__":
    main()
