"""Where per-clip work runs: threads of this process, or the workers of a Dask cluster.

Hashing, probing, transfers and FFmpeg all release the GIL. What the work is and how it is handed out is in ``clips``:
Dask's workers come from ``clips.dask_cluster``; another engine is another class with ``open``.
"""

import os
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any, Literal

import dagster as dg
from pydantic import Field, PrivateAttr

from vqa_assets.clips.work import ThreadClipPool

MOST_PER_CHUNK = 10_000


class ClipPoolResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Works on several clips at once: threads of this machine, or a Dask cluster's workers on any number of machines.

    Tables come out the same either way. Which cluster is the environment's to say (docs/scaling.md).
    """

    implementation: Literal["threads", "dask"] = Field(
        default="threads",
        description="threads of this machine; or dask: the workers of the scheduler that VQA_DASK_ADDRESS names, or of "
        "the cluster that the file VQA_DASK_CLUSTER describes. Default: threads.",
    )
    chunk_clips: int = Field(
        default=0,
        ge=0,
        le=MOST_PER_CHUNK,
        description=f"Clips that travel to a Dask worker together, at most {MOST_PER_CHUNK}. Default: 0, as many as "
        "take a second.",
    )
    _dashboard: str = PrivateAttr(default="")
    _workers: int = PrivateAttr(default=0)

    @contextmanager
    def open(self, workers: int) -> Iterator[Executor]:
        """An executor for the length of the block; ``workers`` is the number of threads, a cluster has its own.

        SettingsError or ClusterError where Dask's workers are not there or not fit.
        """
        if self.implementation == "threads":
            with ThreadClipPool().open(workers) as executor:
                yield executor
            return
        from vqa_assets.clips.dask_cluster import dask_executor

        with dask_executor(os.environ, self.chunk_clips) as connected:
            self._dashboard, self._workers = connected.dashboard, connected.executor.workers_seen
            yield connected.executor


def pool_metadata(pool: object) -> dict[str, Any]:
    """For an asset's page: how many Dask workers a run began with, and Dask's dashboard; nothing of threads."""
    if not isinstance(pool, ClipPoolResource) or not pool._workers:
        return {}
    shown: dict[str, Any] = {"dask_workers": pool._workers}
    if pool._dashboard:
        shown["dask_dashboard"] = dg.MetadataValue.url(pool._dashboard)
    return shown
