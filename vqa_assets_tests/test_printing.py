"""What people are shown: no name from outside moves a cursor, forges a line, turns text around or brings a secret."""

import ast
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster_shared.serdes import serialize_value

import vqa_assets
from vqa_assets.assets.runs import public_arguments
from vqa_assets.errors import DownloadError, VqaError
from vqa_assets.heads.card import _environment
from vqa_assets.ingest.settings import IngestSettings
from vqa_assets.labels.batch import label_batch
from vqa_assets.labels.settings import BatchSettings
from vqa_assets.printing import (
    cell,
    logger,
    plain,
    plain_lines,
    plain_values,
    show_log,
    tell,
    without_logins,
    without_secrets,
)
from vqa_assets.provenance import RunContext
from vqa_assets.rehearse import main as rehearse_main
from vqa_assets.settings import SettingsError
from vqa_assets.status import main as status_main
from vqa_assets.tables.files import json_bytes, report_line
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.clips import tiny_clips
from vqa_assets_tests.shared.platform import Platform

HOSTILE = "a\x1b[2Jb\u202egpj.exe\rc\nd\x85e\u2066f\u200f\u2028g\ud800h\x7f"
SHOWN = r"a\u001b[2Jb\u202egpj.exe\u000dc\u000ad\u0085e\u2066f\u200f\u2028g\ud800h\u007f"
CODE = Path(vqa_assets.__file__).parent


def test_control_and_direction_characters_are_escaped_and_letters_of_every_script_stay():
    assert plain(HOSTILE) == SHOWN
    assert plain_lines("a\nb\x1b") == "a\nb\\u001b"
    for text in ("Müller 1 200", "视频 01.mp4", "עברית.mp4", "a\u00a0b\u202fc", "🎬.mp4"):
        assert plain(text) == text
    assert plain(SHOWN) == SHOWN
    assert plain_values({HOSTILE: [HOSTILE, 1, None, (HOSTILE,)]}) == {SHOWN: [SHOWN, 1, None, [SHOWN]]}


def test_an_error_shows_no_control_character_in_any_of_its_parts():
    error = VqaError(HOSTILE, found=HOSTILE, expected=HOSTILE, next_step=HOSTILE)
    assert str(error) == f"{SHOWN}: {SHOWN}, expected {SHOWN}; {SHOWN}"
    assert {error.what, error.found, error.expected, error.next_step} == {SHOWN}
    assert DownloadError(HOSTILE, permanent=True).reason == SHOWN


def test_every_logger_of_ours_escapes_before_anybody_keeps_the_line(caplog):
    with caplog.at_level(logging.INFO, logger="vqa_assets.printing_test"):
        logger("vqa_assets.printing_test").info("clip %s at %s", HOSTILE, "https://u:pw@h/x?sig=1")
    (record,) = caplog.records
    assert record.getMessage() == f"clip {SHOWN} at https://…@h/x?…"


def test_only_one_module_prints_and_every_logger_of_ours_comes_from_it():
    own = {}
    for path in CODE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called == "print" or called.endswith("getLogger"):
                    own.setdefault(path.relative_to(CODE).as_posix(), []).append(ast.unparse(node))
    # Beside it: a run sets the level of all our loggers at their root.
    assert own.pop("stages/run.py") == ["logging.getLogger('vqa_assets')"]
    assert set(own) == {"printing.py"}, own


def test_two_commands_in_one_process_show_each_line_once(capsys):
    for _ in range(2):
        show_log(logging.Formatter("%(message)s"), ["beside"])
    for name in ("vqa_assets.show", "beside"):
        logging.getLogger(name).warning("told")
        logging.getLogger(name).debug("not told")
    assert capsys.readouterr().err.splitlines() == ["told", "told"]


def test_what_a_command_prints_is_escaped_and_its_json_stays_the_same_json(capsys):
    tell(json.dumps({"name": HOSTILE}, ensure_ascii=False))
    printed = capsys.readouterr().out
    assert printed.strip().isprintable()
    assert json.loads(printed) == {"name": HOSTILE}


def test_json_reports_are_escaped_and_read_back_the_same():
    for content in (json_bytes({"name": HOSTILE}), report_line({"name": HOSTILE.replace("\ud800", "")})):
        text = content.decode()
        assert text.replace("\n", "").isprintable()
        assert json.loads(text)["name"].replace("\ud800", "") == HOSTILE.replace("\ud800", "")


def test_a_cell_of_markdown_begins_no_column_no_tag_and_no_link():
    assert cell("a|b<script>&[x](y)\n") == r"a\|b&lt;script>&amp;\[x](y)\u000a"
    assert _environment().from_string("{{ x | cell }}").render(x="a|b") == r"a\|b"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at https://user:s3cret@h/a.mp4?token=1 x", "at https://…@h/a.mp4?… x"),
        ("http://h/a.mp4?#c094b8b7", "http://h/a.mp4?#c094b8b7"),
        ("http://h/@user/clip@2x.mp4", "http://h/@user/clip@2x.mp4"),
        ("no address: a@b, c:d", "no address: a@b, c:d"),
    ],
)
def test_an_address_in_a_message_has_lost_login_and_query(text, shown):
    assert without_secrets(text) == shown == without_secrets(shown)


@pytest.mark.parametrize(
    "address",
    [
        "ftp://user:s3cret@h/x",
        "http//user:s3cret@h/x",
        "user:s3cret@h/x",
        "http:/user:s3cret@h",
        "https://user:s3/cret@h/x",
        "https://us er:s3cret@h",
        "https://h/x?key=s3cret ",
        "https://user:" + "p" * 300 + "s3cret@h",
        "https://token-s3cret@h x",
    ],
)
def test_credentials_in_a_refused_address_are_not_echoed(address):
    assert "s3cret" not in without_logins(address)
    for name in ("bucket_prefix", "archive_base"):
        with pytest.raises(SettingsError) as refused:
            IngestSettings.of({name: f"x{address}"}, "lsvq: run config")
        assert "s3cret" not in str(refused.value)
        assert "ppp" not in str(refused.value)


@pytest.mark.parametrize(
    "argument",
    [
        '{"resources": {"notifier": {"config": {"webhook": "https://hooks.example/T0/S3CRET"}}}}',
        "VQA_FAILURE_WEBHOOK=https://hooks.example/T0/S3CRET",
        "webhook: 'https://hooks.example/T0/S3CRET'",
        '"{\\"webhook\\": \\"https://hooks.example/T0/S3CRET\\"}"',
        "https://hooks.example/known/S3CRET",
    ],
)
def test_the_address_of_a_webhook_is_cut_from_a_command_line(argument):
    known = {"VQA_FAILURE_WEBHOOK": "https://hooks.example/known/S3CRET"}
    (shown,) = public_arguments([argument], known)
    assert "S3CRET" not in shown
    assert "<webhook>" in shown
    assert public_arguments(["--select", "mos_head"], {}) == ("--select", "mos_head")


class Reading:
    """Everything a run left for people: its log, its metadata, its checks, its reports, what commands print of it."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform

    def of(self, result: dg.ExecuteInProcessResult) -> list[str]:
        texts = []
        for entry in self.platform.instance.all_logs(result.run_id):
            texts.append(entry.user_message)
            if entry.dagster_event is not None and entry.dagster_event_type != dg.DagsterEventType.STEP_FAILURE:
                texts.append(entry.dagster_event.message or "")
        for event in result.get_asset_materialization_events():
            for value in event.materialization.metadata.values():
                texts.append(serialize_value(value))  # JSON in ASCII, which is read below
        for evaluation in result.get_asset_check_evaluations():
            texts += [evaluation.description or "", *(serialize_value(one) for one in evaluation.metadata.values())]
        return texts


def unseen_in(text: str) -> str:
    """What a person would not see in a text, or in the JSON that it is."""
    read = " ".join(texts_in(json.loads(text))) if text.startswith('{"__class__"') else text
    return "".join(one for one in "\x1b\u202e\u2066\x85" if one in read)


def texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from (key, *texts_in(item))
    elif isinstance(value, list):
        for item in value:
            yield from texts_in(item)


def test_hostile_names_of_clips_reach_no_log_no_metadata_no_report_and_no_terminal(platform, root_path, capsys):
    names = ["\u202egpj.exe.mp4", "red\x1b[31m.mp4", "next\x85line.mp4", "\u2066inside.mp4"]
    folder = root_path / "konvid-150k"
    staged = tiny_clips(folder / "clips", 3)
    (folder / "clips" / next(iter(staged))).rename(folder / "clips" / names[0])
    (folder / "clips" / "\x1b]0;unclaimed\x07.mp4").write_bytes(b"no video")
    listed = [*names, *list(staged)[1:]]
    rows = "".join(f"{name},,{2 + i / 4},0.5,9\n" for i, name in enumerate(listed))
    (folder / "manifest.csv").write_text("video_name,url,mos,sd,n\n" + rows, encoding="utf-8")
    (folder / "ingest.toml").write_text("min_rows = 1\nattrition_warn_threshold = 0.0\n")
    result = platform.run("corpus_annotations", "corpus_jsonl", partition="konvid-150k")
    assert result.success
    assert [text for text in Reading(platform).of(result) if unseen_in(text)] == []
    losses = (folder / "konvid_150k.losses.jsonl").read_text(encoding="utf-8")
    manifest = (folder / "konvid_150k.manifest.json").read_text(encoding="utf-8")
    assert not any(one in losses + manifest for one in "\x1b\u202e\u2066\x85")
    assert {json.loads(line)["src"] for line in losses.splitlines()} >= {*names[1:]}  # as data they are what they were
    status_main(["--root", str(root_path)])
    rehearse_main(["konvid-150k", "--root", str(root_path)])
    rehearse_main(["konvid-150k", "--root", str(root_path), "--json"])
    printed = "".join(capsys.readouterr())
    assert not any(one in printed for one in "\x1b\u202e\u2066\x85")
    row = json.loads((folder / "konvid_150k.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert row["src"] == names[0]


def test_a_report_of_a_batch_shows_hostile_names_escaped(tmp_path):
    table = "a|b\u202e<script>"
    (tmp_path / "batch.json").write_text(
        json.dumps({"tables": [{"id": table, "features": "no\x1bthing.csv", "labels": "none.csv", "out": "o.csv"}]})
    )
    context = RunContext(DataRoot(tmp_path), {}, Path(__file__))
    batch = label_batch(BatchSettings(manifest=tmp_path / "batch.json"), context)
    report = batch.reports.markdown.read_text(encoding="utf-8")
    assert report.replace("\n", "").isprintable()
    assert r"| a\|b\u202e&lt;script> |" in report
    assert r"no\u001bthing.csv" in report
    assert json.loads(batch.reports.json.read_text(encoding="utf-8"))["tables"][0]["id"] == table


@pytest.mark.parametrize(
    "text",
    [
        "a." * 50_000 + " :/",
        ":" * 50_000 + " @",
        "a" * 50_000 + " @",
        "@" + "a://" * 20_000,
        "a:/b@" * 20_000,
        "@" * 50_000,
    ],
    ids=lambda text: text[:6],
)
def test_a_long_text_is_cleared_of_secrets_in_a_moment(text):
    begun = time.process_time()
    without_logins(text)
    assert time.process_time() - begun < 1


def test_a_scheme_of_any_length_and_after_any_letter_begins_an_address():
    for scheme in ("https", "x" * 100, "1https", "(https"):
        assert without_secrets(f"{scheme}://user:s3cret@h/x?key=s3cret") == f"{scheme}://…@h/x?…"
