"""A corpus of one's own: what a TOML file may say, what becomes of it, and how a mistake is told."""

import subprocess
import sys
from pathlib import Path

import pytest

from vqa_assets.corpora import CORPORA, ENCODE_GRID_SOURCES, EXTERNAL_SHARDS, Corpus
from vqa_assets.corpora.declarations import read_declaration, with_declared
from vqa_assets.corpora.scales import ACR_1_5, CONTINUOUS_0_100, MosScale
from vqa_assets.errors import AnnotationError, SettingsError
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
SCALE_LIST = "a list of at least one scale, each one of 1-5-acr, 0-100-continuous, or a table of name, low, high"


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
        ('["0-100-continuous"]', "[]", f"scales: [], expected {SCALE_LIST}"),
        ('["0-100-continuous"]', '"1-5-acr"', f"scales: '1-5-acr', expected {SCALE_LIST}"),
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
        (
            "clip_folders",
            'contents_in_names = [{ name = "{a}_{b}", content = "{c}" }]\nclip_folders',
            "contents_in_names[0].content: '{c}', expected a template of one of a, b",
        ),
        (
            "clip_folders",
            'contents_in_names = [{ name = "{a}_{b}", content = "{a}", numbers = 7 }]\nclip_folders',
            "contents_in_names[0].content: '{a}', expected a template with {number}, which is counted",
        ),
        (
            "clip_folders",
            'hf = "https://huggingface.co/datasets/a/b"\nclip_folders',
            "hf: 'https://huggingface.co/datasets/a/b', expected a dataset of the Hugging Face Hub, as owner/name",
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


@pytest.mark.parametrize(
    ("declared_as", "named", "content"),
    [
        ('{ name = "{test}_{scene}_{camera}", content = "{test}_{scene}" }', "Test01_City_D01", "test01_city"),
        ('{ name = "{number}_{content}_{rest}", content = "{content}" }', "Focus/0723_Man_GS5_1", "man"),
        ('{ name = "{part}/{number}.{suffix}", content = "{part}/{number}", numbers = 7 }', "train/0239", "train/35"),
        ('{ name = "{part}/{number}.{suffix}", content = "{part}/{number}", numbers = 7 }', "train/0245", "train/35"),
        ('{ name = "{part}/{number}.{suffix}", content = "{part}/{number}", numbers = 7 }', "train/x1", None),
        ('{ name = "{number}_{content}_{rest}", content = "{content}" }', "plain", None),
    ],
)
def test_what_a_clip_shows_is_said_by_its_name_where_a_declaration_says_how(
    declared_as: str, named: str, content: str | None, tmp_path: Path, root_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = MINE.replace("clip_folders", f"contents_in_names = [{declared_as}]\nclip_folders")
    small = SmallCorpus(DataRoot(root_path), corpus=read_declaration(declared(tmp_path, text)))
    small.drop("scores.csv", f"name,quality\n{named},60\n")
    small.stage(f"{named}.mp4", b"a")
    small.ingest()
    assert small.rows()[0].get("content_id") == content
    assert ("say what their clips show" in caplog.text) == (content is None)


def test_a_column_says_what_a_clip_shows_before_its_name_does(tmp_path: Path, root_path: Path) -> None:
    how = 'contents_in_names = [{ name = "{content}_{rest}", content = "{content}" }]\nclip_folders'
    text = MINE.replace("clip_folders", how) + 'content = ["place"]\n'
    small = SmallCorpus(DataRoot(root_path), corpus=read_declaration(declared(tmp_path, text)))
    small.drop("scores.csv", "name,quality,place\npark_1,60,Lake\npark_2,60,\n")
    small.stage("park_1.mp4", b"a")
    small.stage("park_2.mp4", b"b")
    small.ingest()
    assert [row["content_id"] for row in small.rows()] == ["Lake", "park"]


def test_two_files_of_one_name_are_a_mistake_of_the_second(tmp_path: Path) -> None:
    declared(tmp_path)
    declared(tmp_path, name="other.toml")
    with pytest.raises(SettingsError, match=r"other\.toml: name: 'my-clips', which is declared already"):
        with_declared(tmp_path)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"the declarations of corpora .*nowhere: found nothing there"):
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


OWN = 'scales = [{ name = "0-10", low = 0, high = 10 }, "0-100-continuous"]'


def test_a_range_of_its_own_and_the_better_end_are_declared(tmp_path: Path) -> None:
    text = MINE.replace('scales = ["0-100-continuous"]', f'{OWN}\npolarity = "dmos"')
    mine = read_declaration(declared(tmp_path, text))
    assert mine.scales == (MosScale("0-10", 0, 10, "dmos"), CONTINUOUS_0_100.directed("dmos"))
    assert mine.scale_named("1-5-acr") == ACR_1_5.directed("dmos")
    assert mine.spellings.mos == ("quality", "dmos", "dmos_score", "mos", "mos_score")
    assert mine.but(polarity="mos").scales == (MosScale("0-10", 0, 10), CONTINUOUS_0_100)


@pytest.mark.parametrize(
    ("scales", "told"),
    [
        ('[{ name = "0-10", low = 0 }]', "scales[0]: {'name': '0-10', 'low': 0}, expected one of 1-5-acr, 0-100-cont"),
        ('[{ name = "0-10", low = 0, high = 0 }]', "scales[0].high: 0, expected more than low (0)"),
        ('[{ name = "0-10", low = 0, high = nan }]', "scales[0].high: nan, expected a number"),
        ('[{ name = "0-10", low = true, high = 9 }]', "scales[0].low: True, expected a number"),
        ('[{ name = "0-10", low = "0", high = 9 }]', "scales[0].low: '0', expected a number"),
        ('[{ name = "1-5-acr", low = 0, high = 9 }]', "scales[0].name: '1-5-acr', expected a name of its own"),
        ('[{ name = "vmaf", low = 0, high = 100 }]', "scales[0].name: 'vmaf', expected a name of its own"),
        ('[{ name = "0 10", low = 0, high = 10 }]', "scales[0].name: '0 10', expected a name of its own"),
        ('["1-5-acr", "1-5-acr"]', "scales: 1-5-acr, 1-5-acr, expected each scale once"),
        ('["1-5-acr"]\npolarity = "down"', "polarity: 'down', expected one of mos, dmos"),
        ('["0-100-continuous"]\npolarity = "dmos"\nstored_scale = "1-5-acr"', "stored_scale: 1-5-acr, expected scales"),
    ],
)
def test_a_mistake_in_a_scale_names_its_place(scales: str, told: str, tmp_path: Path) -> None:
    path = declared(tmp_path, MINE.replace('scales = ["0-100-continuous"]', f"scales = {scales}"))
    with pytest.raises(SettingsError) as caught:
        read_declaration(path)
    assert told in str(caught.value)


def own_corpus(tmp_path: Path, root_path: Path, more: str, mos: str = "quality") -> SmallCorpus:
    text = MINE.replace('scales = ["0-100-continuous"]', more).replace('"quality"', f'"{mos}"')
    small = SmallCorpus(DataRoot(root_path), corpus=read_declaration(declared(tmp_path, text)))
    for name in "abcdef":
        small.drop(f"mp4/{name}.mp4", name.encode())
    return small


def test_rows_keep_the_score_as_published_and_say_its_scale_and_its_better_end(tmp_path: Path, root_path: Path) -> None:
    small = own_corpus(tmp_path, root_path, f'{OWN}\npolarity = "dmos"')
    small.drop("scores.csv", "name,dmos,dmos_std,mos\na,0.5,1,4\nb,9.5,2,1\nc,,1,3\nd,12,1,3\n")
    ingested = small.ingest(mos_scale="0-10")
    kept = ("mos", "mos_scale", "mos_polarity", "mos_std_dev")
    assert [tuple(row[name] for name in kept) for row in small.rows()] == [
        (0.5, "0-10", "dmos", 1.0),
        (9.5, "0-10", "dmos", 2.0),
    ]
    # beside differences, mos runs the other way: it fills no gap
    assert ingested.report.skipped_bad_row == 2
    assert ingested.manifest["mos_scale"] == {"name": "0-10", "from": "set"}
    assert ingested.manifest["mos_polarity"] == "dmos"


@pytest.mark.parametrize(
    ("declaration", "mos", "file"),
    [
        ("", "dmos", "name,dmos\na,50\n"),
        ("", "DMOS", "name,DMOS\na,50\n"),
        ("", "DMOS score", "name,DMOS score\na,50\n"),
        ("", "AvgDMOS_1", "name,AvgDMOS_1\na,50\n"),
        ("", "dmos", "name,mos,dmos\na,50,40\n"),
        ('\nlast_spellings = { mos = ["dmos"] }', "quality", "name,dmos\na,50\n"),
        ('\nrenamed_columns = [{ column = "dmos", name = "mos" }]', "quality", "name,dmos\na,50\n"),
    ],
)
def test_differences_are_refused_as_opinions_when_the_file_is_read_and_not_before(
    declaration: str, mos: str, file: str, tmp_path: Path, root_path: Path
) -> None:
    small = own_corpus(tmp_path, root_path, f'scales = ["0-100-continuous"]{declaration}', mos)
    small.drop("scores.csv", file)
    with pytest.raises(
        AnnotationError, match='DMOS, where less is better, in a corpus whose polarity is "mos"'
    ) as told:
        small.ingest()
    assert 'polarity = "dmos" in the declaration' in told.value.expected
    small.corpus = small.corpus.but(dmos_is_mos=True)
    small.ingest()
    assert [row.get("mos_polarity") for row in small.rows()] == [None]


@pytest.mark.parametrize("mos", ["adjustedmos", "AdjustedMOS", "normalized_mos"])
def test_opinions_whose_column_only_has_the_letters_of_dmos_are_opinions(
    mos: str, tmp_path: Path, root_path: Path
) -> None:
    small = own_corpus(tmp_path, root_path, 'scales = ["0-100-continuous"]', mos)
    small.drop("scores.csv", f"name,{mos}\na,50\n")
    small.ingest()
    assert small.rows()[0]["mos"] == 50.0


def test_a_column_of_differences_beside_the_scores_is_no_matter(tmp_path: Path, root_path: Path) -> None:
    small = own_corpus(tmp_path, root_path, 'scales = ["0-100-continuous"]')
    small.drop("scores.csv", "name,quality,dmos\na,50,40\n")
    small.ingest()
    assert [row["mos"] for row in small.rows()] == [50.0]


def test_a_scale_that_a_run_names_is_known_or_the_corpuss_own(tmp_path: Path, root_path: Path) -> None:
    small = own_corpus(tmp_path, root_path, OWN)
    small.drop("scores.csv", "name,quality\na,5\n")
    small.ingest(mos_scale="0-10")
    assert [row["mos_scale"] for row in small.rows()] == ["0-10"]
    with pytest.raises(SettingsError, match="mos_scale: '0-9', expected one of 1-5-acr, 0-100-continuous, 0-10; "):
        small.ingest(mos_scale="0-9")


def test_further_scores_are_carried_and_one_that_cannot_be_costs_no_row(
    tmp_path: Path, root_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small = own_corpus(tmp_path, root_path, 'scales = ["1-5-acr"]')
    small.corpus = small.corpus.but(
        scores={
            "technical": "T",
            "colour": {"column": "C", "scale": {"name": "0-10", "low": 0, "high": 10}},
            "harm": {"column": "DMOS", "polarity": "dmos"},
            "absent": "X",
        }
    )
    small.drop("scores.csv", "name,quality,t,C,DMOS\na,3,2.5,7,1\nb,4,9,NaN,\nc,2,bad,10.2,5\nd,5,,0,2\n")
    manifest = small.ingest().manifest
    kept = ("mos", "mos_technical", "mos_colour", "mos_colour_scale", "mos_harm", "mos_harm_polarity")
    assert [tuple(row.get(name) for name in kept) for row in small.rows()] == [
        (3.0, 2.5, 7.0, "0-10", 1.0, "dmos"),
        (4.0, None, None, None, None, None),
        (2.0, None, None, None, 5.0, "dmos"),
        (5.0, None, 0.0, "0-10", 2.0, "dmos"),
    ]
    assert manifest["scores"] == {
        "mos_technical": {"column": "T", "scale": "1-5-acr", "rows": 1, "unknown": 3, "refused": 2},
        "mos_colour": {"column": "C", "scale": "0-10", "rows": 2, "unknown": 2, "refused": 1},
        "mos_harm": {"column": "DMOS", "scale": "1-5-acr", "polarity": "dmos", "rows": 3, "unknown": 1, "refused": 0},
        "mos_absent": {"column": "X", "scale": "1-5-acr", "rows": 0, "unknown": 4, "refused": 0},
    }
    assert "2 of 4 mos_technical are no numbers or outside [1, 5] (line 3: 9; line 4: nan)" in caplog.text
    assert "no row has a mos_absent (column X)" in caplog.text


def test_a_further_score_is_stored_where_the_first_one_is(root_path: Path) -> None:
    small = SmallCorpus(DataRoot(root_path), corpus=CORPORA["chug"].but(scores={"sharp": "sharpness"}))
    small.drop("manifest.csv", "video,mos_j,sharpness,content_name\na,50,75,x\n")
    small.stage("a.mp4", b"a")
    small.ingest()
    (row,) = small.rows()
    assert (row["mos"], row["mos_sharp"], row["mos_scale"], "mos_sharp_scale" in row) == (3.0, 4.0, "1-5-acr", False)


def test_differences_as_a_further_score_need_their_polarity_too(tmp_path: Path, root_path: Path) -> None:
    small = own_corpus(tmp_path, root_path, 'scales = ["1-5-acr"]\nscores = { harm = "DMOS" }')
    small.drop("scores.csv", "name,quality,DMOS\na,3,2.5\n")
    with pytest.raises(AnnotationError, match="column DMOS: DMOS, where less is better"):
        small.ingest()


@pytest.mark.parametrize(
    ("scores", "told"),
    [
        ('{ scale = "T" }', "scores[0].name: 'scale', expected a word of small letters"),
        ('{ Colour = "T" }', "scores[0].name: 'Colour', expected a word of small letters"),
        ("{ a = { columns = [] } }", "scores[0]: unknown key 'columns', expected one of name, column, scale, polarity"),
        ('{ a = { column = "T", scale = "vmaf" } }', "scores[0].scale: 'vmaf', expected one of 1-5-acr"),
        (
            '{ my_device = "T" }\nextra_columns = [{ field = "mos_my_device", columns = ["x"] }]',
            "extra_columns: 'mos_my",
        ),
    ],
)
def test_a_mistake_in_a_further_score_names_its_place(scores: str, told: str, tmp_path: Path) -> None:
    text = MINE.replace('extra_columns = [{ field = "my_device", columns = ["device"] }]', "")
    path = declared(tmp_path, text.replace("min_rows = 1", f"min_rows = 1\nscores = {scores}"))
    with pytest.raises(SettingsError) as caught:
        read_declaration(path)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("polarity", "row", "score"),
    [
        ("mos", {"mos": 30, "mos_scale": "0-100-continuous"}, 30),
        ("mos", {"mos": 30, "mos_scale": "0-100-continuous", "mos_polarity": "dmos"}, 70),
        ("dmos", {"mos": 30, "mos_scale": "0-100-continuous"}, 70),
        ("dmos", {"mos": 2, "mos_scale": "1-5-acr", "mos_polarity": "dmos"}, 4),
        ("dmos", {"mos": 7, "mos_scale": "elsewhere", "mos_polarity": "dmos"}, 7),
    ],
)
def test_what_is_shown_as_best_and_worst_goes_by_the_better_end(
    polarity: str, row: dict[str, object], score: float
) -> None:
    assert CORPORA["live-vqc"].but(polarity=polarity).upward_score(row) == score
