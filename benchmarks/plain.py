"""The baselines: what a script of a few lines does, one process per clip, in sequence, with the same results."""

import hashlib
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FIELDS = "stream=codec_name,width,height,pix_fmt,avg_frame_rate,duration"


def hash_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def probe_and_hash(path: Path) -> str:
    """One ffprobe process, then the hash."""
    command = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", FIELDS, "-of", "json", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return hash_of(path)


def curl_and_hash(url: str, path: Path) -> str:
    """One curl process, then the hash."""
    subprocess.run(["curl", "--fail", "--silent", "--location", "--output", path, url], check=True)
    return hash_of(path)


def hash_all(paths: Sequence[Path], threads: int) -> float:
    """Seconds to hash files on so many threads, and nothing else."""
    begun = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(hash_of, paths))
    return time.perf_counter() - begun


def in_sequence(work: Callable[[], object], count: int) -> float:
    """Calls per second of ``count`` calls, one after the other."""
    begun = time.perf_counter()
    for _ in range(count):
        work()
    return count / (time.perf_counter() - begun)


def absent(tool: str, package: str) -> bool:
    """Whether a program is missing, and then says how to get it."""
    if shutil.which(tool) is None:
        print(f"left out: needs {tool} (apt-get install {package})")
        return True
    return False


def write_between(page: Path, begin: str, end: str, text: str) -> None:
    """Put a text between two markers of a page; ValueError where it lacks one."""
    before, begins, rest = page.read_text(encoding="utf-8").partition(begin)
    _, ends, after = rest.partition(end)
    if not (begins and ends):
        raise ValueError(f"{page} has no {begin} … {end}")
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")
