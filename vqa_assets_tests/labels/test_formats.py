"""Formats: every table may be Parquet, JSON Lines, JSON or CSV on either side, and goes out as its suffix says."""

import json
import math

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vqa_assets.errors import LabelError, TableError, VqaError
from vqa_assets.labels import labelled
from vqa_assets.labels.labelled import label_features, validate_labelled
from vqa_assets.labels.settings import LabelSettings
from vqa_assets.tables import parquet
from vqa_assets.tables.parquet import open_parquet, table_version

FORMATS = ("parquet", "jsonl", "ndjson", "json", "csv")
FEATURES = [{"key": f"{i:04d}", "adm2": i / 10, "note": f"n{i}"} for i in range(4)]
LABELS = [{"key": f"{i:04d}", "mos": 1.5 + i, "n_ratings": 5, "split": "train"} for i in range(4)]


def write(path, rows, style="rows"):
    if path.suffix == ".parquet":
        pl.DataFrame(rows).write_parquet(path)
    elif path.suffix == ".csv":
        pl.DataFrame(rows).write_csv(path)
    elif path.suffix == ".json":
        path.write_text(json.dumps({"rows": rows} if style == "rows" else rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path):
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.suffix == ".csv":
        return pl.read_csv(path, infer_schema=False, glob=False).to_dicts()
    return (
        json.loads(path.read_text())["rows"]
        if path.suffix == ".json"
        else [json.loads(line) for line in path.read_text().splitlines()]
    )


@pytest.mark.parametrize("out", FORMATS)
@pytest.mark.parametrize("features", FORMATS)
def test_any_feature_table_goes_out_in_any_format(features, out, tmp_path):
    folder = tmp_path / "tables [1]"  # a pattern, too
    folder.mkdir()
    table, target = write(folder / f"f.{features}", FEATURES), folder / f"out.{out}"
    labels = write(folder / "l.jsonl", LABELS[:3])
    audit = label_features(table, [labels], target, LabelSettings(min_match_rate=0.7))
    assert (audit.input_rows, audit.matched_rows) == (4, 3)
    rows = read(target)
    assert [r["key"] for r in rows] == ["0000", "0001", "0002", "0003"]
    assert [float(r["mos"]) for r in rows[:3]] == [1.5, 2.5, 3.5]
    assert [r["mos_label_status"] for r in rows] == ["ok", "ok", "ok", "missing-label"]
    assert rows[3]["mos"] is None
    assert [float(r["adm2"]) for r in rows] == [0.0, 0.1, 0.2, 0.3]
    assert validate_labelled(target, "mos_label_status") == 4
    assert {p.name for p in folder.iterdir()} == {table.name, target.name, labels.name}


@pytest.mark.parametrize("labels", FORMATS)
@pytest.mark.parametrize("style", ["rows", "list"])
def test_any_label_table_is_read(labels, style, tmp_path):
    table, target = write(tmp_path / "f.parquet", FEATURES), tmp_path / "out.parquet"
    label_features(table, [write(tmp_path / f"l.{labels}", LABELS, style)], target, LabelSettings())
    assert [(r["mos"], r["mos_n_ratings"], r["split"]) for r in read(target)] == [
        (1.5 + i, 5, "train") for i in range(4)
    ]


@pytest.mark.parametrize("suffix", ["jsonl", "json"])
def test_objects_keep_their_own_keys_their_order_and_every_value(suffix, tmp_path):
    odd = {"key": "a", "z": [1, {"b": None}], "n": math.nan, "big": 2**70, "mixed": "text", "é": "ü"}
    table = write(tmp_path / f"f.{suffix}", [odd, {"key": "b", "mixed": 3}])
    labels = write(tmp_path / "l.jsonl", [{"key": "a", "mos": 3}, {"key": "b", "mos": 4}])
    target = tmp_path / f"out.{suffix}"
    label_features(table, [labels], target, LabelSettings())
    first, second = read(target)
    assert list(first)[:6] == list(odd)
    assert repr({k: first[k] for k in odd}) == repr(odd)
    assert list(second) == ["key", "mixed", "mos", "mos_raw_0_100", "mos_label_source", "mos_label_status"]


@pytest.mark.parametrize("out", ["out.jsonl", "out.parquet"])
def test_keys_that_objects_have_late_in_the_file_are_not_overlooked(out, tmp_path):
    """The reader of labels learns names from the first thousand rows."""
    rows = [{"key": f"{i}"} for i in range(1_500)]
    table = write(tmp_path / "f.jsonl", [*rows, {"key": "last", "late": 7}])
    given = [*({**row, "mos": 3} for row in rows), {"key": "last", "mos": 3, "n_ratings": 9, "split": "val"}]
    labels = write(tmp_path / "l.jsonl", given)
    label_features(table, [labels], tmp_path / out, LabelSettings())
    last = read(tmp_path / out)[-1]
    assert (last["late"], last["mos_n_ratings"], last["split"]) == (7, 9, "val")
    table.write_text(table.read_text() + '{"key": "0", "mos": 4}\n')
    with pytest.raises(LabelError, match="refusing to overwrite existing MOS columns: mos"):
        label_features(table, [labels], tmp_path / out, LabelSettings())


def test_objects_as_parquet_keep_nested_values_and_mixed_ones_become_json(tmp_path):
    rows = [{"key": "a", "z": [1, 2], "mixed": "t", "n": 1}, {"key": "b", "z": [], "mixed": {"x": 1}, "n": 2.5}]
    table = write(tmp_path / "f.jsonl", rows)
    labels = write(tmp_path / "l.jsonl", [{"key": "a", "mos": 3}, {"key": "b", "mos": 4}])
    label_features(table, [labels], tmp_path / "out.parquet", LabelSettings())
    found = read(tmp_path / "out.parquet")
    assert [(r["z"], r["mixed"], r["n"]) for r in found] == [([1, 2], '"t"', 1.0), ([], '{"x": 1}', 2.5)]


def test_a_csv_passes_through_as_it_is_written(tmp_path):
    table = tmp_path / "f.csv"
    table.write_text('key;a;b\n007;1,50;"x;y"\n008;;z\n')
    labels = write(tmp_path / "l.jsonl", [{"key": "007", "mos": 3}, {"key": "008", "mos": 4}])
    label_features(table, [labels], tmp_path / "out.csv", LabelSettings())
    assert [(r["key"], r["a"], r["b"]) for r in read(tmp_path / "out.csv")] == [
        ("007", "1,50", "x;y"),
        ("008", None, "z"),
    ]


def test_digits_with_a_leading_zero_stay_as_they_are_in_a_typed_table(tmp_path):
    features, target = tmp_path / "f.csv", tmp_path / "out.parquet"
    features.write_text("key,session,frames,zero,adm2,offset\na,007,120,0,0.5,-01\nb,12,300,0,00.7,3\nc,,5,10,1,4\n")
    labels = write(tmp_path / "l.jsonl", [{"key": key, "mos": 3.0} for key in "abc"])
    label_features(features, [labels], target, LabelSettings())
    found = pl.read_parquet(target)
    assert found["session"].to_list() == ["007", "12", None]
    assert found["offset"].to_list() == ["-01", "3", "4"]
    assert (found["frames"].to_list(), found["zero"].to_list()) == ([120, 300, 5], [0, 0, 10])
    assert found["adm2"].to_list() == [0.5, 0.7, 1.0]


@pytest.mark.parametrize("out", ["out.parquet", "out.csv"])
@pytest.mark.parametrize("empty", ["\n", "\r\n", ",\n", ",\r\n"])
def test_empty_lines_of_a_feature_csv_are_no_rows(tmp_path, empty, out):
    end = "\r\n" if "\r" in empty else "\n"
    lines = (f"key,adm2{end}", f"a,0.5{end}", empty, f",0.7{end}", f"b,{end}", empty, empty)
    (tmp_path / "f.csv").write_bytes("".join(lines).encode())
    labels = write(tmp_path / "l.jsonl", [{"key": key, "mos": 3.0} for key in "ab"])
    audit = label_features(tmp_path / "f.csv", [labels], tmp_path / out, LabelSettings(min_match_rate=0.5))
    assert (audit.input_rows, audit.output_rows, audit.matched_rows) == (3, 3, 2)
    assert [row["key"] for row in read(tmp_path / out)] == ["a", None, "b"]


def test_a_csv_with_a_longer_row_is_told_whatever_it_goes_out_as(tmp_path):
    (tmp_path / "f.csv").write_text("key,frames\na,1\nb,2,3\n")
    labels = write(tmp_path / "l.jsonl", [{"key": "a", "mos": 3.0}])
    for out in ("out.parquet", "out.csv"):
        with pytest.raises(TableError, match=r"f\.csv: content that cannot be read"):
            label_features(tmp_path / "f.csv", [labels], tmp_path / out, LabelSettings(min_match_rate=0.5))


def test_blank_lines_of_a_label_csv_are_no_rows(tmp_path):
    table = write(tmp_path / "f.parquet", FEATURES[:1])
    labels = tmp_path / "l.csv"
    labels.write_text("key,mos\n\n0000,1.5\n\n")
    assert label_features(table, [labels], tmp_path / "out.parquet", LabelSettings()).labels_loaded == 1


@pytest.mark.parametrize("side", ["features", "labels"])
def test_a_lone_surrogate_that_no_column_can_hold_is_told(side, tmp_path):
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    good.write_text('{"key": "a", "mos": 3}\n')
    bad.write_text('{"key": "\\ud800", "mos": 3}\n')
    features, labels = (bad, good) if side == "features" else (good, bad)
    with pytest.raises(TableError, match=r"bad\.jsonl: content that cannot be read .*surrogates not allowed"):
        label_features(features, [labels], tmp_path / "out.parquet", LabelSettings(overwrite=True))


def test_an_output_that_is_a_folder_is_refused(tmp_path):
    table, labels = write(tmp_path / "f.parquet", FEATURES), write(tmp_path / "l.jsonl", LABELS)
    (tmp_path / "o.parquet").mkdir()
    with pytest.raises(LabelError, match=r"output .*o\.parquet: it is a folder"):
        label_features(table, [labels], tmp_path / "o.parquet", LabelSettings())


@pytest.mark.parametrize("text", ["\ufeffkey;mos\r\n0000;1,5\r\n", "key\tmos\n0000\t1.5", " key , mos \n0000, 1.5\n"])
def test_label_csvs_in_the_dialects_people_save_are_read(text, tmp_path):
    table = write(tmp_path / "f.parquet", FEATURES[:1])
    labels = tmp_path / "l.csv"
    labels.write_bytes(text.encode())
    label_features(table, [labels], tmp_path / "out.parquet", LabelSettings())
    assert read(tmp_path / "out.parquet")[0]["mos"] == 1.5


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("l.parquet", b"PAR1 cut", "no Parquet file"),
        ("l.json", b'{"rows": [{}, 3]}', "row 2: a JSON int"),
        ("l.json", b'{"tables": []}', "a JSON dict, expected a list of objects"),
        ("l.json", b"{", "content that cannot be read"),
        ("l.csv", b"key,mos\na,1,2,3\n", "content that cannot be read"),
        ("l.csv", b"key,mos\n", "no rows"),
        ("l.csv", b"key,m\xff\n", "content that cannot be read"),
        ("l.jsonl", b"", "found an empty file"),
        ("l.jsonl", b"version https://git-lfs.github.com/spec/v1\n", "found a Git-LFS pointer"),
        ("l.xlsx", b"x", "the suffix '.xlsx', expected a table: .parquet, .pq, .jsonl"),
    ],
)
def test_a_label_file_that_cannot_be_read_says_why(name, content, told, tmp_path):
    (tmp_path / name).write_bytes(content)
    table = write(tmp_path / "f.parquet", FEATURES)
    with pytest.raises(VqaError) as caught:
        label_features(table, [tmp_path / name], tmp_path / "out.parquet", LabelSettings())
    assert told in str(caught.value)
    assert not (tmp_path / "out.parquet").exists()


def test_a_parquet_table_damaged_inside_is_told_and_the_earlier_one_stands(tmp_path):
    table = tmp_path / "f.parquet"
    pq.write_table(pa.table({"key": [f"{i:04d}" for i in range(4)], "x": list(range(4))}), table, compression="zstd")
    labels, target = write(tmp_path / "l.jsonl", LABELS), tmp_path / "out.parquet"
    label_features(table, [labels], target, LabelSettings())
    before = target.read_bytes()
    content = bytearray(table.read_bytes())
    content[4:60] = b"\xff" * 56
    table.write_bytes(content)
    with pytest.raises(TableError, match=r"f\.parquet: content that cannot be read"):
        label_features(table, [labels], target, LabelSettings())
    assert target.read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {"f.parquet", "l.jsonl", "out.parquet"}


def test_nested_columns_cannot_go_into_a_csv(tmp_path):
    table = write(tmp_path / "f.jsonl", [{"key": "0000", "z": [1]}])
    labels = write(tmp_path / "l.jsonl", LABELS[:1])
    with pytest.raises(LabelError, match=r"out\.csv: columns that csv cannot hold .*set out to a \.parquet file"):
        label_features(table, [labels], tmp_path / "out.csv", LabelSettings())


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_empty_feature_table_is_never_covered(suffix, tmp_path):
    table = tmp_path / f"f.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.table({"key": pa.array([], pa.string())}), table)
    else:
        table.write_text({"csv": "key,adm2\n", "json": "[]"}.get(suffix, "\n"))
    labels = write(tmp_path / "l.jsonl", LABELS)
    with pytest.raises(LabelError, match=r"0 of 0 keys matched|columns \(none\)"):
        label_features(table, [labels], tmp_path / "out.parquet", LabelSettings(min_match_rate=0.0))


@pytest.mark.parametrize("victim", ["features", "labels"])
@pytest.mark.parametrize("linked", [False, True])
def test_an_output_onto_an_input_is_refused_before_any_work(victim, linked, tmp_path):
    inputs = {"features": write(tmp_path / "f.parquet", FEATURES), "labels": write(tmp_path / "l.parquet", LABELS)}
    before = {name: path.read_bytes() for name, path in inputs.items()}
    target = inputs[victim]
    if linked:
        target = tmp_path / "link.parquet"
        target.symlink_to(inputs[victim])
    with pytest.raises(LabelError, match="it is an input, expected a file of its own"):
        label_features(inputs["features"], [inputs["labels"]], target, LabelSettings())
    assert {name: path.read_bytes() for name, path in inputs.items()} == before


@pytest.mark.parametrize("name", ["key", "mos", "split", "corpus", "src_sha256", ""])
def test_a_status_column_with_another_columns_name_is_refused_even_with_overwrite(name, tmp_path):
    table, labels = write(tmp_path / "f.parquet", FEATURES), write(tmp_path / "l.jsonl", LABELS)
    with pytest.raises(LabelError, match=f"status_column '{name}': the name of a column that means something else"):
        label_features(table, [labels], tmp_path / "o.parquet", LabelSettings(status_column=name, overwrite=True))


def test_vectors_are_written_by_as_many_numbers_at_once_as_other_columns(tmp_path, monkeypatch):
    monkeypatch.setattr(labelled, "_ROW_GROUP", 256)
    monkeypatch.setattr(labelled, "_CHUNK_ROWS", 64)
    keys = [f"{number}.mp4" for number in range(200)]
    vectors = np.random.default_rng(0).random((200, 1024), np.float32)
    features, scores = tmp_path / "features.parquet", tmp_path / "scores.csv"
    pl.DataFrame({"key": keys, "tiny.resize.last_mean": vectors}).write_parquet(features)
    scores.write_text("\n".join(["key,mos", *(f"{key},{1 + number / 50}" for number, key in enumerate(keys))]))
    out = tmp_path / "labelled.parquet"
    label_features(features, [scores], out, LabelSettings(mos_scale="1-5-acr"))
    metadata = open_parquet(out).metadata
    assert max(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)) <= 64
    np.testing.assert_array_equal(pl.read_parquet(out)["tiny.resize.last_mean"].to_numpy(), vectors)
    # A table's version does not depend on how many rows are read at once.
    version = table_version(out)
    monkeypatch.setattr(parquet, "_BATCH_ROWS", 4096)
    assert table_version(out) == version
