"""The mark in a folder of clips, by which workers elsewhere show that they see it."""

import subprocess
import sys
from pathlib import Path

from vqa_assets.clips.marks import mark_in, remove_abandoned


def test_what_a_killed_run_left_in_the_folder_goes_and_what_another_run_asks_by_stays(tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    asks = (
        "import sys, time; from pathlib import Path; from vqa_assets.clips.marks import mark_in\n"
        "with mark_in(Path(sys.argv[1]), 'a run'): print('asks', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", asks, clips], stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "asks\n"
        (mark,) = clips.iterdir()
        remove_abandoned(clips)
        assert mark.read_text() == "a run"
        killed.kill()
    assert mark.exists()
    with mark_in(clips, "another run") as own:
        remove_abandoned(clips)
        assert list(clips.iterdir()) == [own]
        assert own.read_text() == "another run"
    assert not any(clips.iterdir())
    remove_abandoned(tmp_path / "none")
