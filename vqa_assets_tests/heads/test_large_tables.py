"""Tables that are too large to be held in memory: the same rows and heads, from a file and in pieces."""

import mmap
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl
import pytest

from vqa_assets.feature_names import KONVID_V1, FeatureSchema, VectorColumn
from vqa_assets.heads import table_checks
from vqa_assets.heads.judging import baselines
from vqa_assets.heads.members import closed_form, feature_map, large_tables, random_features, training
from vqa_assets.heads.members.closed_form import RidgeRows, RidgeSums, logit_skips
from vqa_assets.heads.members.large_tables import empty_features, let_go
from vqa_assets.heads.members.method import HeadRows, TrainingRows
from vqa_assets.heads.members.training import TorchTrainer
from vqa_assets.heads.recipe import OWN_COLUMNS
from vqa_assets.heads.rows import reading as rows
from vqa_assets.heads.rows.reading import TrainingTable, read_training_table, refilled
from vqa_assets.heads.rows.splitting import Part
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets_tests.shared.head_tables import labelled, written


@pytest.fixture
def everything_is_large(monkeypatch):
    """A few rows are too many to be held in memory, and a few columns to be worked on at once."""
    monkeypatch.setattr(large_tables, "NUMBERS_IN_MEMORY", 10)
    monkeypatch.setattr(rows, "_NUMBERS_OF_COLUMNS", 300)
    monkeypatch.setattr(large_tables, "NUMBERS_AT_ONCE", 300)
    monkeypatch.setattr(feature_map, "_VALUES_AT_ONCE", 300)


def tables(folder: Path) -> dict[str, Path]:
    """Two corpora: of the one a row has no label, one no feature, and one an allowed column's missing; both share a
    clip."""
    ours, theirs = labelled(60), labelled(40, seed=1)
    second, third, name = KONVID_V1.columns[1], KONVID_V1.columns[2], pl.int_range(pl.len())
    ours = ours.with_columns(
        pl.when(name != 3).then("mos").alias("mos"),
        pl.when(name != 5).then(second).alias(second),
        pl.when(name != 7).then(third).alias(third),
    )
    theirs = theirs.with_columns(
        src_sha256=pl.when(name == 0).then(pl.lit(ours["src_sha256"][9])).otherwise("src_sha256")
    )
    frames = {"konvid-1k": ours, "konvid-150k": theirs}
    return {corpus: written(frame, folder / f"{corpus}.parquet") for corpus, frame in frames.items()}


def same(one: TrainingTable, other: TrainingTable) -> None:
    for field in fields(TrainingTable):
        if field.name != "features":
            np.testing.assert_equal(getattr(other, field.name), getattr(one, field.name), err_msg=field.name)
    assert other.features.tobytes() == one.features.tobytes()


def test_a_table_in_a_file_holds_the_same_rows(tmp_path, request):
    read_from, allowed = tables(tmp_path), (KONVID_V1.columns[2],)
    both, alone = (read_training_table(of, KONVID_V1, allowed) for of in (read_from, {"mine": read_from["konvid-1k"]}))
    assert [both.counts["konvid-1k"].used, both.counts["konvid-150k"].used, alone.counts["mine"].used] == [58, 39, 58]
    request.getfixturevalue("everything_is_large")
    same(both, read_training_table(read_from, KONVID_V1, allowed))
    same(alone, read_training_table({"mine": read_from["konvid-1k"]}, KONVID_V1, allowed))


def test_features_in_a_file_come_back_after_their_memory_was_given_back(everything_is_large, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    features = empty_features(30, 4)
    features[:] = np.arange(120).reshape(30, 4)
    let_go(features)
    let_go(features[2:, 1:])
    assert features.sum() == 119 * 60
    assert features[2:, 1:][0].tolist() == [9, 10, 11]
    assert not list(tmp_path.iterdir())  # nothing that a kill could leave behind
    let_go(np.ones((2, 2), dtype=np.float32))  # which lie in memory: nothing happens


def test_heads_of_a_large_table_are_trained_one_by_one_and_are_the_same(tmp_path, request, monkeypatch):
    table = read_training_table({"mine": written(labelled(160), tmp_path / "t.parquet")}, KONVID_V1)
    heads = [HeadRows("a", np.arange(0, 130)), HeadRows("b", np.arange(30, 160))]
    settings = TrainingSettings(epochs=2, device="cpu")
    monkeypatch.setattr(random_features, "FEATURES", 64)  # fewer than rows: by Gram matrices, as of large tables

    def trained(features: np.ndarray) -> list:
        data = TrainingRows(features, table.onehot, table.mos, table.groups)
        return list(TorchTrainer().train(data, heads, settings, lambda *_: None).heads)

    together = trained(table.features)
    request.getfixturevalue("everything_is_large")
    in_file = empty_features(*table.features.shape)
    in_file[:] = table.features
    monkeypatch.setattr(training, "_NUMBERS_AT_ONCE", 1)
    for one, other in zip(together, trained(in_file), strict=True):
        for name, of_map in vars(one.map).items():
            np.testing.assert_array_equal(getattr(other.map, name), of_map, err_msg=name)
        assert one.ridge is not None
        assert other.ridge is not None
        assert other.ridge.weights.tobytes() == one.ridge.weights.tobytes()
        for network, again in zip(one.networks, other.networks, strict=True):
            np.testing.assert_allclose(again.skip, network.skip, atol=1e-4)


def test_a_ridge_start_in_pieces_is_the_same_up_to_rounding(monkeypatch):
    rng = np.random.default_rng(0)
    z, weights = rng.standard_normal((300, 6), dtype=np.float32), rng.uniform(0.5, 2, 300).astype(np.float32)
    mos, part = np.clip(3 + z[:, 0], 1, 5).astype(np.float32), np.arange(300) % 5
    whole = logit_skips(RidgeRows(z, mos, weights), part)
    monkeypatch.setattr(closed_form, "_ROWS_AT_ONCE", 7)
    for (skip, bias), (again, its_bias) in zip(whole, logit_skips(RidgeRows(z, mos, weights), part), strict=True):
        np.testing.assert_allclose(again, skip, rtol=1e-9)
        assert its_bias == pytest.approx(bias, rel=1e-9)


def test_solving_leaves_the_sums_as_they_are():
    rng = np.random.default_rng(0)
    sums = RidgeSums.of(rng.standard_normal((50, 4)), rng.standard_normal(50))
    before = sums.xx.copy()
    first, again = (sums.solved(1.0) for _ in range(2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(sums.xx, before)


class WatchedFile(mmap.mmap):
    """A file in memory that notes how much of it is there whenever some is given back."""

    most_in_memory: ClassVar[dict[int, int]] = {}
    """By address, in bytes."""

    def madvise(self, *args: int) -> None:
        address = np.frombuffer(self, dtype=np.uint8).ctypes.data
        with Path("/proc/self/pagemap").open("rb") as pages:  # a word a page, whose first bit says whether it is there
            pages.seek(8 * (address // mmap.PAGESIZE))
            words = np.frombuffer(pages.read(8 * -(-len(self) // mmap.PAGESIZE)), dtype=np.uint64)
        held = mmap.PAGESIZE * int((words >> np.uint64(63)).sum())
        self.most_in_memory[address] = max(held, self.most_in_memory.get(address, 0))
        super().madvise(*args)


def test_no_step_that_reads_all_of_a_large_table_holds_it_in_memory(tmp_path, monkeypatch):
    count, width = 4_000, 64
    for module, name, few in (
        (large_tables, "NUMBERS_IN_MEMORY", 50_000),
        (large_tables, "NUMBERS_AT_ONCE", 16_000),
        (rows, "NUMBERS_AT_ONCE", 16_000),
        (rows, "_NUMBERS_OF_COLUMNS", 8 * count),
        (feature_map, "_VALUES_AT_ONCE", 16_000),
        (baselines, "_VALUES_AT_ONCE", 4_000),
        (table_checks, "BATCH_ROWS", 800),
    ):
        monkeypatch.setattr(module, name, few)
    monkeypatch.setattr(mmap, "mmap", WatchedFile)
    monkeypatch.setattr(WatchedFile, "most_in_memory", {})
    names = [f"f{i}" for i in range(width // 2)]
    columns = {name: np.random.default_rng(i).standard_normal(count) for i, name in enumerate(names)}
    vectors = np.random.default_rng(width).standard_normal((count, width // 2), dtype=np.float32)
    columns["f1"][::7] = np.nan  # filled in by the mean of the rows that train
    keys, mos = [f"clip {i}" for i in range(count)], np.clip(3 + columns["f0"], 1, 5)
    frame = pl.DataFrame({"key": keys, "mos": mos, **columns, "v": pl.Series(vectors)})
    path = written(frame, tmp_path / "mine.parquet")
    scalars, train = FeatureSchema(OWN_COLUMNS, tuple(names), frozenset(names)), np.arange(0, count, 2)
    schema = scalars.with_vectors([VectorColumn("v")])
    as_read = read_training_table({"mine": path}, schema, ("f1",))
    table = refilled(as_read, train)
    table_checks.check_training_rows(table)
    mapped = feature_map.FeatureMap.fitted(table.features, train)
    inputs = mapped.inputs(table.features, table.onehot, train)
    baselines.ridge_predictions(table, Part("a", train, train + 1), seed=0)
    assert len(WatchedFile.most_in_memory) == 3  # as it was read, filled in, and mapped
    assert max(WatchedFile.most_in_memory.values()) < 4 * count * width / 3
    assert len(inputs) == len(train)


def test_training_does_not_load_a_compiler():
    code = """
import sys, numpy as np
from vqa_assets.heads.members.method import HeadRows, TrainingRows
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.heads.rows.splitting import Part
from vqa_assets.heads.members.training import TorchTrainer
x = np.random.default_rng(0).standard_normal((40, 2)).astype(np.float32)
rows = TrainingRows(x, np.zeros((40, 0), np.float32), np.clip(3 + x[:, 0], 1, 5), tuple(map(str, range(40))))
TorchTrainer().train(rows, [HeadRows("a", np.arange(40))], TrainingSettings(epochs=1, device="cpu"), lambda *_: None)
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
