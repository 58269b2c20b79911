"""Shards as they really come, and shards that are none: what is read, what is told, and that nothing is lost."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from benchmarks import plain_unified
from benchmarks.unified_shards import write_shards
from vqa_assets.clips.processes import WorkerPool
from vqa_assets.corpora import CORPORA
from vqa_assets.errors import AggregateError, SchemaError
from vqa_assets.provenance import RunContext
from vqa_assets.tables.paths import DataRoot
from vqa_assets.unified import shards as shards_module
from vqa_assets.unified.aggregation import UnifiedSettings, aggregate, make_unified_corpus, write_unified_lines
from vqa_assets.unified.shards import OpenedShard, Shard, pieces_of, scan
from vqa_assets.unified.table import made_from, origin_of
from vqa_assets.unified.unifying import blocks_of, write_block
from vqa_assets_tests.shared.unified_corpora import SOURCES, clip, unify

NOW = "2026-05-08T12:00:00+00:00"
ACR, HUNDRED, CHUG = "konvid-1k", "live-vqc", "chug"
Write = Callable[..., Shard]
ROWS = 2_100


@pytest.fixture
def shard(tmp_path: Path) -> Write:
    """Write rows (mappings, or raw lines as bytes) as a shard."""

    def write(*lines: Any, name: str = "shard", end: bytes = b"\n", begin: bytes = b"") -> Shard:
        path = tmp_path / f"{name}.jsonl"
        raw = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
        path.write_bytes(begin + b"".join(line + end for line in raw))
        return Shard(path)

    return write


def unified(*shards: Shard) -> list[dict[str, Any]]:
    return [json.loads(line) for line in write_block(aggregate(shards, SOURCES, NOW).rows).lines.splitlines()]


def names(*shards: Shard) -> list[str]:
    return sorted(row["src"] for row in unified(*shards))


def good(src: str = "a.mp4", mos: float = 3.0, corpus: str = ACR, **changes: Any) -> dict[str, Any]:
    return clip(src, mos, corpus, **changes)


class TestAsTheyCome:
    """Spellings of JSON Lines that are read like any other."""

    def test_blank_lines_are_no_rows_and_count_as_lines(self, shard: Write, caplog: pytest.LogCaptureFixture) -> None:
        given = shard(b"", good("a"), b"  ", b"\t", good("b", 9.0), good("c"), b"")
        assert names(given) == ["a", "c"]
        assert f"{given.path}:5: mos 9.0 is outside" in caplog.text

    def test_crlf_and_a_byte_order_mark_are_read(self, shard: Write) -> None:
        plain = unified(shard(good("a"), good("b")))
        assert unified(shard(good("a"), good("b"), end=b"\r\n", begin=b"\xef\xbb\xbf")) == plain

    def test_a_last_line_without_its_newline_is_a_row(self, shard: Write) -> None:
        given = shard(good("a"), good("b"))
        given.path.write_bytes(given.path.read_bytes().rstrip(b"\n"))
        assert names(given) == ["a", "b"]

    def test_of_two_equal_keys_the_last_counts_in_whichever_way_the_line_is_read(self, shard: Write) -> None:
        text = json.dumps(good("a", 2.0))[:-1].encode()
        plain, careful = text + b', "mos": 4.0}', text + b', "mos": 4.0, "note": NaN}'
        for line in (plain, careful):
            (row,) = unified(shard(line))
            assert (row["mos_native"], row["mos"]) == (4.0, 75.0)

    def test_integers_where_floats_are_due_are_floats_in_the_table_and_stay_as_published_in_the_lines(
        self, root_path: Path
    ) -> None:
        done = unify(root_path, [good("a", 3, framerate=25, duration_s=8, mos_std_dev=1)])
        (row,) = (json.loads(line) for line in done.jsonl.read_text().splitlines())
        assert [str(row[name]) for name in ("mos_native", "framerate", "mos_std_dev")] == ["3", "25", "1.0"]
        schema = pq.read_schema(done.parquet)
        assert {str(schema.field(name).type) for name in ("mos_native", "framerate", "mos", "duration_s")} == {"double"}

    def test_a_line_of_ten_megabytes_is_read_and_its_row_kept_whole(self, root_path: Path) -> None:
        note = "x" * 10_000_000
        done = unify(root_path, [good("a"), good("b", note=note), good("c")])
        assert done.report.rows_out == 3
        table = pq.read_table(done.parquet, columns=["src", "note"]).to_pylist()
        assert {row["src"]: len(row["note"] or "") for row in table} == {"a": 0, "b": 10_000_000, "c": 0}

    @pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
    def test_a_number_that_is_not_finite_in_another_field_is_null_in_both_files(
        self, number: float, root_path: Path
    ) -> None:
        done = unify(root_path, [good("a", note=number), good("b", note=1.5)])
        lines = [json.loads(line)["note"] for line in done.jsonl.read_text().splitlines()]
        assert sorted(map(str, lines)) == ["1.5", "None"]
        assert sorted(map(str, pq.read_table(done.parquet)["note"].to_pylist())) == ["1.5", "None"]

    def test_texts_of_every_script_survive(self, root_path: Path) -> None:
        note = 'Größe "十" \\ \u2028 \x00 😀'
        done = unify(root_path, [good("ä.mp4", note=note)])
        assert json.loads(done.jsonl.read_text())["note"] == note
        assert pq.read_table(done.parquet).to_pylist()[0]["note"] == note

    @pytest.mark.parametrize(
        ("values", "kind", "found"),
        [
            ([1, 2], "int64", [1, 2]),
            ([1, 2.5], "double", [1.0, 2.5]),
            ([True, None], "bool", [True, None]),
            ([None, None], "string", [None, None]),
            ([1, "a"], "string", ["1", '"a"']),
            ([[1, {"b": 2, "a": 1}], None], "string", ['[1, {"a": 1, "b": 2}]', None]),
            ([1, 2**63], "string", ["1", "9223372036854775808"]),
            (["2026-01-01T00:00:00Z", "x"], "string", ["2026-01-01T00:00:00Z", "x"]),
        ],
    )
    def test_a_field_of_a_corpus_own_has_one_type_in_the_table(
        self, values: list[Any], kind: str, found: list[Any], root_path: Path
    ) -> None:
        done = unify(root_path, [good(f"{n}.mp4", own=value) for n, value in enumerate(values)])
        table = pq.read_table(done.parquet, columns=["src", "own"])
        assert str(table.schema.field("own").type) == kind
        assert [row["own"] for row in sorted(table.to_pylist(), key=lambda row: row["src"])] == found

    def test_a_label_of_its_own_for_every_row_costs_those_rows_only(
        self, shard: Write, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("ERROR", "vqa_assets.unified")
        strange = json.dumps(good("x")).encode()
        lines = [strange.replace(b'"konvid-1k"', b'"label %d"' % number) for number in range(66_000)]
        found = aggregate([shard(*lines, good("a"))], SOURCES, NOW)
        assert (found.report.dropped_unknown_corpus, found.report.rows_out) == (66_000, 1)

    def test_an_empty_shard_among_others_costs_nothing(self, shard: Write) -> None:
        assert names(shard(name="empty"), shard(good("a"))) == ["a"]

    def test_a_raw_score_that_disagrees_with_mos_stands_and_is_told(
        self, root_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        agreeing = good("a", 1 + 4 * 0.623, CHUG, mos_raw_0_100=62.3, mos_scale="1-5-acr")
        done = unify(root_path, [agreeing, good("b", 3.0, CHUG, mos_raw_0_100=61.0, mos_scale="1-5-acr")])
        assert done.manifest["raw_scores_that_disagree"] == {
            "rows": 1,
            "examples": [{"path": "shard0.jsonl", "line": 2, "corpus": "chug", "raw": 61.0, "mos": 50.0}],
        }
        assert {json.loads(line)["mos"] for line in done.jsonl.read_text().splitlines()} == {62.3, 61.0}
        assert "1 rows hold a raw score that disagrees with mos, the first in line 2" in caplog.text


class TestRefused:
    """What no row can be made of is named with file and line, and the earlier output is kept."""

    @pytest.mark.parametrize(
        ("line", "told"),
        [
            (b'{"src": "\xff"}', "not JSON"),
            (json.dumps(good()).encode()[:-1] + b', "own": "\xff"}', "not JSON"),
            (json.dumps(good(own="\ud800")).encode(), "a value that JSON in UTF-8 cannot hold"),
            (json.dumps(good()).encode()[:-1] + b', "own": ' + b"[" * 3000 + b"]" * 3000 + b"}", "not JSON"),
            (json.dumps(good()).encode() * 2, "not JSON"),
            (b"null", "a JSON NoneType"),
            (b"3.5", "a JSON float"),
            (json.dumps(good(mos_std_dev=[1])).encode(), "mos_std_dev: [1], expected a number"),
            (json.dumps(good()).encode().replace(b"3.0", b"1" + b"0" * 400 + b', "own": NaN'), "mos: 1000"),
        ],
        ids=["src", "bytes", "surrogate", "depth", "two", "null", "number", "list", "huge"],
    )
    def test_with_file_and_line(self, line: bytes, told: str, shard: Write) -> None:
        given = shard(good("a"), b"", line, b"never read")
        with pytest.raises(AggregateError) as caught:
            unified(given)
        assert str(caught.value).startswith(f"{given.path}:3: {told}")
        assert caught.value.next_step
        assert len(str(caught.value)) < 1000

    def test_a_nest_that_can_be_read_and_not_written_is_named_with_its_clip(self, shard: Write) -> None:
        given = shard(json.dumps(good("deep.mp4")).encode()[:-1] + b', "own": ' + b"[" * 400 + b"]" * 400 + b"}")
        with pytest.raises(AggregateError, match=r"shard.jsonl:1: deep.mp4: a value that JSON in UTF-8 cannot hold"):
            unified(given)

    def test_the_first_line_that_is_no_row_is_the_one_that_is_named(
        self, shard: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shards_module, "PIECE_BYTES", 700)
        given = shard(*(good(f"{n}") for n in range(40)), b"[]", *(good(f"x{n}") for n in range(40)), b"{")
        with pytest.raises(AggregateError) as caught:
            unified(given)
        assert str(caught.value).startswith(f"{given.path}:41: a JSON list")

    def test_a_shard_that_cannot_be_read_is_named_and_nothing_is_made_without_it(
        self, shard: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other, locked = shard(good("a"), name="other"), shard(good("b"), name="locked")
        really = Path.open

        def refuse(path: Path, *arguments: Any, **options: Any) -> Any:
            if path == locked.path:
                raise PermissionError(13, "Permission denied")
            return really(path, *arguments, **options)

        monkeypatch.setattr(Path, "open", refuse)
        with pytest.raises(AggregateError, match=r"locked.jsonl: it cannot be read \(Permission denied\), expected"):
            unified(other, locked)

    def test_a_shard_that_changes_between_the_passes_is_no_input(self, shard: Write) -> None:
        given = shard(good("a"), good("b"))
        found = aggregate([given], SOURCES, NOW)
        given.path.write_bytes(given.path.read_bytes() + b"\n")
        with pytest.raises(AggregateError, match="it changed while it was being read"):
            write_block(found.rows)

    def test_a_digest_that_is_none_is_refused_by_the_column_specs_whatever_it_looks_like(self, root_path: Path) -> None:
        for digest in ("A" * 64, "a" * 63, "0 " * 32, "x" * 64):
            with pytest.raises(SchemaError, match="src_sha256"):
                unify(root_path, [good("a") | {"src_sha256": digest}, good("b")])

    @pytest.mark.parametrize("obstacle", ["a file", "a folder"])
    def test_an_output_that_cannot_be_written_says_so(self, obstacle: str, shard: Write, root_path: Path) -> None:
        blocked = root_path / "aggregated"
        if obstacle == "a file":
            blocked.write_text("in the way")
        else:
            (blocked / "unified_corpus.jsonl").mkdir(parents=True)
        root = DataRoot(root_path)
        settings = UnifiedSettings((shard(good("a")),), root.unified_corpus())
        with pytest.raises(AggregateError, match="it cannot be written") as caught:
            make_unified_corpus(settings, SOURCES, RunContext(root, {}, Path(__file__)))
        assert "correct the folder or the disk" in caught.value.next_step

    def test_a_full_disk_leaves_the_earlier_output_whole(
        self, root_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        earlier = unify(root_path, [good("a")])
        before = {p.name: p.read_bytes() for p in earlier.jsonl.parent.iterdir()}

        def full(_: Any) -> Any:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("vqa_assets.unified.aggregation.write_block", full)
        with pytest.raises(AggregateError, match=r"it cannot be written \(No space left on device\)"):
            unify(root_path, [good("a"), good("b")])
        assert {p.name: p.read_bytes() for p in earlier.jsonl.parent.iterdir()} == before


class TestPair:
    """JSONL and Parquet are of one run, whatever happened between them."""

    def test_a_crash_between_the_two_followed_by_the_earlier_inputs_leaves_no_stale_table(
        self, root_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        earlier = unify(root_path, [good("a", 3.0)])
        lines = earlier.jsonl.read_bytes()
        really, published = os.replace, []

        def killed(self: Path, target: Path) -> None:
            published.append(target.suffix)
            if target.suffix == ".jsonl":
                raise KeyboardInterrupt
            really(self, target)

        monkeypatch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            unify(root_path, [good("a", 4.0)])
        monkeypatch.undo()
        assert published == [".parquet", ".jsonl", ".parquet"]  # the last puts the first back
        assert earlier.jsonl.read_bytes() == lines
        assert pq.read_table(earlier.parquet)["mos_native"].to_pylist() == [3.0]
        again = unify(root_path, [good("a", 3.0)])
        assert again.data_version == earlier.data_version
        assert pq.read_table(again.parquet)["mos_native"].to_pylist() == [3.0]

    def test_the_table_names_the_lines_it_was_made_from_and_the_data_version(self, root_path: Path) -> None:
        done = unify(root_path, [good("a")])
        origin = origin_of(done.parquet)
        assert origin
        assert origin.data_version == done.data_version
        recorded = done.manifest["run_provenance"]["outputs"]["unified_corpus"]["sha256"]
        assert origin.jsonl_sha256 == recorded

    @pytest.mark.parametrize("edited", [b"", b"{}\n"])
    def test_a_table_is_not_made_from_lines_that_changed_since(self, edited: bytes, root_path: Path) -> None:
        done = unify(root_path, [good("a")])
        assert made_from(done.jsonl, done.parquet)
        done.jsonl.write_bytes(edited)
        assert not made_from(done.jsonl, done.parquet)

    def test_lines_that_were_edited_are_made_again(self, root_path: Path) -> None:
        done = unify(root_path, [good("a")])
        whole = done.jsonl.read_bytes()
        done.jsonl.write_bytes(whole.replace(b'"mos":50.0', b'"mos":51.0'))
        assert b'"mos":50.0' in unify(root_path, [good("a")]).jsonl.read_bytes()


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shard, ...]:
    return write_shards(tmp_path_factory.mktemp("shards"), ROWS)


@pytest.fixture(scope="module")
def plain(shards: tuple[Shard, ...], tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, dict[str, int]]:
    output = tmp_path_factory.mktemp("plain") / "out.jsonl"
    counts = plain_unified.unify([one.path for one in shards], set(CORPORA), output, NOW)
    return output.read_bytes(), counts


class TestPasses:
    """However the work is cut and wherever it is done, the bytes are those of a plain script."""

    def test_seeded_shards_give_the_rows_and_counts_of_the_plain_script(
        self, shards: tuple[Shard, ...], plain: tuple[bytes, dict[str, int]], tmp_path: Path
    ) -> None:
        found = aggregate(shards, CORPORA, NOW)
        write_unified_lines(found.rows, tmp_path / "out.jsonl")
        lines, counts = plain
        assert (tmp_path / "out.jsonl").read_bytes() == lines
        assert found.report.counters() == {
            "inputs_seen": len(CORPORA),
            "inputs_missing": 0,
            "rows_in": counts["rows_in"],
            "rows_out": counts["rows_out"],
            "cross_corpus_dedups": counts["cross"],
            "same_corpus_dedups": counts["same"],
            "dropped_unknown_corpus": counts["unknown"],
            "dropped_bad_scale": counts["bad_scale"],
        }
        assert min(found.report.cross_corpus_dedups, found.report.same_corpus_dedups, counts["bad_scale"]) > 0

    @pytest.mark.parametrize(("piece_bytes", "block_rows"), [(1, 1_000_000), (5_000, 7), (1 << 30, 1)])
    def test_the_size_of_pieces_and_blocks_changes_no_byte(
        self, piece_bytes: int, block_rows: int, shards: tuple[Shard, ...], plain: tuple[bytes, Any]
    ) -> None:
        for shard in shards:
            opened = OpenedShard.of(shard.path)
            pieces = pieces_of(opened, piece_bytes)
            assert [piece.start for piece in pieces[1:]] == [piece.end for piece in pieces[:-1]]
            assert sum(len(scan(piece).records) for piece in pieces) == ROWS // len(CORPORA)
        found = aggregate(shards, CORPORA, NOW)
        blocks = blocks_of(found.rows, block_rows)
        assert b"".join(write_block(block).lines for block in blocks) == plain[0]

    def test_child_processes_give_the_same_bytes(
        self, shards: tuple[Shard, ...], plain: tuple[bytes, Any], tmp_path: Path
    ) -> None:
        with WorkerPool(2) as workers:
            found = aggregate(shards, CORPORA, NOW, workers)
            write_unified_lines(found.rows, tmp_path / "out.jsonl", workers)
        assert (tmp_path / "out.jsonl").read_bytes() == plain[0]

    def test_a_careful_reading_finds_what_the_plain_one_does(
        self, shards: tuple[Shard, ...], plain: tuple[bytes, Any], tmp_path: Path
    ) -> None:
        spaced = tuple(Shard(tmp_path / one.path.name) for one in shards)
        for one, copy in zip(shards, spaced, strict=True):
            copy.path.write_bytes(one.path.read_bytes().replace(b"\n", b"\n\n"))
        assert write_block(aggregate(spaced, CORPORA, NOW).rows).lines == plain[0]

    def test_digests_that_differ_in_their_last_bytes_only_are_told_apart(self, shard: Write) -> None:
        lines = [good(f"{n}.mp4", sha=f"same beginning, {n % 50:02d}", mos_std_dev=0.5) for n in range(100)]
        assert len(names(shard(*lines))) == 50
