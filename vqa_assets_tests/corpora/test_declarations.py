"""A corpus of one's own: what a TOML file may say, what becomes of it, and how a mistake is told."""

import subprocess
import sys
from pathlib import Path

import pytest

from vqa_assets.corpora import CORPORA, ENCODE_GRID_SOURCES, EXTERNAL_SHARDS, Corpus
from vqa_assets.corpora.declarations import read_declaration, with_declared
from vqa_assets.corpora.scales import CONTINUOUS_0_100
from vqa_assets.errors import SettingsError
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.fakes import SmallCorpus

MINE = """\
name = "my-clips"
title = "My clips"
version = "my-clips-1"
scales = ["0-100-continuous"]
spread = "sd"
licence = "mine"
redistribution = "attribution"
citation = "Me. My clips. 2026."
homepage = "https://example.org/"
expected_clips = 10
size = "1 GB"
bytes_per_clip = 1_000_000
min_rows = 1
headerless = [["name", "", "mos"]]
clip_folders = ["mp4"]
extra_columns = [{ field = "my_device", columns = ["device"] }]

[acquisition]
file = "scores.csv"
where = "https://example.org/"
steps = "Drop it."

[own_spellings]
mos = ["quality"]
"""


def declared(folder: Path, text: str = MINE, name: str = "mine.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_it_stands_behind_the_declared_corpora(tmp_path: Path) -> None:
    declared(tmp_path)
    corpora = with_declared(tmp_path)
    assert list(corpora) == [*CORPORA, "my-clips"]
    mine = corpora["my-clips"]
    assert mine.scales == (CONTINUOUS_0_100,)
    assert mine.spellings.mos == ("quality", "mos", "mos_score")
    assert (mine.clip_suffix, mine.max_rows, mine.default_cap) == (".mp4", None, None)
    assert with_declared(None) is CORPORA


def test_it_is_ingested_like_any_other(tmp_path: Path, root_path: Path) -> None:
    small = SmallCorpus(DataRoot(root_path), corpus=read_declaration(declared(tmp_path)))
    small.drop("scores.csv", "name,quality,device\na,60,phone\n")
    small.drop("mp4/a.mp4", b"a")
    small.ingest()
    (row,) = small.rows()
    assert (row["corpus"], row["mos"], row["mos_scale"], row["my_device"]) == (
        "my-clips",
        60.0,
        "0-100-continuous",
        "phone",
    )


def test_column_names_are_compared_without_case_wherever_they_stand(tmp_path: Path, root_path: Path) -> None:
    text = MINE.replace('["device"]', '["Device"]').replace('["name", "", "mos"]', '["Video", "CRF", "MOS"]')
    text = text.replace("clip_folders", 'clip_name = "{Video}_{crf}.mp4"\nalso_named = ["{CRF}.mp4"]\nclip_folders')
    small = SmallCorpus(DataRoot(root_path), corpus=read_declaration(declared(tmp_path, text)))
    small.drop("mp4/a_30.mp4", b"a")
    small.drop("mp4/40.mp4", b"b")
    small.drop("scores.csv", "video,Crf,quality,DEVICE\na,30,60,phone\nb,40,70,\n")
    small.ingest()
    assert [(row["src"], row.get("my_device")) for row in small.rows()] == [("a_30.mp4", "phone"), ("40.mp4", None)]
    small.drop("scores.csv", "a,30,61\nb,40,71\n")
    small.ingest()
    assert [(row["src"], row["mos"]) for row in small.rows()] == [("a_30.mp4", 61.0), ("40.mp4", 71.0)]


@pytest.mark.parametrize("name", ["._mine.toml", ".#mine.toml", "~$mine.toml"])
def test_what_a_system_or_an_editor_lays_beside_a_declaration_is_none(name: str, tmp_path: Path) -> None:
    declared(tmp_path)
    (tmp_path / name).write_bytes(b"\x00\x05\x16\x07")
    assert list(with_declared(tmp_path))[-1] == "my-clips"


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ('name = "my-clips"', 'name = "lsvq"', "name: 'lsvq', which is declared already, expected a name of its own"),
        ('name = "my-clips"', 'name = "My Clips"', "name: 'My Clips', expected lower-case words joined by -"),
        ('name = "my-clips"', 'name = "models"', "name: 'models', expected lower-case words joined by -, none of"),
        ('licence = "mine"', "", "licence: nothing, expected this fact, which has no default"),
        ('licence = "mine"', 'licence = " "', "licence: ' ', expected the fact as published"),
        ('licence = "mine"', 'license = "mine"', "unknown key 'license', expected one of name, title"),
        ('["0-100-continuous"]', '["1-5"]', "scales[0]: '1-5', expected one of 1-5-acr, 0-100-continuous"),
        ('["0-100-continuous"]', '["vmaf"]', "scales[0]: 'vmaf', expected one of 1-5-acr, 0-100-continuous"),
        ('["0-100-continuous"]', "[]", "scales: [], expected a list of at least one of 1-5-acr, 0-100-continuous"),
        ('["0-100-continuous"]', '"1-5-acr"', "scales: '1-5-acr', expected a list of at least one of"),
        ('"sd"', '"std"', "spread: 'std', expected one of sd, se, ci95, none"),
        ('"attribution"', '"free"', "redistribution: 'free', expected one of attribution, research-only"),
        ("min_rows = 1", "min_rows = 0", "min_rows: 0, expected a whole number of at least 1"),
        (
            "min_rows = 1",
            "min_rows = 1\ndownload_timeout_s = inf",
            "download_timeout_s: inf, expected a number of at least 1",
        ),
        ("min_rows = 1", "min_rows = 1\nmax_rows = -1", "max_rows: -1, expected a whole number of at least 1"),
        ("min_rows = 1", 'min_rows = "1"', "min_rows: '1', expected a whole number"),
        ("min_rows = 1", "min_rows = true", "min_rows: True, expected a whole number"),
        ("min_rows = 1", "min_rows = 9\nmax_rows = 8", "max_rows: 8, expected min_rows (9) or more"),
        ("min_rows = 1", 'min_rows = 1\nstored_scale = "1-5-acr"\nspam = 1', "unknown key 'spam'"),
        ("clip_folders", 'clip_suffix = "mp4"\nclip_folders', "clip_suffix: 'mp4', expected a suffix such as .mp4"),
        ("clip_folders", 'clip_name = "{a"\nclip_folders', "clip_name: '{a', expected a template such as"),
        ("clip_folders", 'clip_name = "{a.b}.mp4"\nclip_folders', "clip_name: '{a.b}.mp4', expected a template"),
        ("clip_folders", 'clip_name = "{a!z}.mp4"\nclip_folders', "clip_name: '{a!z}.mp4', expected a template"),
        ("clip_folders", 'clip_suffix = "./../x"\nclip_folders', "clip_suffix: './../x', expected a suffix"),
        (
            "clip_folders",
            'raw_video = { width = -4, pix_fmt = "nope" }\nclip_folders',
            "raw_video.width: -4, expected a whole number above 0",
        ),
        (
            "clip_folders",
            'parts = [{ file = "a.csv", field = "split", value = "trian" }]\nclip_folders',
            "parts[0].value: 'trian', expected one of train, val, test",
        ),
        ("clip_folders", 'bucket_prefix = "s3://b/"\nclip_folders', "bucket_prefix: 's3://b/', expected an address"),
        ('["mp4"]', '["../mp4"]', "clip_folders[0]: '../mp4', expected a path inside the corpus's folder"),
        (
            '"scores.csv"',
            '"/etc/passwd"',
            "acquisition.file: '/etc/passwd', expected a path inside",
        ),
        ('"scores.csv"', "3", "acquisition.file: 3, expected a path inside the corpus's folder"),
        ('file = "scores.csv"', 'files = "scores.csv"', "acquisition: unknown key 'files', expected one of file"),
        ('"my_device"', '"mos"', "extra_columns: 'mos', expected a field that rows do not have yet"),
        ('"my_device"', '""', "extra_columns: '', expected a field that rows do not have yet"),
        (
            '["device"] }]',
            '["device"] }, { field = "my_device", columns = ["maker"] }]',
            "extra_columns: 'my_device', expected a field that rows do not have yet",
        ),
        ('mos = ["quality"]', 'sd = ["MOS"]', "own_spellings: 'MOS' for mos and sd, expected one meaning"),
        (
            'mos = ["quality"]',
            'count = ["q"]\nurl = ["q"]',
            "own_spellings: 'q' for url and count, expected one meaning",
        ),
        (
            "[own_spellings]",
            2 * '[[parts]]\nfile = "a.csv"\nfield = "score_drop"\nvalue = "a"\n' + "[own_spellings]",
            "parts: files a.csv, a.csv, expected each file once",
        ),
        (
            "clip_folders",
            "raw_video = { framerate = nan }\nclip_folders",
            "raw_video.framerate: nan, expected a number",
        ),
        (
            "clip_folders",
            "raw_video = { framerate = inf }\nclip_folders",
            "raw_video.framerate: inf, expected a number",
        ),
        ("clip_folders", 'also_starting = ["{clip"]\nclip_folders', "also_starting[0]: '{clip', expected a template"),
        ("clip_folders", 'also_named = ["{0}.mp4"]\nclip_folders', "also_named[0]: '{0}.mp4', expected a template"),
        ('["name", "", "mos"]', '["clip", "mos"]', "headerless: ['clip', 'mos'], expected the column names"),
        ('["name", "", "mos"]', '["name", "mos", "mos"]', "headerless: ['name', 'mos', 'mos'], expected the column"),
        ('["name", "", "mos"]', '["name", "score"]', "headerless: ['name', 'score'], expected the column names"),
        ('"my-clips-1"', "my-clips-1", "mine.toml: not TOML ("),
    ],
)
def test_a_mistake_names_file_field_and_remedy(before: str, after: str, told: str, tmp_path: Path) -> None:
    assert before in MINE
    path = declared(tmp_path, MINE.replace(before, after))
    with pytest.raises(SettingsError) as caught:
        with_declared(tmp_path)
    assert str(path) in str(caught.value)
    assert told in str(caught.value)
    assert caught.value.next_step


def test_two_files_of_one_name_are_a_mistake_of_the_second(tmp_path: Path) -> None:
    declared(tmp_path)
    declared(tmp_path, name="other.toml")
    with pytest.raises(SettingsError, match=r"other\.toml: name: 'my-clips', which is declared already"):
        with_declared(tmp_path)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"VQA_CORPORA_DIR .*nowhere: found nothing there"):
        with_declared(tmp_path / "nowhere")


@pytest.mark.parametrize("corpus", CORPORA.values(), ids=list(CORPORA))
def test_the_shipped_declarations_keep_the_same_rules(corpus: Corpus) -> None:
    stated = {name: getattr(corpus, name) for name in Corpus.model_fields} | {"spread": corpus.spread or "none"}
    assert Corpus.of(stated, corpus.name) == corpus
    with pytest.raises(SettingsError, match="min_rows: 0, expected a whole number of at least 1"):
        Corpus.of({**stated, "min_rows": 0}, corpus.name)


def test_no_name_means_two_things() -> None:
    names = [*CORPORA, *EXTERNAL_SHARDS, *ENCODE_GRID_SOURCES]
    assert len(set(names)) == len(names)


def loaded(folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    environment = {"VQA_CORPORA_DIR": str(folder), "PATH": "", "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_definitions_have_it_as_a_partition_or_say_what_is_wrong(tmp_path: Path) -> None:
    declared(tmp_path)
    program = (
        "import dagster as dg; from vqa_assets.definitions import defs; "
        "asset = defs.resolve_assets_def('corpus_jsonl'); print(asset.partitions_def.get_partition_keys()[-1])"
    )
    assert loaded(tmp_path, program).stdout.strip() == "my-clips"
    declared(tmp_path, MINE.replace("min_rows", "min_row"))
    done = loaded(tmp_path, program)
    assert done.returncode == 1
    assert "mine.toml: unknown key 'min_row', expected one of name, title" in done.stderr
