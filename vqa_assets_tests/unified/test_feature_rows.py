"""The unified corpus's rows with features: which row serves which clip, which columns are taken, what is counted."""

import errno
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from vqa_assets.corpora import CORPORA
from vqa_assets.errors import AggregateError, SchemaError, SettingsError, TableError
from vqa_assets.provenance import RunContext
from vqa_assets.tables.networks import RecordedNetwork, networks_mark, networks_of
from vqa_assets.tables.paths import DataRoot, manifest_path
from vqa_assets.unified.feature_rows import (
    FeatureColumns,
    FeatureFiles,
    FeatureRowsReport,
    UnifiedFeatures,
    make_unified_features,
    report_lines,
)
from vqa_assets.unified.settings import FeatureRowsSettings
from vqa_assets_tests.shared.unified_corpora import clip, unify


def features(*clips: Mapping[str, Any], **columns: Any) -> pl.DataFrame:
    """A labelled table of these clips, as ``mos_features`` leaves one; ``columns`` are values, or lists of them."""
    rows = [
        {"key": c["src"], "src_sha256": c["src_sha256"], "corpus": c["corpus"], "mos": 2.0, "mos_label_status": "ok"}
        for c in clips
    ]
    lists = {n: v if isinstance(v, list) else [v] * len(rows) for n, v in columns.items()}
    return pl.DataFrame([{**row, **{n: v[i] for n, v in lists.items()}} for i, row in enumerate(rows)])


class Bench:
    """A data root with a unified corpus and labelled tables."""

    columns = FeatureColumns.declared(CORPORA.values(), ["brightest"])
    look: Callable[[Path], Mapping[str, Any]] = staticmethod(lambda _: {})

    def __init__(self, path: Path) -> None:
        self.root = DataRoot(path)

    def table(self, name: str, frame: pl.DataFrame) -> Path:
        path = self.root.path / name
        if path.suffix == ".parquet":
            frame.write_parquet(path)
        elif path.suffix == ".csv":
            frame.write_csv(path)
        elif path.suffix == ".json":
            path.write_text(json.dumps({"rows": frame.to_dicts()}))
        else:
            frame.write_ndjson(path)
        return path

    def make(self, usual: Mapping[str, pl.DataFrame], **settings: Any) -> UnifiedFeatures:
        paths = {name: self.root.path / f"{name}.parquet" for name in CORPORA}
        for name, frame in usual.items():
            frame.write_parquet(paths[name])
        chosen = FeatureRowsSettings(**settings)
        return make_unified_features(
            self.root.unified_corpus().with_suffix(".parquet"),
            FeatureFiles.of(paths, chosen),
            self.columns,
            chosen,
            RunContext(self.root, {}, Path(__file__), started=0.0),
            self.look,
        )

    def rows(self, usual: Mapping[str, pl.DataFrame], **settings: Any) -> dict[str, dict[str, Any]]:
        """Key → row of the table that is made."""
        self.make(usual, **settings)
        return {row["key"]: row for row in pl.read_parquet(self.root.unified_features()).to_dicts()}

    def report(self, usual: Mapping[str, pl.DataFrame], **settings: Any) -> FeatureRowsReport:
        return self.make(usual, **settings).report


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


A, B, C = (clip(f"{name}.mp4", mos, "konvid-1k", mos_std_dev=0.5) for name, mos in (("a", 3.1), ("b", 4.7), ("c", 1.9)))
L, M = (clip(f"{name}.mp4", 60.5, "lsvq", mos_scale="0-100-continuous", mos_std_dev=10.0) for name in "lm")
SAME_AS_A = clip("a-again.mp4", 50.0, "lsvq", mos_scale="0-100-continuous", mos_std_dev=2.0) | {
    "src_sha256": A["src_sha256"]
}
VMAF = clip("v.mp4", 91.0, "netflix-public", mos_scale="vmaf")


def test_score_spread_and_the_clip_that_stands_are_the_unified_corpus_s(bench: Bench) -> None:
    unify(bench.root.path, [A, B], [L, SAME_AS_A])
    found = bench.rows(
        {"konvid-1k": features(A, B, adm2=[0.1, 0.2]), "lsvq": features(L, SAME_AS_A, adm2=[0.3, 0.4])},
    )
    assert {name: (row["corpus"], row["adm2"]) for name, row in found.items()} == {
        "b.mp4": ("konvid-1k", 0.2),
        "l.mp4": ("lsvq", 0.3),
        "a-again.mp4": ("lsvq", 0.4),
    }
    # the tables say 2.0 everywhere, which is nobody's score
    assert (found["b.mp4"]["mos"], found["b.mp4"]["mos_std_dev"]) == (4.7, pytest.approx(0.5))
    assert found["b.mp4"]["mos_raw_0_100"] == pytest.approx(92.5)
    assert found["l.mp4"]["mos"] == pytest.approx(3.42)
    assert (found["l.mp4"]["mos_raw_0_100"], found["l.mp4"]["mos_std_dev"]) == (60.5, pytest.approx(0.4))


def test_what_is_shown_of_the_table_is_read_before_it_stands(bench: Bench) -> None:
    unify(bench.root.path, [A, B], [L])
    first = bench.make({"konvid-1k": features(A, B), "lsvq": features(L)})
    stood = {path: path.read_bytes() for path in first.path.parent.glob("unified_features*")}
    seen: list[tuple[Path, int]] = []

    def fails(table: Path) -> Mapping[str, Any]:
        seen.append((table, pl.read_parquet(table).height))
        raise OSError(errno.EIO, "Input/output error", str(table))

    bench.look = fails
    with pytest.raises(OSError, match="Input/output error"):
        bench.make({"konvid-1k": features(A), "lsvq": features(L)})
    assert {path: path.read_bytes() for path in stood} == stood
    ((table, rows),) = seen
    assert (table != first.path, rows) == (True, 2)  # what would have been published


def test_whose_vectors_these_are_is_said_where_every_table_says_it_and_those_of_two_networks_are_left_out(
    bench: Bench,
) -> None:
    one, other = RecordedNetwork("0" * 64, "1" * 64), RecordedNetwork("2" * 64, "1" * 64)

    def made(**networks: RecordedNetwork | None) -> UnifiedFeatures:
        paths = {}
        for corpus, clips in (("konvid-1k", (A, B)), ("lsvq", (L,))):
            values = pl.Series([[0.5, 1.0]] * len(clips), dtype=pl.Array(pl.Float32, 2))
            network = networks[corpus.partition("-")[0]]
            marked = networks_mark({"tiny": network} if network else {})
            paths[corpus] = bench.root.path / f"{corpus}.parquet"
            features(*clips).with_columns(values.alias("tiny.resize.last_mean")).write_parquet(
                paths[corpus], metadata=marked
            )
        return bench.make({}, tables={name: [str(path)] for name, path in paths.items()})

    unify(bench.root.path, [A, B], [L])
    for konvid, lsvq, said in (
        (one, one, {"tiny": one}),
        (one, None, {}),
        (None, None, {}),
        (other, other, {"tiny": other}),
    ):
        # Equal values of which another network is said are another table.
        table = made(konvid=konvid, lsvq=lsvq)
        assert table.report.networks == networks_of(table.path) == said
        assert "tiny.resize.last_mean" in table.report.columns
    report = made(konvid=one, lsvq=other).report
    assert report.left_out_columns["tiny.resize.last_mean"] == "vectors of different networks under one name"
    assert "columns left out, vectors of different networks under one name: tiny.resize.last_mean" in report_lines(
        report
    )


def test_vectors_of_one_table_are_taken_and_null_elsewhere_and_those_of_two_lengths_are_not(bench: Bench) -> None:
    def vectors(*clips: Mapping[str, Any], **lengths: int) -> pl.DataFrame:
        values = {name: [[0.5] * length] * len(clips) for name, length in lengths.items()}
        kinds = {name: pl.Array(pl.Float32, length) for name, length in lengths.items()}
        return features(*clips, adm2=0.1).with_columns(pl.Series(name, values[name], kinds[name]) for name in lengths)

    unify(bench.root.path, [A, B], [L])
    made = bench.make({"konvid-1k": vectors(A, B, tiny=3, other=2), "lsvq": vectors(L, other=4)})
    table = pl.read_parquet(bench.root.unified_features())
    assert table.schema["tiny"] == pl.Array(pl.Float32, 3)
    assert dict(zip(table["key"], table["tiny"].to_list(), strict=True)) == {
        "a.mp4": [0.5] * 3,
        "b.mp4": [0.5] * 3,
        "l.mp4": None,
    }
    assert made.report.left_out_columns == {"other": "their types do not go together"}


def test_every_row_is_counted_once_on_both_sides(bench: Bench) -> None:
    unify(bench.root.path, [A, B, C], [L, SAME_AS_A], [VMAF])
    strange = clip("strange.mp4", 3, "konvid-1k")
    table = features(A, B, strange, adm2=[0.1, 0.2, 0.3], mos_label_status=["ok", "missing-label", "ok"])
    found = bench.make({"konvid-1k": table, "lsvq": features(SAME_AS_A, adm2=0.4)})
    assert found.manifest["schema"] == "unified-features-manifest-v1"
    assert found.report.counters() == {
        "rows_in": 5,
        "rows_out": 1,
        "without_features": 3,
        "no_opinions": 1,
        "not_in_unified": 1,
        "unlabelled": 1,
        "duplicates": 1,
        "rows_left_out": 0,
        "absent": len(CORPORA) - 2,
    }
    assert found.report.without_features == {"konvid-1k": 2, "lsvq": 1}
    assert all(table.reconciles for table in found.report.tables)
    assert "konvid-1k: konvid-1k.parquet: of no clip of unified_corpus: 1 of 3 rows" in found.manifest["look_at"]


def test_a_computed_score_is_never_a_row(bench: Bench) -> None:
    unify(bench.root.path, [A], [VMAF | {"corpus": "konvid-1k", "src": "w.mp4"}])
    vmaf = clip("v.mp4", 91.0, "netflix-public", mos_scale="vmaf")
    report = bench.report({"konvid-1k": features(A, vmaf, adm2=[0.1, 0.2])})
    assert (report.rows_out, report.no_opinions) == (1, 1)
    with pytest.raises(SettingsError, match=r"tables\.netflix-public: a corpus of computed scores"):
        bench.make({}, tables={"netflix-public": "v.parquet"})


@pytest.mark.parametrize(
    ("changes", "counted"),
    [
        ({}, {"a.mp4": 0.1}),
        ({"src_sha256": None}, {"a.mp4": 0.1}),
        ({"key": "renamed.mp4"}, {"a.mp4": 0.1}),
        ({"key": " a.mp4 ", "src_sha256": None}, {"a.mp4": 0.1}),
        ({"key": "renamed.mp4", "src_sha256": None}, {}),
        ({"src_sha256": "f" * 64}, {}),
    ],
    ids=["both", "by name", "by hash", "blanks", "neither", "other bytes under its name"],
)
def test_a_row_is_of_the_clip_of_its_hash_and_without_one_of_its_name(
    bench: Bench, changes: dict[str, Any], counted: dict[str, float]
) -> None:
    unify(bench.root.path, [A, B])
    row = features(A, adm2=0.1).with_columns(**{n: pl.lit(v, pl.String) for n, v in changes.items()})
    found = bench.rows({"konvid-1k": pl.concat([row, features(B, adm2=0.2)])})
    assert {name: one["adm2"] for name, one in found.items() if name == "a.mp4"} == counted


def test_names_alike_in_two_corpora_are_two_clips(bench: Bench) -> None:
    unify(bench.root.path, [A], [L | {"src": "a.mp4"}])
    unhashed = features(A, adm2=0.1).drop("src_sha256")
    found = bench.report({"konvid-1k": unhashed, "lsvq": unhashed.with_columns(adm2=0.9)})
    assert found.rows_per_corpus == {"konvid-1k": 1, "lsvq": 1}
    rows = pl.read_parquet(bench.root.unified_features())
    assert dict(rows.select("corpus", "adm2").iter_rows()) == {"konvid-1k": 0.1, "lsvq": 0.9}


def test_the_features_of_a_clip_s_own_corpus_come_first_and_those_of_equal_bytes_stand_in(bench: Bench) -> None:
    unify(bench.root.path, [A, B], [SAME_AS_A])
    other = features(A, B, adm2=[0.1, 0.2], content_id=["of-konvid", "b"])
    own = features(SAME_AS_A, adm2=0.4, content_id="of-lsvq")
    both = bench.rows({"konvid-1k": other, "lsvq": own})["a-again.mp4"]
    assert (both["adm2"], both["content_id"]) == (0.4, "of-lsvq")
    (bench.root.path / "lsvq.parquet").unlink()
    # another corpus's word for what the clip shows says nothing here
    alone = bench.rows({"konvid-1k": other})["a-again.mp4"]
    assert (alone["adm2"], alone["corpus"], alone["content_id"]) == (0.1, "lsvq", None)


def test_columns_are_those_that_all_share_that_a_family_has_or_that_a_corpus_declares(bench: Bench) -> None:
    chug = clip("r.mp4", 3.0, "chug", chug_ref=1, content_id="scene-1", split="train")
    unify(bench.root.path, [A], [chug])
    made = bench.make(
        {
            "konvid-1k": features(A, adm2=1, mine=2, only_here="x", brightest=7, split="test", torn="x"),
            "chug": features(chug, mine=0.5, si=0.3, chug_ref=1, chug_bitrate_label="1M", torn=[[1]]),
        }
    )
    assert made.manifest["left_out_columns"] == {
        "only_here": "not in all tables, and declared by no family or corpus",
        "torn": "their types do not go together",
    }
    assert made.manifest["look_at"] == ["columns left out, their types do not go together: torn"]
    table = pl.read_parquet(bench.root.unified_features())
    assert {"adm2", "si", "mine", "brightest", "chug_ref", "chug_bitrate_label", "width"} <= set(table.columns)
    assert "only_here" not in table.columns
    assert table.schema["adm2"] == table.schema["mine"] == pl.Float64
    first, second = sorted(table.to_dicts(), key=lambda row: str(row["corpus"] == "chug"))
    assert (first["adm2"], first["si"], first["mine"], first["chug_ref"], first["split"]) == (
        1.0,
        None,
        2.0,
        None,
        "test",
    )
    assert (second["si"], second["mine"], second["chug_bitrate_label"]) == (0.3, 0.5, "1M")
    assert (second["content_id"], second["split"], second["width"]) == ("scene-1", "train", 960)


def test_further_scores_that_a_corpus_declares_are_columns_too() -> None:
    corpus = CORPORA["konvid-1k"].but(scores={"technical": "T"})
    assert FeatureColumns.declared([corpus, CORPORA["lsvq"]]).of_corpora[0] == "mos_technical"


def test_what_a_table_says_otherwise_of_content_or_split_is_told_and_the_unified_corpus_counts(bench: Bench) -> None:
    unify(bench.root.path, [A | {"split": "train"}, B | {"split": "train"}])
    found = bench.make({"konvid-1k": features(A, B, adm2=[0.1, 0.2], split=["test", "train"])})
    assert found.manifest["look_at"] == [
        "konvid-1k: konvid-1k.parquet: another split than unified_corpus, whose word counts: 1 of 2 rows"
    ]
    assert pl.read_parquet(bench.root.unified_features())["split"].to_list() == ["train", "train"]


def test_a_table_with_several_rows_a_key_is_left_out_and_told(bench: Bench) -> None:
    unify(bench.root.path, [A], [L, M])
    frames = features(L, L, M, adm2=[0.1, 0.2, 0.3])
    found = bench.make({"konvid-1k": features(A, adm2=0.1), "lsvq": frames})
    assert (found.report.rows_out, found.report.counters()["rows_left_out"]) == (1, 3)
    assert "lsvq: lsvq.parquet is left out: several rows a key: one row a clip is joined" in found.manifest["look_at"]


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "ndjson", "json", "csv"])
def test_a_run_s_table_of_any_format_stands_in_for_a_corpus_s_and_others_are_added(bench: Bench, suffix: str) -> None:
    unify(bench.root.path, [A, B, C], [L])
    usual = {"konvid-1k": features(A, B, C, adm2=[0.1, 0.2, 0.3]), "lsvq": features(L, adm2=0.4)}
    own = bench.table(f"own.{suffix}", features(A, adm2=0.7))
    more = [bench.table(f"{n}.{suffix}", features(one, adm2=0.8)) for n, one in (("b", B), ("again", A))]
    found = bench.rows(usual, tables={"konvid-1k": str(own)}, extra_tables={"konvid-1k": [str(p) for p in more]})
    assert {name: row["adm2"] for name, row in found.items()} == {"a.mp4": 0.7, "b.mp4": 0.8, "l.mp4": 0.4}
    assert json.loads(manifest_path(bench.root.unified_features()).read_text())["look_at"] == [
        f"konvid-1k: again.{suffix} serves no clip: rows of other tables serve all of its clips",
        "konvid-1k: without features: 1 of 3 clips",
    ]


def test_features_without_labels_are_enough_since_scores_are_the_unified_corpus_s(bench: Bench) -> None:
    unify(bench.root.path, [A, B])
    bare = bench.table("bare.csv", features(A, B, adm2=[0.1, 0.2]).drop("mos", "mos_label_status", "corpus"))
    found = bench.rows({}, tables={"konvid-1k": bare})
    assert {name: row["mos"] for name, row in found.items()} == {"a.mp4": 3.1, "b.mp4": 4.7}


def test_a_table_of_no_clip_and_a_corpus_that_is_none_are_refused(bench: Bench) -> None:
    unify(bench.root.path, [A])
    usual = {"konvid-1k": features(A, adm2=0.1)}
    foreign = bench.table("foreign.csv", features(L, adm2=0.1))
    with pytest.raises(SettingsError, match=r"extra_tables\.mine: .*of 1 rows 0 have no label and 1 are of no clip"):
        bench.make(usual, extra_tables={"mine": foreign})
    with pytest.raises(
        SettingsError, match=r"tables\.konvid: a corpus of which unified_corpus has no row, .*konvid-1k"
    ):
        bench.make(usual, tables={"konvid": foreign})
    with pytest.raises(TableError, match=r"tables\.konvid-1k .*gone\.csv: found nothing there"):
        bench.make(usual, tables={"konvid-1k": bench.root.path / "gone.csv"})
    assert not bench.root.unified_features().exists()


def test_without_a_unified_corpus_or_any_table_it_says_what_comes_first(bench: Bench) -> None:
    with pytest.raises(AggregateError, match=r"no unified corpus: .*; materialize unified_corpus first"):
        bench.make({"konvid-1k": features(A, adm2=0.1)})
    (bench.root.path / "konvid-1k.parquet").unlink()
    unify(bench.root.path, [A])
    with pytest.raises(AggregateError, match=r"no labelled table; absent: konvid-1k, .*; materialize mos_features"):
        bench.make({})


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ({"adm2": "high"}, r"konvid-1k\.parquet: adm2: text \('high'\), expected numbers"),
        ({"adm2": [[0.1]]}, r"konvid-1k\.parquet: adm2: values of type List\(Float64\), expected numbers"),
    ],
)
def test_a_measured_column_that_holds_no_numbers_names_its_table(
    bench: Bench, column: dict[str, Any], message: str
) -> None:
    unify(bench.root.path, [A])
    with pytest.raises(TableError, match=message):
        bench.make({"konvid-1k": features(A, **column)})


def test_numbers_as_text_are_numbers_and_what_is_none_is_missing(bench: Bench) -> None:
    unify(bench.root.path, [A, B, C])
    table = features(A, B, C, adm2=["0.5", "n/a", " 0.25 "], si=[1.0, float("inf"), float("nan")])
    found = bench.rows({"konvid-1k": table})
    assert [found[c["src"]]["adm2"] for c in (A, B, C)] == [0.5, None, 0.25]
    assert [found[c["src"]]["si"] for c in (A, B, C)] == [1.0, None, None]


def test_equal_content_is_left_alone_and_rows_keep_the_order_of_their_tables(bench: Bench) -> None:
    clips = [clip(f"{i:03d}.mp4", 1 + i / 50, "konvid-1k") for i in range(150)]
    unify(bench.root.path, clips)
    backwards = features(*reversed(clips), adm2=[i / 7 for i in range(150)])
    first = bench.make({"konvid-1k": backwards})
    assert pl.read_parquet(first.path)["key"].to_list() == backwards["key"].to_list()
    before = first.path.stat()
    assert bench.make({"konvid-1k": backwards}).data_version == first.data_version
    assert first.path.stat().st_ino == before.st_ino
    with pytest.raises(SchemaError):
        bench.make({"konvid-1k": backwards.with_columns(n_feature_frames=pl.lit(0.5))})
    assert first.path.stat().st_ino == before.st_ino


def test_a_further_score_is_the_unified_corpus_s_on_1_to_5_and_of_corpora_that_declare_it(tmp_path: Path) -> None:
    class Declared(Bench):
        columns = FeatureColumns.declared([CORPORA["konvid-1k"].but(scores={"technical": "T"}), CORPORA["lsvq"]])

    bench = Declared(tmp_path)
    said = {"mos_technical": 62.5}
    unify(tmp_path, [A | said, B | said, C], [L | {"mos_technical": 4.0}, SAME_AS_A | {"mos_technical": 4.0}])
    own = features(A, B, C, adm2=[0.1, 0.2, 0.3], mos_technical=[9.0, None, 2.0])
    frame = bench.rows({"konvid-1k": own, "lsvq": features(L, adm2=0.4)})
    # the last is lsvq's clip by konvid-1k's row, whose opinions are of another experiment
    expected = {"b.mp4": 3.5, "c.mp4": 2.0, "l.mp4": None, "a-again.mp4": None}
    assert {name: row["mos_technical"] for name, row in frame.items()} == expected
