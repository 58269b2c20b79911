"""Which implementation the resources choose, and that both give the same rows; yt-dlp for pages, when it is there."""

import json
import os
import stat
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from vqa_assets.clips.downloading import DownloadLimits
from vqa_assets.clips.pages import PageDownloader, is_page, youtube_lacks
from vqa_assets.clips.programs import DOWNLOADING, PROBING, Choice
from vqa_assets.definitions import build_defs, default_resources
from vqa_assets.errors import DownloadError, SettingsError
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.clips import tiny_clips
from vqa_assets_tests.shared.fakes import FakeDownloader, SmallCorpus
from vqa_assets_tests.shared.hostile_server import HostileServer, gives

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
LIMITS = DownloadLimits(timeout_s=10, retries=0, backoff_s=0.01, max_bytes=1_000_000)
PAGE = "https://www.youtube.com/watch?v=abc"


@pytest.mark.parametrize("choice", [PROBING, DOWNLOADING])
def test_the_program_is_taken_where_its_variable_names_it_or_it_is_asked_for(choice: Choice) -> None:
    named = {choice.variable: "/opt/one"}
    assert choice.binary("auto", {}) is None
    assert choice.binary("auto", named) == "/opt/one"
    assert choice.binary(choice.library, named) is None
    assert choice.binary(choice.program, {}) == choice.program
    assert choice.binary(choice.program, named) == "/opt/one"
    with pytest.raises(SettingsError, match=f"one of auto, {choice.library}, {choice.program}"):
        choice.binary("gstreamer", {})


def test_no_resource_has_a_setting_that_names_what_is_executed() -> None:
    """Whoever adds a setting here asks first whether a page that may start a run could start a program by it."""
    settings = {name: set(type(resource).model_fields) for name, resource in default_resources().items()}
    assert settings == {
        "data_root": {"path"},
        "prober": {"implementation"},
        "downloader": {"implementation"},
        "clip_pool": {"implementation", "chunk_clips"},
        "extractor": {"feature_sets", "perceptual_hash", "backbone_device", "backbone_batch"},
        "trainer": {"implementation", "device"},
        "notifier": {"webhook", "timeout_s"},
    }


def test_no_run_config_names_a_folder_for_values() -> None:
    """Dagster's own default for values would take one, though no stage hands on any."""
    job = build_defs().resolve_implicit_global_asset_job_def()
    config = {"resources": {"io_manager": {"config": {"base_dir": "/tmp"}}}}
    with pytest.raises(dg.DagsterInvalidConfigError, match=r'unexpected config entry "base_dir"'):
        dg.validate_run_config(job, config)


def ingest(root: Path, **implementations: str) -> dg.ExecuteInProcessResult:
    defs = build_defs(data_root=DataRootResource(path=str(root)))
    resources = {name: {"config": {"implementation": value}} for name, value in implementations.items()}
    return defs.resolve_implicit_global_asset_job_def().execute_in_process(
        asset_selection=[dg.AssetKey("corpus_jsonl")],
        partition_key="konvid-150k",
        run_config={**QUIET, "resources": resources},
        raise_on_error=False,
    )


def served_corpus(root: Path, server: HostileServer, clips: dict[str, bytes]) -> SmallCorpus:
    corpus = SmallCorpus(DataRoot(root))
    corpus.annotate([(n, server.on(f"/{n}", gives(body)), 3, 0.5, 5) for n, body in clips.items()])
    (corpus.folder / "ingest.toml").write_text("min_rows = 1\n")
    return corpus


@pytest.mark.needs_tool("ffprobe")
@pytest.mark.needs_tool("curl")
def test_the_run_config_chooses_the_implementation_and_the_rows_are_the_same(tmp_path: Path) -> None:
    clips, rows = tiny_clips(tmp_path / "made", 3), []
    with HostileServer() as server:
        for chosen in ({"prober": "pyav", "downloader": "libcurl"}, {"prober": "ffprobe", "downloader": "curl"}):
            root = tmp_path / chosen["prober"]
            root.mkdir()
            corpus = served_corpus(root, server, clips)
            assert ingest(root, **chosen).success
            rows.append([{k: v for k, v in row.items() if k != "ingested_at_utc"} for row in corpus.rows()])
        agents = {exchange.headers["User-Agent"] for exchange in server.seen}
    assert agents == {"vqa-assets"}
    assert rows[0] == rows[1]
    assert len(rows[0]) == 3


@pytest.mark.parametrize("variable", ["FFPROBE_BIN", "CURL_BIN"])
def test_a_configured_program_that_is_absent_ends_the_run_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    (tmp_path / "data").mkdir()
    with HostileServer() as server:
        corpus = served_corpus(tmp_path / "data", server, tiny_clips(tmp_path / "made", 2))
        monkeypatch.setenv(variable, "/opt/no-such-program")
        result = ingest(tmp_path / "data")
        (failed,) = result.filter_events(lambda e: e.is_step_failure)
        told = str(failed.step_failure_data.user_failure_data.description)  # type: ignore[union-attr]
        assert "'/opt/no-such-program'" in told
        assert f"${variable}" in told
        assert not (corpus.folder / "konvid_150k.jsonl").exists()
        monkeypatch.delenv(variable)
        assert ingest(tmp_path / "data").success
    assert len(corpus.rows()) == 2


# yt-dlp


@pytest.mark.parametrize(
    ("url", "page"),
    [
        (PAGE, True),
        ("https://youtu.be/abc", True),
        ("https://m.youtube.com/shorts/abc", True),
        ("https://vimeo.com/12345", True),
        ("https://player.vimeo.com/video/12345", True),
        ("https://www.flickr.com/photos/someone/12345678/", True),
        ("https://live.staticflickr.com/video/12345678/abc/360p.mp4", False),
        ("https://www.flickr.com/video_download.gne?id=12345678", False),
        ("https://storage.googleapis.com/ugc-dataset/original_videos/x.mkv", False),
        ("https://youtube.com.example.org/watch?v=abc", False),
        ("http://[broken", False),
    ],
)
def test_pages_are_known_by_host_and_path(url: str, page: bool) -> None:
    assert is_page(url) is page


def fake_yt_dlp(folder: Path, script: str) -> Path:
    """A yt-dlp on PATH: ``script`` is Python that has ``arguments``, ``address`` and ``give(clip)``."""
    path = folder / "yt-dlp"
    path.write_text(
        f"#!{sys.executable}\nimport json, pathlib, sys\narguments = sys.argv[1:]\naddress = sys.stdin.read().strip()\n"
        f"def give(body):\n    sys.stdout.buffer.write(body)\n    sys.stdout.buffer.flush()\n{script}\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "deno").symlink_to(sys.executable)  # YouTube's pages need one; it is looked for and not started
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def fetch(url: str, part: Path, downloader: Any = None) -> Any:
    return PageDownloader(downloader or FakeDownloader()).fetch(url, part, LIMITS, threading.Event())


def test_a_page_goes_to_yt_dlp_and_a_file_does_not(tmp_path: Path, on_path: Path) -> None:
    told = tmp_path / "told"
    fake_yt_dlp(
        on_path,
        f"give(b'the clip')\npathlib.Path({str(told)!r}).write_text(json.dumps([arguments, address]))",
    )
    part = tmp_path / "100%-é.mp4.part"
    assert fetch(PAGE, part).size_bytes == 8
    assert part.read_bytes() == b"the clip"
    arguments, address = json.loads(told.read_text())
    assert address == PAGE
    assert PAGE not in arguments
    files = FakeDownloader({"http://127.0.0.1/a.mp4": b"a file"})
    assert fetch("http://127.0.0.1/a.mp4", part, files).size_bytes == 6


@pytest.mark.parametrize(
    ("complaint", "permanent"),
    [
        ("ERROR: [youtube] abc: Video unavailable. This video has been removed by the uploader", True),
        ("ERROR: [youtube] abc: Private video. Sign in if you've been granted access to this video", True),
        ("ERROR: [youtube] abc: This video is private", True),
        ("ERROR: [youtube] abc: This video has been removed for violating YouTube's Terms of Service", True),
        ("ERROR: [youtube] abc: Video unavailable: the YouTube account has been terminated.", True),
        (
            "ERROR: [youtube] abc: Video unavailable. This video is no longer available due to a copyright claim by X",
            True,
        ),
        ("ERROR: [youtube] abc: This content isn't available, try again later. It has been rate-limited.", False),
        ("ERROR: [youtube] abc: This content isn't available, try again later; it was removed by no one", False),
        ("ERROR: [youtube] abc: Requested format is not available. Use --list-formats for a list", False),
        ("ERROR: [youtube] abc: Sign in to confirm you're not a bot", False),
        ("ERROR: [youtube] abc: Video unavailable. This video is not available in your country", False),
        ("ERROR: [youtube] abc: Its owner has blocked it in your country on copyright grounds", False),
        ("ERROR: [youtube] abc: Video unavailable", False),
        ("ERROR: unable to download video data: HTTP Error 403: Forbidden", False),
        ("ERROR: [generic] Unable to download webpage: HTTP Error 404: Not Found", False),
        ("ERROR: [youtube] abc: Unable to download API page: HTTP Error 429: Too Many Requests", False),
        (
            "ERROR: [vimeo] 1: Unable to download JSON metadata: timed out from https://user:s3cret@x/?token=hidden",
            False,
        ),
        ("", False),
    ],
)
def test_what_yt_dlp_says_decides_whether_the_clip_is_gone(
    tmp_path: Path, on_path: Path, complaint: str, permanent: bool
) -> None:
    fake_yt_dlp(on_path, f"give(b'half')\nprint({complaint!r}, file=sys.stderr)\nsys.exit(1)")
    with pytest.raises(DownloadError) as caught:
        fetch(PAGE, tmp_path / "a.part")
    assert caught.value.permanent is permanent
    assert caught.value.reason.startswith("yt-dlp: ")
    assert "s3cret" not in caught.value.reason
    assert "hidden" not in caught.value.reason
    assert not (tmp_path / "a.part").exists()


def test_a_session_that_is_limited_is_not_asked_again_within_the_run(tmp_path: Path, on_path: Path) -> None:
    asked = tmp_path / "asked"
    complaint = "ERROR: [youtube] abc: try again later. The current session has been rate-limited by YouTube"
    fake_yt_dlp(on_path, f"open({str(asked)!r}, 'a').write('x')\nprint({complaint!r}, file=sys.stderr)\nsys.exit(1)")
    limits = replace(LIMITS, retries=3)
    with pytest.raises(DownloadError, match="rate-limited") as caught:
        PageDownloader(FakeDownloader()).fetch(PAGE, tmp_path / "a.part", limits, threading.Event())
    assert not caught.value.permanent
    assert asked.read_text() == "x"


def test_without_a_javascript_runtime_youtube_is_not_asked_and_the_machine_is_told_not_the_clip(
    tmp_path: Path, on_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_yt_dlp(on_path, "give(b'the clip')")
    (on_path / "deno").unlink()
    monkeypatch.setenv("PATH", str(on_path))
    with pytest.raises(
        DownloadError, match="needs a JavaScript runtime, which this machine has not: install deno"
    ) as e:
        fetch(PAGE, tmp_path / "a.part")
    assert not e.value.permanent
    assert fetch("https://vimeo.com/12345", tmp_path / "a.part").size_bytes == 8
    assert youtube_lacks([sys.executable, "-m", "yt_dlp"]).startswith("a JavaScript runtime")
    (on_path / "node").symlink_to(sys.executable)
    assert youtube_lacks([str(on_path / "yt-dlp")]) == ""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'yt-dlp[default]'" in youtube_lacks([sys.executable, "-m", "yt_dlp"])


def test_yt_dlp_is_told_of_the_runtime_that_it_would_not_use_by_itself(
    tmp_path: Path, on_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "told"
    fake_yt_dlp(on_path, f"give(b'the clip')\npathlib.Path({str(told)!r}).write_text(' '.join(arguments))")
    fetch(PAGE, tmp_path / "a.part")
    assert "--js-runtimes" not in told.read_text()
    (on_path / "deno").rename(on_path / "node")
    monkeypatch.setenv("PATH", str(on_path))
    fetch(PAGE, tmp_path / "a.part")
    assert told.read_text().startswith("--js-runtimes node ")


def test_without_yt_dlp_a_page_says_what_to_install_and_is_not_condemned(tmp_path: Path) -> None:
    downloader = PageDownloader(FakeDownloader(), command=lambda: None)
    with pytest.raises(DownloadError, match=r"pip install 'vqa-assets\[yt-dlp\]'") as caught:
        downloader.fetch(PAGE, tmp_path / "a.part", LIMITS, threading.Event())
    assert not caught.value.permanent


def test_a_page_that_gives_too_much_is_cut_off(tmp_path: Path, on_path: Path) -> None:
    fake_yt_dlp(on_path, "import time\ngive(bytes(2_000_000))\ntime.sleep(20)")
    with pytest.raises(DownloadError, match="larger than 1000000 bytes"):
        fetch(PAGE, tmp_path / "a.part")


def test_the_real_yt_dlp_fetches_a_clip_from_a_server(tmp_path: Path) -> None:
    (body,) = tiny_clips(tmp_path / "made", 1).values()
    with HostileServer() as server:
        url = server.on("/some%20clip.mp4", gives(body))
        pages = PageDownloader(FakeDownloader())
        part = tmp_path / "a%20b (é).mp4.part"
        assert pages.fetch_page(url, part, LIMITS, threading.Event()).size_bytes == len(body)
        assert part.read_bytes() == body
        with pytest.raises(DownloadError) as caught:
            pages.fetch_page(server.url("/gone.mp4"), part, LIMITS, threading.Event())
    assert "HTTP Error 404" in caught.value.reason
    assert not caught.value.permanent
    assert not part.exists()
