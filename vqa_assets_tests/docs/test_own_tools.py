"""The examples of docs/own-tools.md, injected into real runs."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.clips import tiny_clips
from vqa_assets_tests.shared.fakes import SmallCorpus
from vqa_assets_tests.shared.head_tables import labelled
from vqa_assets_tests.shared.hostile_server import HostileServer, gives, says

PAGE = (Path(__file__).parents[2] / "docs" / "own-tools.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"^```python (\w+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))


def example(name: str, **others: str) -> dict[str, Any]:
    """What an example defines; texts of it are replaced by ``others``' values first."""
    code = EXAMPLES[name]
    for text, instead in others.items():
        assert text in code
        code = code.replace(text, instead)
    module: dict[str, Any] = {"__name__": f"example_{name}"}
    exec(code, module)
    assert isinstance(module["defs"], dg.Definitions)
    return module


def materialize(made: dict[str, Any], asset: str, partition: str | None, root: Path, **config: Any) -> bool:
    job = made["defs"].resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        return bool(
            job.execute_in_process(
                asset_selection=[dg.AssetKey(asset)],
                partition_key=partition,
                instance=instance,
                run_config={
                    "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                    "resources": {"data_root": {"config": {"path": str(root)}}},
                    "ops": {asset: {"config": config}},
                },
            ).success
        )


def test_clips_come_from_the_mirror_and_what_it_lacks_from_the_score_files_address(
    tmp_path: Path, root_path: Path
) -> None:
    corpus, clips = SmallCorpus(DataRoot(root_path)), tiny_clips(tmp_path, 3)
    with HostileServer() as mirror, HostileServer() as origin:
        names = sorted(clips)
        corpus.annotate([(name, origin.on(f"/{name}", gives(clips[name])), 3, 0.5, 5) for name in names])
        mirror.on(f"/clips/{names[0]}", gives(clips[names[0]]))
        mirror.on(
            f"/clips/{names[2]}", says("401 Unauthorized")
        )  # it may have it: not gone, so the origin is not asked
        made = example("downloader", **{"127.0.0.1:8000": f"127.0.0.1:{mirror.port}"})
        assert materialize(made, "corpus_jsonl", "konvid-150k", root_path, min_rows=1)
        assert origin.requests == {f"/{names[1]}": 1}
    assert [row["src"] for row in corpus.rows()] == names[:2]
    (loss,) = map(json.loads, (corpus.folder / "konvid_150k.losses.jsonl").read_text().splitlines())
    assert (loss["src"], loss["counter"]) == (names[2], "skipped_download")


def test_what_the_archive_says_of_a_clip_is_its_row(tmp_path: Path, root_path: Path) -> None:
    corpus, clips = SmallCorpus(DataRoot(root_path)), tiny_clips(tmp_path, 3)
    corpus.annotate([(name, "", 3, 0.5, 5) for name in sorted(clips)])
    for name, content in clips.items():
        corpus.stage(name, content)
    first, second, _ = (Path(name).with_suffix(".json").name for name in sorted(clips))
    geometry = {"width": 320, "height": 180, "framerate": 25.0, "duration_s": 2.0}
    geometry |= {"pix_fmt": "yuv420p", "encoder_upstream": "h264"}
    corpus.drop(f"clips/{first}", json.dumps({"geometry": geometry}))
    corpus.drop(f"clips/{second}", json.dumps({"withdrawn": True}))
    assert materialize(example("prober"), "corpus_jsonl", "konvid-150k", root_path, min_rows=1)
    rows = corpus.rows()
    assert [(row["src"], row["width"]) for row in rows] == [(sorted(clips)[0], 320), (sorted(clips)[2], 64)]
    assert "withdrawn by the archive" in (corpus.folder / "konvid_150k.losses.jsonl").read_text()


def test_every_training_leaves_a_line(tmp_path: Path, root_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (root_path / "konvid-1k").mkdir()
    labelled(60).write_parquet(root_path / "konvid-1k" / "features_with_mos.parquet")
    config = {"epochs": 2, "device": "cpu", "protocol_splits": 0}
    assert materialize(example("trainer"), "mos_head", "konvid-1k", root_path, **config)
    lines = list(csv.reader((tmp_path / "trainings.csv").read_text().splitlines()))
    assert lines
    assert {(rows, device.partition(" ")[0]) for rows, _, device, _ in lines} == {("60", "cpu")}


def test_the_page_shows_each_kind() -> None:
    assert list(EXAMPLES) == ["downloader", "prober", "trainer"]
