"""The demo's own corpus: deterministic clips, made-up scores that follow the damage, four faults, an honest server."""

import csv
import http.client
import os
import subprocess
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest
from scipy.stats import spearmanr

from vqa_assets.demo.__main__ import main
from vqa_assets.demo.demo_corpus import (
    BEST,
    WORST,
    Damage,
    DemoCorpus,
    Encoding,
    encode_clip,
    is_demo_manifest,
    latent_quality,
    make_demo_corpus,
    plan_clips,
    write_manifest,
)
from vqa_assets.demo.scenes import Take, grain, moving_pictures, soften
from vqa_assets.demo.server import ClipServer
from vqa_assets_tests.corpora.test_declarations import MINE

CLIPS = 5
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def demo(folder: Path) -> DemoCorpus:
    return make_demo_corpus(folder, clips=CLIPS)


def faulty(demo: DemoCorpus, what: str) -> str:
    return next(name for name, told in demo.faults.items() if told.startswith(what))


def test_each_fault_is_what_it_is_said_to_be(demo: DemoCorpus) -> None:
    names = [row.name for row in demo.rows]
    assert len(names) == len(set(names)) == CLIPS + 4
    assert not (demo.served / faulty(demo, "not on the server")).exists()
    twin = faulty(demo, "the same bytes")
    assert (demo.served / twin).read_bytes() == (demo.served / names[0]).read_bytes()
    assert [row.mos for row in demo.rows if not row.mos.replace(".", "").isdigit()] == ["n/a"]
    assert decoded_frames(demo.served / faulty(demo, "cut off")) < 0.9


def decoded_frames(path: Path) -> float:
    """The share of its declared frames that a clip decodes to before it ends or fails."""
    count = 0
    with av.open(str(path)) as clip, suppress(av.FFmpegError):
        for _ in clip.decode(video=0):
            count += 1
        return count / clip.streams.video[0].frames
    return count / 100


def test_whole_clips_decode_to_what_their_plan_says(demo: DemoCorpus) -> None:
    for plan in plan_clips(CLIPS, 20260508):
        with av.open(str(demo.served / plan.name)) as clip:
            frames = list(clip.decode(video=0))
            assert (len(frames), frames[0].width, frames[0].height) == (
                plan.take.frames,
                plan.take.width,
                plan.take.height,
            )
            assert clip.streams.video[0].average_rate == plan.encoding.fps


def test_a_whole_folder_is_left_as_it_is_and_a_damaged_one_made_again(folder: Path, demo: DemoCorpus) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in demo.served.iterdir()}
    said: list[str] = []
    make_demo_corpus(folder, clips=CLIPS, say=said.append)
    assert {path.name: path.stat().st_mtime_ns for path in demo.served.iterdir()} == before
    content = (demo.served / demo.rows[0].name).read_bytes()
    (demo.served / demo.rows[0].name).write_bytes(b"half")
    make_demo_corpus(folder, clips=CLIPS, say=said.append)
    assert (demo.served / demo.rows[0].name).read_bytes() == content
    assert said[0] == f"[demo] {CLIPS} clips are there already"
    assert said[-1] == f"[demo] made {CLIPS + 3} clips"


@pytest.mark.parametrize("codec", ["libx264", "libvpx-vp9"])
def test_an_encode_gives_the_same_bytes_every_time(tmp_path: Path, codec: str) -> None:
    frames = list(grain(soften(moving_pictures(Take((3,), 426, 240, 24)), 0.8), 5, (1,)))
    for name in "abcdef":
        encode_clip(tmp_path / name, frames, Encoding(codec, crf=30))
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_takes_of_other_seeds_show_other_content() -> None:
    first, other = (next(moving_pictures(Take((seed,), 64, 48, 1))) for seed in (1, 2))
    assert not np.array_equal(first, other)


def test_scores_follow_the_damage_and_stay_on_the_scale() -> None:
    plans = plan_clips(200, 1)
    assert all(1 <= plan.rating.mos <= 5 and plan.rating.sd >= 0 and 8 <= plan.rating.count <= 40 for plan in plans)
    latent = [latent_quality(plan.damage) for plan in plans]
    assert spearmanr(latent, [plan.rating.mos for plan in plans]).statistic > 0.9
    scores = [plan.rating.mos for plan in plans]
    assert min(scores) < 2
    assert max(scores) > 4


@pytest.mark.parametrize(
    ("damage", "quality"),
    [
        (Damage("libx264", 18, 0, 0, 360), BEST),
        (Damage("libx264", 46, 0, 0, 360), BEST - 2.6),
        (Damage("libvpx-vp9", 24, 1.0, 10, 180), BEST - 0.7 - 0.5 - 0.2),
        (Damage("libx264", 46, 3.0, 20, 180), WORST),
    ],
)
def test_the_latent_quality_is_the_documented_formula(damage: Damage, quality: float) -> None:
    assert latent_quality(damage) == pytest.approx(quality)


def test_the_annotation_file_has_konvid_150ks_spellings_and_is_left_alone_when_equal(
    tmp_path: Path, demo: DemoCorpus
) -> None:
    path = tmp_path / "manifest.csv"
    write_manifest(demo, "http://127.0.0.1:1", path)
    modified = path.stat().st_mtime_ns
    write_manifest(demo, "http://127.0.0.1:1", path)
    assert path.stat().st_mtime_ns == modified
    with path.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert list(rows[0]) == ["video_name", "url", "mos", "sd", "n"]
    assert rows[0]["url"] == f"http://127.0.0.1:1/{rows[0]['video_name']}"


@pytest.mark.parametrize(
    "content",
    [
        "video_name,url,mos,sd,n\ndemo_0000.mp4,http://127.0.0.1:1/demo_0000.mp4,3,0.5,9\nA003.mp4,,3,0.5,9\n",
        "flickr_id,mos\n3015,3.2\n",
        "",
    ],
)
def test_a_score_file_that_the_demo_did_not_write_is_never_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    own = tmp_path / "konvid-150k" / "manifest.csv"
    own.parent.mkdir()
    own.write_text(content)
    assert main(["--root", str(tmp_path), "--clips", "20"]) == 1
    told = capsys.readouterr().err
    assert f"error: {own}: a score file that the demo did not write" in told
    assert "--root" in told
    assert own.read_text() == content
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [own]


@pytest.mark.parametrize("name", ["konvid-1k/manifest.csv", "my-clips/scores.csv"])
def test_made_up_scores_are_never_put_beside_another_corpus(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / "corpora").mkdir()
    (tmp_path / "corpora/my-clips.toml").write_text(MINE)
    file = tmp_path / name
    file.parent.mkdir()
    file.write_text("video_name,mos\na.mp4,3\n")
    assert main(["--root", str(tmp_path), "--clips", "20"]) == 1
    assert f"error: {file}: a score file that the demo did not write" in capsys.readouterr().err
    assert not (tmp_path / "konvid-150k").exists()


def test_the_demos_own_score_file_is_known_again(tmp_path: Path, demo: DemoCorpus) -> None:
    write_manifest(demo, "http://127.0.0.1:1", tmp_path / "manifest.csv")
    assert is_demo_manifest(tmp_path / "manifest.csv")


def test_make_demo_keeps_to_its_own_folder_whatever_data_root_is_set(tmp_path: Path) -> None:
    recipe = subprocess.run(
        ["make", "--dry-run", "--assume-old=.venv/.installed", "demo"],
        cwd=REPOSITORY,
        env={**os.environ, "VQA_DATA_ROOT": str(tmp_path), "DAGSTER_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert f'vqa_assets demo --root "{REPOSITORY / "demo-data"}"' in recipe
    assert f"root {tmp_path}" not in recipe


def test_the_server_gives_files_of_its_folder_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "odd #1 100%.mp4").write_bytes(b"clip")
    (tmp_path / "secret").write_bytes(b"no")
    with ClipServer(folder) as server:
        connection = http.client.HTTPConnection(server.base_url.removeprefix("http://"), timeout=10)
        answers = []
        for method, target in (
            ("GET", "/odd%20%231%20100%25.mp4"),
            ("HEAD", "/odd%20%231%20100%25.mp4"),
            ("GET", "/../secret"),
            ("GET", "/%2e%2e/secret"),
            ("GET", "/nothing.mp4"),
        ):
            connection.request(method, target)
            answer = connection.getresponse()
            answers.append((answer.status, answer.read() if answer.status == 200 else b""))
        connection.close()
    assert answers == [(200, b"clip"), (200, b""), (404, b""), (404, b""), (404, b"")]
    assert server.requests["odd #1 100%.mp4"] == 2


def test_a_stopped_server_answers_no_connection_that_was_kept_alive(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"clip")
    with ClipServer(tmp_path) as server:
        connection = http.client.HTTPConnection(server.base_url.removeprefix("http://"), timeout=10)
        connection.request("GET", "/a.mp4")
        assert connection.getresponse().read() == b"clip"
    with suppress(OSError):  # already here where the client notices at once
        connection.request("GET", "/a.mp4")
    with pytest.raises((http.client.HTTPException, OSError)):
        connection.getresponse()
    connection.close()


@pytest.mark.parametrize("name", [".a.mp4.part", "x" * 300])
def test_half_written_files_and_impossible_names_are_404(tmp_path: Path, name: str) -> None:
    (tmp_path / ".a.mp4.part").write_bytes(b"half")
    with ClipServer(tmp_path) as server:
        connection = http.client.HTTPConnection(server.base_url.removeprefix("http://"), timeout=10)
        connection.request("GET", f"/{name}")
        answer = connection.getresponse()
        assert (answer.status, bool(answer.read())) == (404, True)
        connection.close()


def test_a_port_that_is_taken_gives_way_to_a_free_one(tmp_path: Path) -> None:
    with ClipServer(tmp_path) as first:
        port = int(first.base_url.rpartition(":")[2])
        with ClipServer(tmp_path, port) as second:
            assert second.base_url != first.base_url
