"""Parquet tables: a version that is the content's alone, and rows of mixed types."""

import datetime
import errno
import json
import math
import os

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vqa_assets.errors import SchemaError
from vqa_assets.tables import parquet as tables
from vqa_assets.tables.parquet import column_names, iterate_frames, open_parquet, table_version
from vqa_assets_tests.shared.tables import write_rows

COLUMNS = {
    "key": [f"clip{i % 7}" for i in range(100)],
    "adm2": [None if i % 9 == 0 else i / 7 for i in range(100)],
    "frames": [None if i % 11 == 0 else i for i in range(100)],
    "label": [None if i % 5 == 0 else "" if i % 5 == 1 else "é" * (i % 4) for i in range(100)],
    "flag": [i % 4 == 3 for i in range(100)],
    "when": [datetime.datetime(2026, 5, 8, 12, i % 60) for i in range(100)],  # noqa: DTZ001
    "shots": [[i, i + 1] if i % 2 else None for i in range(100)],
}


def written(path, columns=COLUMNS, **options):
    pq.write_table(pa.table(columns), path, **options)
    return table_version(path)


class TestTableVersion:
    """Equal content, equal version; any other content, another."""

    @pytest.fixture
    def version(self, tmp_path):
        return written(tmp_path / "a.parquet")

    @pytest.mark.parametrize(
        "options",
        [
            {"row_group_size": 7},
            {"row_group_size": 1},
            {"compression": "zstd"},
            {"compression": "none"},
            {"use_dictionary": False},
            {"use_dictionary": ["key"]},
            {"data_page_version": "2.0"},
            {"store_schema": False},
            {"write_statistics": False},
        ],
    )
    def test_it_does_not_depend_on_how_the_file_is_laid_out(self, options, version, tmp_path):
        assert written(tmp_path / "b.parquet", **options) == version

    def test_it_does_not_depend_on_batches(self, version, tmp_path, monkeypatch):
        monkeypatch.setattr(tables, "_BATCH_ROWS", 9)
        assert table_version(tmp_path / "a.parquet") == version

    def test_it_does_not_depend_on_the_writer(self, version, tmp_path):
        pl.DataFrame(COLUMNS).write_parquet(tmp_path / "polars.parquet")
        frame = pd.DataFrame(COLUMNS | {"frames": pd.array(COLUMNS["frames"], "Int64")})
        frame.to_parquet(tmp_path / "pandas.parquet")
        assert table_version(tmp_path / "polars.parquet") == version
        assert table_version(tmp_path / "pandas.parquet") == version

    def test_it_does_not_depend_on_categories(self, version, tmp_path):
        categorical = pa.array(COLUMNS["key"]).dictionary_encode()
        assert written(tmp_path / "b.parquet", COLUMNS | {"key": categorical}) == version
        shuffled = pd.Categorical(COLUMNS["key"], categories=[f"clip{i}" for i in (6, 5, 4, 3, 2, 1, 0, 9)])
        assert written(tmp_path / "c.parquet", COLUMNS | {"key": pa.array(shuffled)}) == version

    def test_it_does_not_depend_on_categories_of_numbers(self, version, tmp_path):
        encoded = pa.array(COLUMNS["frames"]).dictionary_encode()
        assert written(tmp_path / "b.parquet", COLUMNS | {"frames": encoded}) == version

    def test_it_does_not_depend_on_the_order_of_columns(self, version, tmp_path):
        assert written(tmp_path / "b.parquet", dict(reversed(COLUMNS.items()))) == version

    @pytest.mark.parametrize("kind", [pa.int8(), pa.int16(), pa.uint8()])
    def test_it_does_not_depend_on_the_width_of_integers(self, kind, version, tmp_path):
        assert written(tmp_path / "b.parquet", COLUMNS | {"frames": pa.array(COLUMNS["frames"], kind)}) == version

    @pytest.mark.parametrize(
        ("column", "row", "value"),
        [
            ("key", 3, "clip9"),
            ("adm2", 3, 0.1),
            ("adm2", 3, None),
            ("adm2", 0, 0.0),
            ("adm2", 0, math.nan),
            ("frames", 3, 4),
            ("frames", 0, 0),
            ("label", 0, ""),
            ("label", 1, None),
            ("flag", 3, False),
            ("when", 3, datetime.datetime(2026, 5, 9)),  # noqa: DTZ001
            ("shots", 3, [3]),
            ("shots", 2, []),
        ],
    )
    def test_it_depends_on_every_value_and_every_null(self, column, row, value, version, tmp_path):
        changed = [*COLUMNS[column][:row], value, *COLUMNS[column][row + 1 :]]
        assert changed != COLUMNS[column]
        assert written(tmp_path / "b.parquet", COLUMNS | {column: changed}) != version

    @pytest.mark.parametrize("column", COLUMNS)
    def test_it_depends_on_the_order_of_rows(self, column, version, tmp_path):
        assert written(tmp_path / "b.parquet", COLUMNS | {column: COLUMNS[column][::-1]}) != version

    def test_it_depends_on_the_names_and_number_of_columns(self, version, tmp_path):
        renamed = {("key2" if name == "key" else name): values for name, values in COLUMNS.items()}
        fewer = {name: values for name, values in COLUMNS.items() if name != "flag"}
        assert written(tmp_path / "b.parquet", renamed) != version
        assert written(tmp_path / "c.parquet", fewer) != version
        assert written(tmp_path / "d.parquet", COLUMNS | {"more": [None] * 100}) != version

    def test_it_tells_neighbouring_texts_apart(self, tmp_path):
        assert written(tmp_path / "a.parquet", {"t": ["ab", "c"]}) != written(
            tmp_path / "b.parquet", {"t": ["a", "bc"]}
        )

    def test_every_nan_is_the_same(self, tmp_path):
        odd = np.frombuffer(b"\x01\x00\x00\x00\x00\x00\xf8\xff", "<f8")[0]
        assert math.isnan(odd)
        assert written(tmp_path / "a.parquet", {"x": pa.array([odd])}) == written(
            tmp_path / "b.parquet", {"x": pa.array([math.nan])}
        )

    def test_columns_may_be_left_out(self, version, tmp_path):
        other = COLUMNS | {"flag": [True] * 100}
        written(tmp_path / "b.parquet", other)
        assert table_version(tmp_path / "b.parquet") != version
        assert table_version(tmp_path / "b.parquet", without=["flag"]) == table_version(
            tmp_path / "a.parquet", without=["flag"]
        )

    def test_large_unsigned_integers_have_a_version_too(self, tmp_path):
        big, other = (pa.array([2**64 - 1 - i], pa.uint64()) for i in range(2))
        assert written(tmp_path / "a.parquet", {"x": big}) != written(tmp_path / "b.parquet", {"x": other})

    def test_an_empty_table_has_a_version_that_names_its_columns(self, tmp_path):
        empty = {"key": pa.array([], pa.string())}
        assert written(tmp_path / "a.parquet", empty) == written(tmp_path / "b.parquet", empty)
        assert written(tmp_path / "c.parquet", {"k": pa.array([], pa.string())}) != table_version(
            tmp_path / "a.parquet"
        )


class TestWriteRows:
    """Rows as Parquet."""

    def read(self, path, rows, columns):
        write_rows(path / "t.parquet", rows, columns)
        return pq.read_table(path / "t.parquet")

    @pytest.mark.parametrize(
        ("values", "kind", "found"),
        [
            (["a", None], pa.string(), ["a", None]),
            ([1, None], pa.int64(), [1, None]),
            ([1, 2.5, None], pa.float64(), [1.0, 2.5, None]),
            ([True, None], pa.bool_(), [True, None]),
            ([None, None], pa.string(), [None, None]),
            ([1, "a", None], pa.string(), ["1", '"a"', None]),
            ([True, 1], pa.string(), ["true", "1"]),
            ([[1, 2], None], pa.string(), ["[1, 2]", None]),
            ([{"b": 1, "a": 2}], pa.string(), ['{"a": 2, "b": 1}']),
            ([np.float64(0.5), 1, None], pa.float64(), [0.5, 1.0, None]),
            ([2**53 + 1], pa.int64(), [2**53 + 1]),
        ],
    )
    def test_a_column_has_one_type_and_mixed_values_become_json(self, values, kind, found, tmp_path):
        table = self.read(tmp_path, [{"x": value} for value in values], ["x"])
        assert table.schema.field("x").type == kind
        assert table.column("x").to_pylist() == found

    def test_mixed_values_can_be_read_back(self, tmp_path):
        values = [1, "1", [1], {"a": None}, True]
        table = self.read(tmp_path, [{"x": value} for value in values], ["x"])
        assert [json.loads(text) for text in table.column("x").to_pylist()] == values

    def test_columns_stand_in_the_order_asked_and_what_a_row_lacks_is_null(self, tmp_path):
        table = self.read(tmp_path, [{"a": 1}, {"b": "x", "not asked": 1}], ["b", "a", "c"])
        assert table.column_names == ["b", "a", "c"]
        assert table.to_pylist() == [{"b": None, "a": 1, "c": None}, {"b": "x", "a": None, "c": None}]

    def test_nan_stays_a_number(self, tmp_path):
        assert math.isnan(self.read(tmp_path, [{"x": math.nan}, {"x": 1}], ["x"]).column("x")[0].as_py())

    def test_no_rows_are_a_table_with_its_columns(self, tmp_path):
        assert self.read(tmp_path, [], ["a", "b"]).num_rows == 0
        assert column_names(tmp_path / "t.parquet") == ["a", "b"]


class TestReading:
    """What stands where a table should."""

    def test_frames_together_are_the_table_with_the_columns_it_has(self, tmp_path):
        written(tmp_path / "a.parquet")
        frames = list(iterate_frames(tmp_path / "a.parquet", ["flag", "key", "not there"], rows=40))
        assert [len(frame) for frame in frames] == [40, 40, 20]
        assert sorted(frames[0].columns) == ["flag", "key"]
        assert [value for frame in frames for value in frame["key"]] == COLUMNS["key"]

    @pytest.mark.parametrize(
        ("content", "found"),
        [
            (None, "found nothing"),
            (b"", "found no Parquet file ("),
            (b"key,mos\na,3\n", "found no Parquet file ("),
            (b"PAR1 but cut short", "found no Parquet file ("),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "found a Git-LFS pointer"),
        ],
    )
    @pytest.mark.parametrize("ask", [open_parquet, column_names, table_version])
    def test_anything_else_is_told_by_what_it_is(self, ask, content, found, tmp_path):
        path = tmp_path / "a.parquet"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(SchemaError) as caught:
            ask(path)
        assert str(caught.value).startswith(f"{path}: {found}")
        assert caught.value.expected == "a Parquet table"
        assert caught.value.next_step

    @pytest.mark.parametrize("fault", [errno.EACCES, errno.EIO, errno.EDQUOT])
    def test_what_the_disk_refuses_is_not_called_another_file(self, fault, tmp_path, monkeypatch):
        def refuses(*_):
            raise OSError(fault, f"Failed to open local file. Detail: [errno {fault}]")

        path = tmp_path / "t.parquet"
        pl.DataFrame({"a": [1]}).write_parquet(path)
        monkeypatch.setattr(pq, "ParquetFile", refuses)
        with pytest.raises(SchemaError) as told:
            open_parquet(path)
        assert told.value.found == f"a file that cannot be read ({os.strerror(fault)})"
        assert "materialize" not in str(told.value)

    def test_a_folder_is_told_as_one(self, tmp_path):
        with pytest.raises(SchemaError, match="found a folder, expected a Parquet table"):
            column_names(tmp_path)
