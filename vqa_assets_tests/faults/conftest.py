"""One ground a session: making it costs more than a dozen faults."""

import shutil
from collections.abc import Iterator

import pytest

from vqa_assets_tests.faults.ground import Ground


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("faults")
    with Ground(folder) as made:
        yield made
    shutil.rmtree(folder)
