"""What people are shown: no name from outside moves a cursor, forges a line, turns text around or brings a secret."""

import ast
import json
import logging
from pathlib import Path

import pytest

import vqa_assets
from vqa_assets.assets.runs import public_arguments
from vqa_assets.errors import DownloadError, VqaError
from vqa_assets.heads.card import _environment
from vqa_assets.ingest.settings import IngestSettings
from vqa_assets.printing import cell, logger, plain, plain_lines, plain_values, tell, without_logins, without_secrets
from vqa_assets.settings import SettingsError
from vqa_assets.tables.files import json_bytes, report_line

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
    # Beside it: levels and handlers of all our loggers are set at their root.
    assert own.pop("ui.py") == ["logging.getLogger(name)"]
    assert own.pop("workflow.py") == own.pop("assets/runs.py") == ["logging.getLogger('vqa_assets')"]
    assert set(own) == {"printing.py"}, own


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
