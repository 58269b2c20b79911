"""A re-ingest of a corpus that is kept in an object store, where nothing changed: a listing, and no request a clip.

The store is a listing server of the bench's own, in a process of its own, whose pages are prepared: what is timed is
what is done here with them.
"""

import os
import resource
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from benchmarks.corpus_folder import CorpusFolder, NoProber, corpus_folder
from benchmarks.ingest_again import peak_mib
from vqa_assets.clips.folders import stamp_of_object
from vqa_assets.clips.geometry import Geometry
from vqa_assets.ingest.cache import IngestCache, ReadClip
from vqa_assets.tables.paths import DataRoot

CLIPS, TURNS, PAGE = 100_000, 3, 1_000
RATE_TARGET = 5_000
PREFIX, SIZE = "clips/", 1_000_000


def main() -> None:
    """Print rate, processor time and peak memory."""
    with corpus_folder() as corpus, listing_server() as environment:
        os.environ |= environment
        names = [f"{i:06d}.mp4" for i in range(CLIPS)]
        (corpus.folder / "ingest.toml").write_text('clips_url = "s3://bench/clips"\n')
        corpus.annotate(names)
        with IngestCache(corpus.folder / ".ingest-cache.sqlite") as cache:
            geometry = Geometry(640, 360, 25.0, 5.0, "yuv420p", "h264")
            cache.put_all(
                {
                    name: ReadClip(stamp_of_object(SIZE, f"{i:032x}"), f"{i:064x}", geometry)
                    for i, name in enumerate(names)
                }
            )
        corpus.ingest(NoProber())
        with get_context("spawn").Pool(1, maxtasksperchild=1) as fresh:
            found = [fresh.apply(again, (corpus.root.path,)) for _ in range(TURNS)]
    rate, busy = statistics.median(f[0] for f in found), statistics.median(f[1] for f in found)
    print(
        f"re-ingest of {CLIPS} unchanged clips of an object store: {rate:.0f} clips/s, {busy:.0f} a second of "
        f"processor time, {max(f[2] for f in found):.0f} MiB at the most, median of {TURNS} fresh processes; "
        f"target: at least {RATE_TARGET} clips/s"
    )


def again(root: Path) -> tuple[float, float, float]:
    """Clips per second of one re-ingest by the clock and by this process's processor time, and its peak memory."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    done = CorpusFolder(DataRoot(root)).ingest(NoProber())
    after = resource.getrusage(resource.RUSAGE_SELF)
    if done.report.unchanged != done.report.rows_in:
        raise RuntimeError(done.report.counters())
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.report.unchanged / done.seconds, done.report.unchanged / busy, peak_mib()


@contextmanager
def listing_server() -> Iterator[dict[str, str]]:
    """The server, in a process of its own: the environment that leads to it."""
    here, there = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_serve, args=(there,), daemon=True)
    process.start()
    try:
        yield {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{here.recv()}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "NO_PROXY": "*",
            "no_proxy": "*",
        }
    finally:
        process.terminate()
        process.join()


def _pages() -> list[bytes]:
    pages = []
    for start in range(0, CLIPS, PAGE):
        objects = "".join(
            f"<Contents><Key>{PREFIX}{i:06d}.mp4</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>&quot;{i:032x}&quot;</ETag><Size>{SIZE}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            for i in range(start, start + PAGE)
        )
        more = start + PAGE < CLIPS
        token = f"<NextContinuationToken>{start // PAGE + 1}</NextContinuationToken>" if more else ""
        pages.append(
            f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>bench</Name><Prefix>{PREFIX}</Prefix>'
            f"<KeyCount>{PAGE}</KeyCount><MaxKeys>{PAGE}</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>"
            f"{token}{objects}</ListBucketResult>".encode()
        )
    return pages


def _serve(parent: Connection) -> None:
    pages = _pages()

    class Listing(BaseHTTPRequestHandler):
        """One page an answer."""

        protocol_version = "HTTP/1.1"
        wbufsize = -1  # headers and page in one packet, which the client would wait for otherwise

        def do_GET(self) -> None:
            """The page that the token names."""
            token = parse_qs(urlsplit(self.path).query).get("continuation-token", ["0"])[0]
            page = pages[int(token)]
            self.send_response(200)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Listing) as server:
        parent.send(server.server_port)
        server.serve_forever()
