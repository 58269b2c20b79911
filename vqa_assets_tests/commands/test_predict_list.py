"""``vqa-assets predict <head> --from list --out scores``: lists of clips of any length, on real clips and on a fake."""

import csv
import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
import polars as pl
import pytest

from vqa_assets import list_scores
from vqa_assets.clip_list import open_list
from vqa_assets.clips.caps import ClipCaps
from vqa_assets.corpora import CORPORA
from vqa_assets.errors import BrokenClipError, ClipError, VqaError
from vqa_assets.feature_names import KONVID_V1
from vqa_assets.features.extractor import ClipExtractor
from vqa_assets.features.family import FamilyVersion, Measured
from vqa_assets.heads.using import open_head
from vqa_assets.ingest.fakes import FakeDownloader, FakeProber
from vqa_assets.ingest.tools import ClipTools
from vqa_assets.judge import main as judge
from vqa_assets.list_scores import ListServices, PoolOfEnvironment, caches_of, score_list
from vqa_assets.predict import main
from vqa_assets.provenance import RunContext
from vqa_assets.provenance.verify import main as verify
from vqa_assets.tables.files import this_process
from vqa_assets.tables.makers import made_by
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.features.test_corpora import Measurable
from vqa_assets_tests.ingest.test_trouble import as_wide_as
from vqa_assets_tests.shared.clips import tiny_clip
from vqa_assets_tests.shared.object_server import Bucket

NAME = "konvid_mos_head_v1"
CLIPS = ("a.mp4", "b.mp4", "c.mp4")


@pytest.fixture(scope="module")
def place(head_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with the head and a folder of clips; what one test measured is known to the next."""
    root = tmp_path_factory.mktemp("lists") / "data"
    shutil.copytree(head_root, root)
    (root / "clips").mkdir()
    for number, name in enumerate(CLIPS):
        tiny_clip(root / "clips" / name, seed=number)
    return root


def scored(place: Path, listed: Path, out: Path, *more: str) -> tuple[int, list[dict[str, Any]]]:
    status = main([NAME, "--root", str(place), "--from", str(listed), "--out", str(out), *more])
    return status, pl.read_parquet(out).to_dicts()


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    frame = pl.DataFrame(rows)
    writers = {".parquet": frame.write_parquet, ".jsonl": frame.write_ndjson, ".csv": frame.write_csv}
    if path.suffix == ".tsv":
        frame.write_csv(path, separator="\t")
    else:
        writers[path.suffix](path)
    return path


def test_rows_come_out_in_the_lists_order_and_each_without_a_score_says_why(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "clips" / "no.mp4").write_bytes(b"no video" * 100)
    shutil.copy(place / "clips" / "a.mp4", tmp_path / "copy.mp4")
    sources = [
        *("c.mp4", "gone.mp4", "a.mp4", "no.mp4", "http://127.0.0.1/x.mp4", "s3://x", "", str(tmp_path / "copy.mp4")),
        "b.mp4",
    ]
    listed = write(tmp_path / "list.parquet", [{"path": s, "key": f"k{n % 8}"} for n, s in enumerate(sources)])
    status, rows = scored(place, listed, tmp_path / "s.parquet", "--clips-url", str(place / "clips"))
    told = capsys.readouterr().err
    assert status == 1
    assert [(row["source"], row["key"]) for row in rows] == [(s, f"k{n % 8}") for n, s in enumerate(sources)]
    without = {row["source"]: row["reason"] for row in rows if row["mos"] is None}
    assert list(without) == ["gone.mp4", "no.mp4", "http://127.0.0.1/x.mp4", "s3://x", ""]
    assert without["gone.mp4"] == f"found nothing at {place / 'clips' / 'gone.mp4'}"
    assert without["http://127.0.0.1/x.mp4"].startswith("an address of a web server: ingest such clips")
    assert without["s3://x"].startswith("no object can have this address: an empty part")
    assert without["no.mp4"]
    assert without[""] == "no clip is named in column path"
    assert rows[7]["mos"] == rows[2]["mos"], "a copy has the same bytes"
    assert all(1 <= r["mos_low"] <= r["mos"] <= r["mos_high"] <= 5 for r in rows if r["mos"])
    assert "1 of 9 rows repeat a key of a row before, the first k0 (rows 1 and 9)" in told
    assert f"9 rows of {listed}: 4 scored, in {tmp_path / 's.parquet'}" in told
    assert "3 clips measured, 0 known before" in told
    assert "5 of 9 rows without a score (3 no place, 1 missing, 1 broken); the first, k1: found nothing at" in told
    manifest = json.loads((tmp_path / "s.manifest.json").read_text())
    assert manifest["schema"] == "predictions-manifest-v1"
    assert manifest["counters"]["without_score"] == {"broken": 1, "missing": 1, "no place": 3}
    assert set(manifest["run_provenance"]["inputs"]) >= {"list", "head", "head_manifest"}
    made = made_by(tmp_path / "s.parquet")
    assert made is not None
    assert (made.stage, made.is_ours) == ("predict", True)
    assert not list(tmp_path.glob(".s.parquet.unfinished*"))
    assert verify(["verify", str(tmp_path / "s.manifest.json"), "--root", str(place)]) == 0
    # A clip by itself has the same score, and what was measured is not measured again.
    capsys.readouterr()
    assert main([NAME, str(place / "clips" / "c.mp4"), "--root", str(place), "--json"]) == 0
    (alone,) = json.loads(capsys.readouterr().out)["scores"]
    assert {name: alone[name] for name in ("mos", "mos_low", "mos_high", "out_of_range")} == {
        name: rows[0][name] for name in ("mos", "mos_low", "mos_high", "out_of_range")
    }


def test_a_row_that_names_nothing_is_told_by_its_number(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = write(tmp_path / "list.parquet", [{"path": "a.mp4"}, {"path": None}])
    assert scored(place, listed, tmp_path / "s.parquet", "--clips-url", str(place / "clips"))[0] == 1
    assert "(1 no place); the first, row 2: no clip is named in column path\n" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_a_list_of_any_format_gives_the_same_scores_as_csv_too_and_a_known_clip_is_not_measured_again(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    rows = [{"n": 1, "Video_Name": "clips/a.mp4"}, {"n": 2, "Video_Name": "clips/b.mp4"}]
    listed = write(place / f"list{suffix}", rows)
    scored(place, listed, tmp_path / "s.parquet")
    capsys.readouterr()
    status, found = scored(place, listed, tmp_path / "s.parquet")
    assert (status, [row["key"] for row in found]) == (0, ["clips/a.mp4", "clips/b.mp4"])
    assert "0 clips measured, 2 known before" in capsys.readouterr().err
    assert main([NAME, "--root", str(place), "--from", str(listed), "--out", str(tmp_path / "as.csv")]) == 0
    with (tmp_path / "as.csv").open(newline="") as table:
        assert [float(row["mos"]) for row in csv.DictReader(table)] == [row["mos"] for row in found]


def test_the_list_may_be_a_corpus_jsonl_whose_clips_and_measured_features_are_the_corpus_s(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = Measurable(place, CORPORA["konvid-150k"])
    tiny_clip(corpus.add("x.mp4", mos=3.0, mos_scale="1-5-acr"), 9)
    corpus.measure(ClipExtractor(feature_sets=("konvid-v1",)))
    status, rows = scored(place, corpus.root.corpus_jsonl(corpus.corpus), tmp_path / "s.parquet")
    assert (status, [row["key"] for row in rows]) == (0, ["x.mp4"])
    assert "0 clips measured, 1 known before" in capsys.readouterr().err


def test_clips_of_a_store_are_brought_once_and_a_known_one_is_only_looked_at(
    place: Path, tmp_path: Path, bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in CLIPS[:2]:
        bucket.put(f"x/{name}", (place / "clips" / name).read_bytes() + b"\0\0\0\x08free")
    sources = [f"s3://{bucket.name}/x/a.mp4", "b.mp4", "none.mp4"]
    listed = write(tmp_path / "list.csv", [{"url": source} for source in sources])
    below = ("--clips-url", f"s3://{bucket.name}/x")
    status, rows = scored(place, listed, tmp_path / "s.parquet", *below)
    assert (status, [row["reason"] for row in rows][2]) == (1, f"found nothing at s3://{bucket.name}/x/none.mp4")
    asked = {path: count for (method, path), count in bucket.server.asked.items() if method == "GET"}
    assert {asked[f"/{bucket.name}/x/{name}"] for name in CLIPS[:2]} == {1}
    bucket.server.forget()
    capsys.readouterr()
    assert scored(place, listed, tmp_path / "d.parquet", *below) == (1, rows)
    assert (tmp_path / "d.parquet").read_bytes() == (tmp_path / "s.parquet").read_bytes()
    told = capsys.readouterr().err
    assert "0 clips measured, 2 known before" in told
    assert not [path for (method, path) in bucket.server.asked if method == "GET" and path.endswith(CLIPS[:2])]


def test_a_clip_over_a_cap_is_asked_again_when_the_cap_changes_and_no_other_is(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_clip(tmp_path / "long.mp4", 3, frames=30)
    tiny_clip(tmp_path / "short.mp4", 4)
    listed = write(tmp_path / "list.csv", [{"path": "long.mp4"}, {"path": "short.mp4"}])
    out = tmp_path / "s.parquet"
    over = {
        "--max-frames=29": "too large: 30 frames, at most 29 (--max-frames raises it)",
        "--max-duration-s=1": "too large: 1.2 s, at most 1 (--max-duration-s raises it)",
    }
    for option, reason in over.items():
        status, rows = scored(place, listed, out, option)
        assert (status, [row["reason"] for row in rows]) == (1, [reason, ""])
        assert "1 of 2 rows without a score (1 too large); the first, long.mp4: too large" in capsys.readouterr().err
    args = json.loads((tmp_path / "s.manifest.json").read_text())["run_provenance"]["args"]
    assert args["max_duration_s"] == {"value": 1, "from": "command line"}
    assert args["max_frames"] == {"value": 250_000, "from": "default"}
    status, rows = scored(place, listed, out, "--max-frames", "30")
    assert (status, [row["reason"] for row in rows]) == (0, ["", ""])
    assert "1 clips measured, 1 known before" in capsys.readouterr().err
    # What was measured under a wider cap has no score under a narrower one, as if it came for the first time.
    assert [row["mos"] is None for row in scored(place, listed, out, "--max-frames=29")[1]] == [True, False]


def test_a_clip_that_its_header_put_over_a_cap_is_read_when_the_cap_allows_it(place: Path, tmp_path: Path) -> None:
    tiny_clip(tmp_path / "short.mp4", 4)
    (tmp_path / "wide.mp4").write_bytes(as_wide_as(tmp_path / "short.mp4", 60_000))
    listed, out = write(tmp_path / "list.csv", [{"path": "wide.mp4"}, {"path": "short.mp4"}]), tmp_path / "s.parquet"
    reason = scored(place, listed, out)[1][0]["reason"]
    assert reason.startswith("too large: 60000×60000 are 3600000000 pixels, at most 33177600 (--max-pixels raises it)")
    status, rows = scored(place, listed, out, "--max-pixels=4000000000", "--memory-budget=1000000000000")
    assert (status, [row["reason"] for row in rows]) == (0, ["", ""]), "its pictures are what they are"


def test_the_caps_of_a_corpus_jsonl_are_its_ingest_toml_s_until_an_option_says_otherwise(
    head_root: Path, tmp_path: Path
) -> None:
    root, out = tmp_path / "data", tmp_path / "s.parquet"
    shutil.copytree(head_root, root)
    corpus = Measurable(root, CORPORA["konvid-150k"])
    for name, frames in {"long.mp4": 30, "short.mp4": 5}.items():
        tiny_clip(corpus.add(name, mos=3.0, mos_scale="1-5-acr"), frames, frames=frames)
    (corpus.clips.parent / "ingest.toml").write_text("max_frames = 10\n")
    jsonl = corpus.write_jsonl()
    assert [row["reason"] for row in scored(root, jsonl, out)[1]] == [
        "too large: 30 frames, at most 10 (--max-frames raises it)", ""
    ]  # fmt: skip
    args = json.loads((tmp_path / "s.manifest.json").read_text())["run_provenance"]["args"]
    assert args["max_frames"] == {"value": 10, "from": "ingest.toml"}
    assert scored(root, jsonl, out, "--max-frames=30")[0] == 0


def test_a_name_in_a_list_forges_no_line_and_one_that_no_disk_holds_is_said_to_be_so(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"path": "a" * 300, "Key": "x\nerror: all is lost"}, {"path": "", "Key": ""}, {"path": "a.mp4", "Key": "a"}]
    wide = [{**row, **{f"column {number}": "1" for number in range(2_000)}} for row in rows]
    status, found = scored(
        place, write(tmp_path / "list.csv", wide), tmp_path / "s.parquet", "--clips-url", str(place / "clips")
    )
    assert (status, [row["key"] for row in found]) == (1, ["x\nerror: all is lost", "", "a"])
    assert found[0]["reason"].startswith("nothing can have this name: no disk takes more than 255 bytes of a name")
    told = capsys.readouterr().err
    assert "(2 no place); the first, x\\u000aerror: all is lost: nothing can have this name" in told
    manifest = json.loads((tmp_path / "s.manifest.json").read_text())
    assert [one["key"] for one in manifest["first_without_score"]] == ["x\nerror: all is lost", "row 2"]
    assert verify(["verify", str(tmp_path / "s.manifest.json"), "--root", str(place)]) == 0
    assert "\n  vqa-assets predict konvid_mos_head_v1 --root " in capsys.readouterr().out


@dataclass
class Numbers:
    """An extractor of one family that decodes nothing: numbers by a clip's name; interrupted at its ``stops_at``-th."""

    version: str = "numbers.1"
    stops_at: int = 0
    measured: list[str] = field(default_factory=list)

    @property
    def families(self) -> Sequence[FamilyVersion]:
        return [FamilyVersion("numbers", self.version, KONVID_V1.columns, compares=False)]

    def measure(self, clip: Path, **_: object) -> dict[str, Measured | ClipError]:
        if len(self.measured) + 1 == self.stops_at:
            raise KeyboardInterrupt
        self.measured.append(clip.name)
        if clip.name == "0005.mp4":
            return {"numbers": BrokenClipError("no frame can be decoded")}
        return {"numbers": dict.fromkeys(KONVID_V1.columns, float(clip.stem[-1]))}


@dataclass
class FakeClips:
    """A list of ten clips of a few bytes, scored with ``Numbers`` in windows of three."""

    head: Path
    folder: Path

    def listed(self, rows: int = 10, times: int = 1) -> Path:
        self.folder.mkdir(exist_ok=True)
        for number in range(rows):
            (self.folder / f"{number:04d}.mp4").write_bytes(b"clip %d" % number)
        return write(self.folder / "list.csv", [{"path": f"{number:04d}.mp4"} for number in [*range(rows)] * times])

    @property
    def counters(self) -> dict[str, Any]:
        """Those of the manifest beside the scores."""
        counters: dict[str, Any] = json.loads((self.folder / "s.manifest.json").read_text())["counters"]
        return counters

    def score(
        self,
        extractor: Numbers,
        suffix: str = ".parquet",
        head: Path | None = None,
        caps: ClipCaps = ClipCaps(),  # noqa: B008
    ) -> tuple[bytes, list[str]]:
        """The bytes of the scores, and what was said."""
        root, out, said = DataRoot(self.folder / "none"), self.folder / f"s{suffix}", list[str]()
        clips = open_list(self.folder / "list.csv", root)
        tools = ClipTools(FakeProber(), FakeDownloader())
        caches = caches_of(clips, root, out)
        services = ListServices(extractor, tools, PoolOfEnvironment(), *caches, said.append, caps=caps)
        used = head or self.head
        score_list(open_head(used), used, clips, out, services, RunContext(root, {}, Path(__file__)))
        return out.read_bytes(), said


@pytest.fixture
def fake(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeClips:
    monkeypatch.setattr(list_scores, "WINDOW_ROWS", 3)
    return FakeClips(place / "models" / f"{NAME}.onnx", tmp_path / "fake")


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_an_interrupted_run_goes_on_where_it_stopped_and_ends_in_the_same_bytes(fake: FakeClips, suffix: str) -> None:
    fake.listed()
    stopped, going_on, whole = Numbers(stops_at=8), Numbers(), Numbers()
    with pytest.raises(KeyboardInterrupt):
        fake.score(stopped, suffix)
    assert not (fake.folder / f"s{suffix}").exists(), "no half of a table"
    content, said = fake.score(going_on, suffix)
    assert said[0].startswith("an earlier run into this file did not finish; this one goes on from it")
    assert sorted(stopped.measured + going_on.measured) == [f"{number:04d}.mp4" for number in range(10)]
    for path in fake.folder.glob(".*"):
        path.unlink()
    for path in fake.folder.glob("s*"):
        path.unlink()
    assert fake.score(whole, suffix)[0] == content
    assert len(whole.measured) == 10


def test_a_clip_is_counted_once_wherever_the_list_repeats_it_as_measured_or_as_known(fake: FakeClips) -> None:
    fake.listed(8, times=2)  # in windows of three: most clips come in two of them, and the sixth has no frame
    with pytest.raises(KeyboardInterrupt):
        fake.score(Numbers(stops_at=5))
    going_on = Numbers()
    fake.score(going_on)
    known = 8 - len(set(going_on.measured))
    assert known > 0
    assert fake.counters == {
        "rows": 16, "scored": 14, "without_score": {"not measured": 2}, "out_of_range": 14,
        "clips_measured": 7 - known, "clips_known": known,
    }  # fmt: skip
    fake.score(Numbers())
    assert (fake.counters["clips_measured"], fake.counters["clips_known"]) == (0, 7)


def test_after_an_interrupt_other_caps_are_told(fake: FakeClips) -> None:
    fake.listed()
    with pytest.raises(KeyboardInterrupt):
        fake.score(Numbers(stops_at=8))
    _, said = fake.score(Numbers(), caps=ClipCaps(max_frames=1_000))
    assert "did not finish; the caps changed since: every score is of them as they are now" in said[0]


def test_after_an_interrupt_another_list_and_another_head_are_told_and_nothing_earlier_is_mixed_in(
    fake: FakeClips, head_root: Path, tmp_path: Path
) -> None:
    fake.listed()
    with pytest.raises(KeyboardInterrupt):
        fake.score(Numbers(stops_at=8))
    fake.listed(4)
    other = tmp_path / "models"
    other.mkdir()
    manifest = json.loads(fake.head.with_suffix(".json").read_text())
    manifest["interval"] = None
    content = onnx.load(fake.head)
    content.producer_name = "another"
    (other / fake.head.name).write_bytes(content.SerializeToString())
    manifest["sha256"] = hashlib.sha256((other / fake.head.name).read_bytes()).hexdigest()
    (other / f"{NAME}.json").write_text(json.dumps(manifest))
    _, said = fake.score(Numbers(), head=other / fake.head.name)
    assert "the list and the head changed since: every score is of them as they are now" in said[0]
    rows = pl.read_parquet(fake.folder / "s.parquet")
    assert (len(rows), rows["mos_low"].null_count()) == (4, 4)


def test_a_list_that_is_written_to_while_it_is_scored_is_refused_and_nothing_is_published(fake: FakeClips) -> None:
    listed = fake.listed()

    class Meddling(Numbers):
        def measure(self, clip: Path, **_: object) -> dict[str, Measured | ClipError]:
            listed.write_text(listed.read_text() + "0001.mp4\n" if clip.name == "0009.mp4" else listed.read_text())
            return super().measure(clip)

    with pytest.raises(VqaError, match=r"rows do not reconcile|changed while it was read"):
        fake.score(Meddling())
    assert not (fake.folder / "s.parquet").exists()


@pytest.mark.parametrize(
    ("content", "more", "told"),
    [
        (None, (), "list of clips {list}: found nothing there, expected a table with rows"),
        ("", (), "list of clips {list}: found an empty file"),
        ("path\n", (), "{list}: no row, expected a clip in each row; list the clips to score"),
        (
            "path,key\na,ü\n".encode("utf-16"),
            (),
            "{list}: content that cannot be read ('utf-8' codec can't decode byte",
        ),
        ("mos,n\n1,2\n", (), "{list}: the columns mos, n, expected a column that says where clips lie: path, clip,"),
        (
            "path\nü\n".encode("latin-1"),
            (),
            "{list}: content that cannot be read ('utf-8' codec can't decode byte 0xfc in position 5: invalid",
        ),
        ("path,url\na,b\n", (), "{list}: ambiguous columns: path, url, each of which may say where clips lie"),
        (
            "path\na\n",
            (),
            "{list}: no clip could be scored: 1 of 1 rows without a score (1 missing); a: found",
        ),
        ("path\na\n", ("--clip-column", "x"), "{list}: the columns path, expected the column x; name it with --clip"),
        ("path\na\n", ("--key-column", "x"), "{list}: the columns path, expected the key column x; name it with"),
        ("path\na\n", ("--clips-url", "s3:///x"), "--clips-url: no address of an object store, expected a folder"),
        ("path\na\n", ("--clips-url", "{list}/x"), "--clips-url: {list}/x, where nothing is, expected a folder"),
        ("path\na\n", ("--out", "{list}"), "predict: --out: {list}, which is the list, too"),
        ("path\na\n", ("--out", "{head}"), "--from: --out {head}, expected --out with a name in .parquet or .csv"),
        ("path\na\n", ("--out", "{mine}"), "predict: --out: {mine}, of which nothing says that predict wrote it"),
        (
            "path\na\n",
            ("--out", "{mine}/s.csv"),
            "{mine}/s.csv: the scores cannot be written: File exists; free",
        ),
        ("path\na\n", ("--json",), "--from: --every, --json or --csv beside it, expected --out alone"),
    ],
)
def test_a_list_or_a_place_that_cannot_be_used_is_refused_by_name_and_nothing_is_written(
    place: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: str | bytes | None,
    more: Sequence[str],
    told: str,
) -> None:
    names = {"list": tmp_path / "list.csv", "mine": tmp_path / "mine.csv", "head": place / "models" / f"{NAME}.onnx"}
    names["mine"].write_text("years,of\nwork,1\n")
    if content is not None:
        names["list"].write_bytes(content if isinstance(content, bytes) else content.encode())
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    asked = [one.format(**names) for one in ("--out", str(tmp_path / "s.csv"), *more)]
    assert main([NAME, "--root", str(place), "--from", str(names["list"]), *asked]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: " + told.format(**names))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_in_a_root_that_may_only_be_read_the_caches_lie_beside_the_scores(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, out = DataRoot(place), tmp_path / "s.parquet"
    clips = open_list(write(tmp_path / "list.csv", [{"path": "a.mp4"}]), root)
    of_root = (place / ".clip-cache.sqlite", place / ".feature-cache.sqlite")
    assert caches_of(clips, root, out) == of_root
    monkeypatch.setattr(list_scores.os, "access", lambda path, _: not Path(path).is_relative_to(place))
    assert caches_of(clips, root, out) == tuple(tmp_path / path.name for path in of_root)


def test_scores_without_a_manifest_never_stand_in_for_those_of_a_list(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed, out = write(place / "clips" / "list.csv", [{"path": "a.mp4"}]), tmp_path / "s.csv"
    of_list = [NAME, "--root", str(place), "--from", str(listed), "--out", str(out)]
    assert main(of_list) == 0
    before = out.read_bytes()
    assert main([NAME, "--root", str(place), str(place / "clips" / "b.mp4"), "--out", str(out)]) == 1
    found = f"error: predict: --out: {out}, which has the scores of a list (--from), with a manifest beside them,"
    assert found in capsys.readouterr().err
    assert out.read_bytes() == before
    assert main(of_list) == 0


def test_another_run_into_the_same_file_is_told_from_one_that_did_not_finish(fake: FakeClips) -> None:
    fake.listed(2)
    at_work = {"process": f"1-{this_process().partition('-')[2]}"}
    (fake.folder / ".s.parquet.unfinished.json").write_text(json.dumps(at_work))
    assert fake.score(Numbers())[1][0].startswith("another run into this file is at work; each measures what is not")


def test_what_no_command_can_use_is_named_in_our_words(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(command: Callable[[list[str]], int], *words: str | Path) -> str:
        assert command([*map(str, words), "--root", str(place)]) > 0
        return capsys.readouterr().err.splitlines()[-1]

    lists = tmp_path / "lists.parquet"
    pl.DataFrame({"path": [["a.mp4"]]}).write_parquet(lists)
    found = told(main, NAME, "--from", lists, "--out", tmp_path / "s.csv")
    assert found.startswith(f"error: {lists}: column path: values of type List(String), expected texts or numbers")
    long = ("a" * 300 + ".mp4",), ("--from", "b" * 300 + ".csv", "--out", "s.csv"), (lists, "--out", "c" * 300)
    for words, what in zip(long, ("the clips: a", "--from: b", "--out: c"), strict=True):
        assert re.match(rf"error: {what}+…: a name that no disk can hold, expected", told(main, NAME, *words))
    head = place / "models" / f"{NAME}.onnx"
    alone = Path(shutil.copy(head, head.with_name("alone.onnx")))
    assert "alone.json: found nothing there, expected a head: its .onnx, with its" in told(
        main, "alone", place / "clips"
    )
    alone.unlink()

    def refuses(_: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(head))

    monkeypatch.setattr("vqa_assets.heads.using.read_manifest", refuses)
    for command in (main, judge):
        found = told(command, NAME, write(tmp_path / "t.csv", [{"mos": 3.0}]))
        assert found.startswith(f"error: cannot write {head}: Permission denied, expected a")


def test_clips_and_a_list_at_once_are_a_word_too_many(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["a.mp4", "--from", "list.csv"]):
        with pytest.raises(SystemExit, match="2"):
            main([NAME, *words])
        assert "clips, tables or --from: one of them is needed" in capsys.readouterr().err
