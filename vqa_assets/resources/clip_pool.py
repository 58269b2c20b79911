"""Where per-clip work runs: threads of this process. Hashing, probing, transfers and FFmpeg all release the GIL.

What the work is and how it is handed out is in ``clips``.
"""

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

import dagster as dg


class ThreadClipPool(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Works on several clips at once: a pool of threads on this machine."""

    @contextmanager
    def open(self, workers: int) -> Iterator[Executor]:
        """A thread pool of that many workers, joined at the end of the block."""
        with ThreadPoolExecutor(workers, thread_name_prefix="clip") as executor:
            yield executor
