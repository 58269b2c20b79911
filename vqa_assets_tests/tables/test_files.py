"""Atomic files and JSON Lines."""

import json
import math
import os
import subprocess
import sys

import pytest

from vqa_assets.errors import SchemaError
from vqa_assets.tables.files import (
    drafting,
    json_line,
    read_json_lines,
    read_json_object,
    replacing,
    write_bytes,
    write_json,
    write_lines,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


class TestAtomicReplace:
    """A reader sees the earlier file or the new one, never half of one."""

    def test_a_file_is_replaced_when_the_block_ends_well(self, tmp_path):
        target = tmp_path / "x.jsonl"
        target.write_text("earlier")
        with replacing(target) as temporary:
            temporary.write_text("new")
            assert target.read_text() == "earlier"
        assert target.read_text() == "new"
        assert names(tmp_path) == ["x.jsonl"]

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
    def test_an_exception_leaves_the_earlier_file_and_nothing_beside_it(self, error, tmp_path):
        target = tmp_path / "x.jsonl"
        target.write_text("earlier")

        def interrupted():
            with replacing(target) as temporary:
                temporary.write_text("half")
                raise error

        with pytest.raises(error):
            interrupted()
        assert target.read_text() == "earlier"
        assert names(tmp_path) == ["x.jsonl"]

    def test_a_draft_that_is_not_published_is_gone(self, tmp_path):
        target = tmp_path / "x.jsonl"
        with drafting(target) as draft:
            draft.path.write_text("new")
        assert names(tmp_path) == []

    def test_a_draft_that_was_never_written_is_no_error(self, tmp_path):
        with drafting(tmp_path / "x.jsonl"):
            pass
        assert names(tmp_path) == []

    def test_folders_on_the_way_are_made(self, tmp_path):
        write_bytes(tmp_path / "a" / "b" / "x", b"1")
        assert (tmp_path / "a" / "b" / "x").read_bytes() == b"1"

    @pytest.mark.parametrize("name", ["x.jsonl", "x[1].jsonl", "x*.jsonl"])
    def test_what_a_dead_process_left_is_removed_and_what_a_living_one_writes_is_not(self, name, tmp_path):
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        (tmp_path / f".{name}.{dead.pid}.tmp").write_text("half")
        (tmp_path / f".{name}.{os.getppid()}.tmp").write_text("being written")
        (tmp_path / f".{name}.notes.tmp").write_text("somebody else's")
        (tmp_path / f".other.jsonl.{dead.pid}.tmp").write_text("another target's")
        write_bytes(tmp_path / name, b"new")
        assert names(tmp_path) == sorted(
            [f".{name}.{os.getppid()}.tmp", f".{name}.notes.tmp", f".other.jsonl.{dead.pid}.tmp", name]
        )

    def test_a_kill_in_the_middle_leaves_the_earlier_file_and_the_next_write_cleans_up(self, tmp_path):
        target = tmp_path / "x.jsonl"
        target.write_text("earlier")
        code = (
            "import os, pathlib, signal, sys\n"
            "from vqa_assets.tables.files import replacing\n"
            "with replacing(pathlib.Path(sys.argv[1])) as temporary:\n"
            "    temporary.write_text('half')\n"
            "    os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        assert subprocess.run([sys.executable, "-c", code, str(target)], check=False).returncode == -9
        assert target.read_text() == "earlier"
        assert len(names(tmp_path)) == 2
        write_bytes(target, b"new")
        assert names(tmp_path) == ["x.jsonl"]
        assert target.read_text() == "new"


class TestJson:
    """One object a file."""

    def test_it_is_readable_and_its_keys_are_sorted(self, tmp_path):
        write_json(tmp_path / "x.json", {"b": "Götz", "a": {"d": 1, "c": None}})
        assert (tmp_path / "x.json").read_text(encoding="utf-8") == (
            '{\n  "a": {\n    "c": null,\n    "d": 1\n  },\n  "b": "Götz"\n}\n'
        )
        assert read_json_object(tmp_path / "x.json") == {"a": {"c": None, "d": 1}, "b": "Götz"}

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_a_number_that_json_does_not_know_is_refused_and_the_earlier_file_stands(self, value, tmp_path):
        write_json(tmp_path / "x.json", {"a": 1})
        with pytest.raises(ValueError, match="JSON compliant"):
            write_json(tmp_path / "x.json", {"a": value})
        assert read_json_object(tmp_path / "x.json") == {"a": 1}

    @pytest.mark.parametrize(
        ("content", "found"),
        [
            (b"", "not JSON (Expecting value"),
            (b'{"a": 1', "not JSON ("),
            (b"\xff\xfe", "not JSON ("),
            (b"[1]", "a JSON list"),
            (b"null", "a JSON NoneType"),
        ],
    )
    def test_anything_else_is_told_by_path(self, content, found, tmp_path):
        (tmp_path / "x.json").write_bytes(content)
        with pytest.raises(SchemaError) as caught:
            read_json_object(tmp_path / "x.json")
        assert str(caught.value).startswith(f"{tmp_path / 'x.json'}: {found}")
        assert caught.value.expected == "a JSON object"
        assert caught.value.next_step


class TestJsonLines:
    """One object a line."""

    def lines(self, path, content):
        path = path / "x.jsonl"
        path.write_bytes(content)
        return list(read_json_lines(path))

    def test_a_row_is_written_with_sorted_keys_in_utf_8_with_a_newline(self):
        assert json_line({"b": "Götz", "a": 1.5, "c": None}) == '{"a":1.5,"b":"Götz","c":null}\n'.encode()

    def test_what_is_written_is_read_byte_for_byte(self, tmp_path):
        rows = [{"src": f"{i}.mp4", "mos": i / 7} for i in range(5)]
        write_lines(tmp_path / "x.jsonl", (json_line(row) for row in rows))
        found = list(read_json_lines(tmp_path / "x.jsonl"))
        assert [line.row for line in found] == rows
        assert [line.number for line in found] == [1, 2, 3, 4, 5]
        assert b"".join(line.raw for line in found) == (tmp_path / "x.jsonl").read_bytes()

    def test_empty_lines_are_passed_over_and_still_counted(self, tmp_path):
        assert [(line.number, line.row) for line in self.lines(tmp_path, b'\n{"a":1}\n \r\n{"a":2}\n\n')] == [
            (2, {"a": 1}),
            (4, {"a": 2}),
        ]

    def test_a_missing_final_newline_is_added(self, tmp_path):
        assert [line.raw for line in self.lines(tmp_path, b'{"a":1}\n{"a":2}')] == [b'{"a":1}\n', b'{"a":2}\n']

    def test_an_empty_file_has_no_lines(self, tmp_path):
        assert self.lines(tmp_path, b"") == []

    @pytest.mark.parametrize(
        ("raw", "value"),
        [(b"NaN", math.nan), (b"Infinity", math.inf), (b"1e400", math.inf), (b'"\\ud800"', "\ud800")],
    )
    def test_what_other_writers_write_is_read_by_a_second_opinion(self, raw, value, tmp_path):
        found = self.lines(tmp_path, b'{"mos":' + raw + b"}\n")[0].row["mos"]
        assert found == value or (math.isnan(found) and math.isnan(value))

    def test_a_byte_order_mark_is_read_over(self, tmp_path):
        assert self.lines(tmp_path, b'\xef\xbb\xbf{"a":1}\n')[0].row == {"a": 1}

    @pytest.mark.parametrize(
        ("bad", "found", "next_step"),
        [
            (b'{"a": 1, "b', "not JSON (", "cut short or edited"),
            (b'{"a": "\xff"}', "not JSON (", "; make it again"),
            (b"a,b", "not JSON (", "; make it again"),
            (b"[1]", "a JSON list", "Make it again"),
            (b"3", "a JSON int", "Make it again"),
            (b"version https://git-lfs.github.com/spec/v1", "a Git-LFS pointer", "git lfs pull"),
        ],
    )
    def test_anything_else_is_told_by_file_and_line(self, bad, found, next_step, tmp_path):
        with pytest.raises(SchemaError) as caught:
            self.lines(tmp_path, b'{"a": 1}\n\n' + bad + b"\n")
        assert str(caught.value).startswith(f"{tmp_path / 'x.jsonl'}:3: {found}")
        assert caught.value.expected == "one object a line"
        assert next_step in caught.value.next_step

    def test_lines_before_a_bad_one_are_read(self, tmp_path):
        (tmp_path / "x.jsonl").write_bytes(b'{"a": 1}\nbad\n')
        lines = read_json_lines(tmp_path / "x.jsonl")
        assert next(lines).row == {"a": 1}
        with pytest.raises(SchemaError):
            next(lines)

    def test_the_standard_library_reads_what_is_written(self):
        row = {"mos": 3.1234567890123, "n": 2**53 + 1, "t": "é\n\t"}
        assert json.loads(json_line(row)) == row
