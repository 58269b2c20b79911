"""Where a setting comes from, and what is said of one that cannot be used."""

import json
from pathlib import Path

import pytest

from vqa_assets.corpora.konvid_150k import KONVID_150K
from vqa_assets.corpora.raw_video import RawVideo
from vqa_assets.errors import SettingsError
from vqa_assets.ingest.settings import IngestSettings, read_toml, resolve
from vqa_assets.settings import core_type

CORPUS = KONVID_150K.but(default_cap=300, bucket_prefix="https://example.org/", max_rows=9_000)


@pytest.fixture
def toml(tmp_path):
    def write(text):
        path = tmp_path / "ingest.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def resolved(toml_path, **run_config):
    return resolve(CORPUS, run_config, toml_path)


SAMPLES = {
    "corpus_dir": ("/a", "/b"),
    "manifest_csv": ("/a.csv", "/b.csv"),
    "output": ("/a.jsonl", "/b.jsonl"),
    "manifest_out": ("/a.json", "/b.json"),
    "progress_path": ("/a", "/b"),
    "clips_subdir": ("a", "b"),
    "clip_suffix": (".mkv", ".webm"),
    "corpus_version": ("v1", "v2"),
    "max_rows": (7, 8),
    "full": (True, False),
    "attrition_warn_threshold": (0.2, 0.3),
    "download_timeout_s": (30.0, 40.0),
    "probe_timeout_s": (30.0, 40.0),
    "bucket_prefix": ("https://a/", "https://b/"),
    "hf": ("a/clips", "b/clips@v1"),
    "raw_video": ({"width": 64, "height": 48}, {"framerate": 25}),
    "archive_base": ("https://a/", "https://b/"),
    "mos_scale": ("1-5-acr", "0-100-continuous"),
    "bad_rows_limit": (0.1, 0.2),
    "min_rows": (2, 3),
    "max_manifest_rows": (20_000, 30_000),
    "retry_failed": (True, False),
    "rescan": (True, False),
    "allow_empty": (True, False),
    "prune": (True, False),
    "fetch": (True, False),
    "log_level": ("DEBUG", "ERROR"),
    "workers": (3, 4),
    "per_host": (3, 4),
    "max_pixels": (1_000, 2_000),
    "max_duration_s": (10.0, 20.0),
    "max_frames": (100, 200),
    "memory_budget": (5_000_000, 6_000_000),
    "lock_wait_s": (3.0, 4.0),
    "clips_url": ("s3://ours/clips", "gs://theirs/clips"),
    "scratch_bytes": (2_000_000, 3_000_000),
}


def toml_value(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml_value(one)}" for key, one in value.items()) + "}"
    return str(value).lower() if isinstance(value, (bool, int, float)) else f'"{value}"'


def of_type(name, value):
    kind = core_type(IngestSettings.model_fields[name].annotation)
    return RawVideo(**value) if kind is RawVideo else Path(value) if kind is Path else value


def test_every_setting_is_tried():
    assert set(IngestSettings.model_fields) == set(SAMPLES)


@pytest.mark.parametrize("name", SAMPLES)
def test_run_config_beats_ingest_toml_which_beats_the_corpus_and_the_default(name, toml):
    ours, theirs = SAMPLES[name]
    path = toml(f"{name} = {toml_value(theirs)}\n")
    from_run = resolved(path, **{name: ours})
    from_toml = resolved(path, **{name: None})
    assert getattr(from_run.values, name) == of_type(name, ours)
    assert from_run.origins[name] == "run config"
    assert getattr(from_toml.values, name) == of_type(name, theirs)
    assert from_toml.origins[name] == "ingest.toml"


@pytest.mark.parametrize(
    ("name", "value", "origin"),
    [
        ("max_rows", 300, "corpus"),
        ("corpus_version", "konvid-150k-2019", "corpus"),
        ("clip_suffix", ".mp4", "corpus"),
        ("download_timeout_s", 120.0, "corpus"),
        ("bucket_prefix", "https://example.org/", "corpus"),
        ("min_rows", 5_000, "corpus"),
        ("max_manifest_rows", 9_000, "corpus"),
        ("clips_subdir", "clips", "default"),
        ("full", False, "default"),
        ("attrition_warn_threshold", 0.10, "default"),
        ("probe_timeout_s", 60.0, "default"),
        ("mos_scale", None, "default"),
        ("retry_failed", False, "default"),
        ("rescan", False, "default"),
        ("allow_empty", False, "default"),
        ("prune", False, "default"),
        ("fetch", False, "default"),
        ("clips_url", "", "default"),
        ("log_level", "INFO", "default"),
        ("workers", None, "default"),
        ("per_host", 8, "default"),
        ("corpus_dir", None, "default"),
        ("manifest_csv", None, "default"),
    ],
)
def test_what_nobody_set_is_the_corpus_declaration_or_the_contracts_default(name, value, origin, tmp_path):
    found = resolved(tmp_path / "ingest.toml")
    assert getattr(found.values, name) == value
    assert found.origins[name] == origin


@pytest.mark.parametrize(
    ("run", "in_toml", "cap", "origin"),
    [
        ({"full": True}, "", None, "run config"),
        ({"full": True, "max_rows": 10}, "", None, "run config"),
        ({"full": True}, "max_rows = 10", None, "run config"),
        ({"max_rows": 10}, "full = true", 10, "run config"),
        ({}, "full = true\nmax_rows = 10", None, "ingest.toml"),
        ({}, "full = true", None, "ingest.toml"),
        ({"full": False}, "full = true", 300, "corpus"),
        ({"full": False}, "full = true\nmax_rows = 10", 10, "ingest.toml"),
        ({}, "max_rows = 10", 10, "ingest.toml"),
        ({"full": False, "max_rows": 10}, "", 10, "run config"),
    ],
)
def test_full_beats_a_cap_of_its_own_or_a_lower_level(run, in_toml, cap, origin, toml):
    found = resolved(toml(in_toml), **run)
    assert found.values.max_rows == cap
    assert found.origins["max_rows"] == origin


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("max_rows", "ten", "a whole number"),
        ("max_rows", 1.5, "a whole number"),
        ("max_rows", True, "a whole number"),
        ("full", "yes", "true or false"),
        ("full", 1, "true or false"),
        ("clip_suffix", 4, "a suffix such as .mp4"),
        ("download_timeout_s", "60", "a number"),
        ("download_timeout_s", True, "a number"),
        ("output", 3, "a path"),
        ("output", "", "a path"),
        ("max_rows", 0, "at least 1"),
        ("attrition_warn_threshold", 1.01, "at most 1"),
        ("attrition_warn_threshold", -0.1, "at least 0"),
        ("download_timeout_s", 0.5, "at least 1"),
        ("download_timeout_s", float("nan"), "at least 1"),
        ("lock_wait_s", float("inf"), "at least 0"),
        ("download_timeout_s", 1e300, "at most 86400"),
        ("probe_timeout_s", 1e7, "at most 86400"),
        ("probe_timeout_s", 10**400, "at most 86400"),
        ("workers", 10**30, "at most 4096"),
        ("workers", 10**400, "at most 4096"),
        ("per_host", 5_000, "at most 4096"),
        ("clip_suffix", "wmv", "a suffix such as .mp4"),
        ("clip_suffix", "", "a suffix such as .mp4"),
        ("bucket_prefix", "example.org/", "an address that begins with https:// or http://"),
        ("bucket_prefix", "ftp://x/", "an address that begins with https:// or http://"),
        ("archive_base", "ftp://x/", "an address that begins with https:// or http://"),
        ("clips_subdir", "", "a dot for the corpus folder itself; none above it"),
        ("clips_subdir", "a/..", "a dot for the corpus folder itself; none above it"),
        ("clips_subdir", "../other", "a dot for the corpus folder itself; none above it"),
        ("clips_subdir", "a" * 300, "a dot for the corpus folder itself; none above it"),
        ("mos_scale", "vmaf", "one of 1-5-acr, 0-100-continuous"),
        ("mos_scale", "", "one of 1-5-acr, 0-100-continuous"),
        ("log_level", "LOUD", "one of DEBUG, INFO, WARNING, ERROR"),
    ],
)
@pytest.mark.parametrize("level", ["run config", "ingest.toml"])
def test_a_value_that_cannot_be_used_is_told_with_level_key_found_and_expected(level, key, value, expected, toml):
    in_toml = f"{key} = {toml_value(value)}" if level == "ingest.toml" else ""
    run = {key: value} if level == "run config" else {}
    with pytest.raises(SettingsError) as caught:
        resolved(toml(in_toml), **run)
    assert str(caught.value).startswith(f"konvid-150k: {level}: {key}: {repr(value)[:200]}, expected ")
    assert expected in caught.value.expected
    assert caught.value.next_step


@pytest.mark.parametrize("level", ["run config", "ingest.toml"])
def test_an_unknown_key_is_refused_with_the_known_ones(level, toml):
    in_toml = "maxrows = 4" if level == "ingest.toml" else ""
    run = {"maxrows": 4} if level == "run config" else {}
    with pytest.raises(SettingsError) as caught:
        resolved(toml(in_toml), **run)
    assert str(caught.value).startswith(f"konvid-150k: {level}: unknown key 'maxrows', expected one of corpus_dir, ")
    assert "max_rows" in caught.value.expected


@pytest.mark.parametrize(
    ("text", "clue"), [("max_rows = \n", "line 1"), ("a\nb", "line 1"), (b'clip_suffix = "\xff"', "utf-8")]
)
def test_a_file_that_is_not_toml_is_told_by_path_and_line(text, clue, toml):
    path = toml(text)
    with pytest.raises(SettingsError) as caught:
        resolved(path)
    assert str(caught.value).startswith(f"{path}: not TOML (")
    assert clue in caught.value.found
    assert caught.value.expected
    assert caught.value.next_step


def test_a_folder_in_the_place_of_ingest_toml_is_told(tmp_path):
    (tmp_path / "ingest.toml").mkdir()
    with pytest.raises(SettingsError, match=r"ingest\.toml: not TOML"):
        resolved(tmp_path / "ingest.toml")


def test_a_byte_order_mark_is_no_part_of_the_first_key(toml):
    assert resolved(toml(b"\xef\xbb\xbfmax_rows = 5\n")).values.max_rows == 5


def test_relative_paths_in_ingest_toml_begin_at_its_folder(toml, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    found = resolved(
        toml('output = "out/x.jsonl"\nmanifest_csv = "/abs/y.csv"\ncorpus_dir = "~/k"\nclips_subdir = "v"')
    )
    assert found.values.output == tmp_path / "out" / "x.jsonl"
    assert found.values.manifest_csv == Path("/abs/y.csv")
    assert found.values.corpus_dir == Path("/home/somebody/k")
    assert found.values.clips_subdir == "v"


@pytest.mark.parametrize("level", ["run config", "ingest.toml"])
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("~nobody-here/k", "~ is the home folder"),
        ("/a\0b", "holds no null"),
        ("/a/" + "b" * 256, "a path that a disk can hold"),
        ("/" + "ab/" * 1400, "a path that a disk can hold"),
    ],
)
def test_a_path_that_cannot_be_is_refused_in_words(level, path, expected, toml):
    in_toml = "corpus_dir = " + json.dumps(path) if level == "ingest.toml" else ""
    with pytest.raises(SettingsError, match=expected):
        resolved(toml(in_toml), **({"corpus_dir": path} if level == "run config" else {}))


def test_bounds_that_contradict_each_other_are_refused(toml):
    with pytest.raises(SettingsError, match=r"max_manifest_rows: 3, expected min_rows \(9\) or more"):
        resolved(toml("min_rows = 9\nmax_manifest_rows = 3"))
    with pytest.raises(SettingsError, match=r"max_manifest_rows: 3, expected min_rows \(5000\) or more"):
        resolved(toml(""), max_manifest_rows=3)


def test_there_need_not_be_an_ingest_toml(tmp_path):
    assert read_toml(tmp_path / "ingest.toml") == {}


def test_whole_numbers_are_taken_as_seconds(toml):
    assert resolved(toml("download_timeout_s = 90")).values.download_timeout_s == 90.0


def test_every_setting_is_described_with_its_value_and_its_level(toml):
    found = resolved(toml("max_rows = 10"), per_host=2)
    described = found.described()
    assert set(described) == set(SAMPLES)
    assert described["max_rows"] == {"value": 10, "from": "ingest.toml"}
    assert described["per_host"] == {"value": 2, "from": "run config"}
    assert described["min_rows"] == {"value": 5_000, "from": "corpus"}
    assert described["full"] == {"value": False, "from": "default"}


@pytest.mark.parametrize("name", IngestSettings.model_fields)
def test_every_setting_says_in_a_sentence_what_it_does_and_its_default(name):
    field, text = IngestSettings.model_fields[name], str(IngestSettings.help()[name])
    assert text.startswith(field.description)
    assert field.description.endswith(".")
    assert "Default: " in text
    assert "none." not in text or field.default in (None, "")


@pytest.mark.parametrize("name", ["a\0b", "\ud800"], ids=["null", "half a surrogate pair"])
def test_a_folder_that_no_disk_can_have_is_refused(name, tmp_path):
    with pytest.raises(SettingsError, match="clips_subdir"):
        resolved(tmp_path / "ingest.toml", clips_subdir=name)


@pytest.mark.parametrize("name", ["a", "a/b", "./a", "/a/disk/of/its/own", "ö" * 127])
def test_a_folder_for_clips_may_be_any_other(name, tmp_path):
    assert resolved(tmp_path / "ingest.toml", clips_subdir=name).values.clips_subdir == name


def test_no_address_before_names_may_be_set(tmp_path):
    assert resolved(tmp_path / "ingest.toml", bucket_prefix="").values.bucket_prefix == ""


def test_the_help_shows_bounds_and_choices():
    by_name = {name: str(text) for name, text in IngestSettings.help().items()}
    assert by_name["attrition_warn_threshold"].endswith("Default: 0.1. At least 0. At most 1.")
    assert by_name["log_level"].endswith("Default: INFO. One of DEBUG, INFO, WARNING, ERROR.")


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"widht": 64}, "unknown key 'widht', expected one of width, height, framerate, pix_fmt"),
        ({"width": 0}, "raw_video.width: 0, expected a whole number above 0 and at most 100000"),
        ({"height": 2160.5}, "raw_video.height: 2160.5, expected a whole number above 0 and at most 100000"),
        ({"framerate": "30"}, "raw_video.framerate: '30', expected a number above 0 and at most 100000"),
        ({"framerate": float("nan")}, "raw_video.framerate: nan, expected a number above 0 and at most 100000"),
        ({"pix_fmt": "yuv"}, "raw_video.pix_fmt: 'yuv', expected one of gray, yuv420p, "),
        (3, "raw_video: 3, expected a table of width, height, framerate, pix_fmt"),
    ],
)
def test_a_raw_video_that_cannot_be_is_refused_by_key(table, told, toml):
    with pytest.raises(SettingsError) as caught:
        resolved(toml(""), raw_video=table)
    assert told in str(caught.value)


def test_what_a_raw_video_table_leaves_out_is_the_default(toml):
    path = toml("[raw_video]\nframerate = 29.97\n")
    assert resolved(path).values.raw_video == RawVideo(width=3840, height=2160, framerate=29.97, pix_fmt="yuv420p")
    assert resolved(path).described()["raw_video"]["value"]["framerate"] == 29.97
