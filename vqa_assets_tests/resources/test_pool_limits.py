"""The limits of pools: set where none is, left where somebody set one, and named by every asset that needs them."""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from vqa_assets.definitions import defs
from vqa_assets.pool_limits import POOLS, main, set_missing_limits

REPOSITORY = Path(__file__).parents[2]


def limits(instance: dg.DagsterInstance) -> dict[str, int]:
    return {found.name: found.limit for found in instance.event_log_storage.get_pool_limits()}


def test_limits_are_set_once_and_a_persons_own_are_left() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert set_missing_limits(instance) == {"gpu": 1, "download": 2}
        assert limits(instance) == {"gpu": 1, "download": 2}
        instance.event_log_storage.set_concurrency_slots("gpu", 3)
        assert set_missing_limits(instance) == {"gpu": 3, "download": 2}
        assert limits(instance)["gpu"] == 3


def test_every_asset_that_trains_is_in_the_gpu_pool_and_every_one_that_fetches_in_the_download_pool() -> None:
    pools = {
        node.key.to_user_string(): defs.resolve_assets_def(node.key).op.pool
        for node in defs.resolve_asset_graph().asset_nodes
    }
    assert pools["corpus_jsonl"] == "download"
    trained = {spec.key.to_user_string() for spec in defs.resolve_all_asset_specs() if "pytorch" in spec.kinds}
    assert {name for name, pool in pools.items() if pool == "gpu"} == trained
    assert {pool for pool in pools.values() if pool} == set(POOLS)


def test_the_command_keeps_the_limits_in_dagster_home(tmp_path: Path) -> None:
    environment = {**os.environ, "DAGSTER_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "vqa_assets.pool_limits"]
    done = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout == "gpu: 1 at once, download: 2 at once\n"


def test_without_dagster_home_it_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    assert main([]) == 1
    assert "DAGSTER_HOME is not set" in capsys.readouterr().err
