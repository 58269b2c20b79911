"""``python -m vqa_assets.pool_limits``: how many runs may use the GPU, and how many may download, at once.

``dagster.yaml`` has no place for the limit of one pool. Limits that somebody set already are left as they are.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

import dagster as dg

from vqa_assets.printing import tell

POOLS: Mapping[str, int] = {"gpu": 1, "download": 2}
"""Runs at once per pool: heads are trained one after the other, two corpora are fetched side by side."""


def set_missing_limits(instance: dg.DagsterInstance) -> dict[str, int]:
    """Set the limit of every pool of ``POOLS`` that has none; all limits of these pools as they stand then."""
    storage = instance.event_log_storage
    limits = {limit.name: limit.limit for limit in storage.get_pool_limits() if not limit.from_default}
    for pool, limit in POOLS.items():
        if pool not in limits:
            storage.set_concurrency_slots(pool, limit)
    return {pool: limits.get(pool, limit) for pool, limit in POOLS.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit status 1 where ``DAGSTER_HOME`` is not set, since limits are kept there."""
    argparse.ArgumentParser(prog="python -m vqa_assets.pool_limits", description=__doc__).parse_args(arguments)
    if not os.environ.get("DAGSTER_HOME"):
        tell("DAGSTER_HOME is not set: found no instance, expected the folder that keeps the runs", file=sys.stderr)
        return 1
    with dg.DagsterInstance.get() as instance:
        tell(", ".join(f"{pool}: {limit} at once" for pool, limit in set_missing_limits(instance).items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
