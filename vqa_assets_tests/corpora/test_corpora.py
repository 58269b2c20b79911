"""Declarations: what every corpus must say, and that its facts are the published ones."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

import vqa_assets
from vqa_assets.corpora import CORPORA, ENCODE_GRID_SOURCES, EXTERNAL_SHARDS, Acquisition, Corpus, Spellings
from vqa_assets.corpora.contents import content_groups, fold_of
from vqa_assets.corpora.corpus import GENERAL_SPELLINGS, REDISTRIBUTION
from vqa_assets.corpora.scales import SCALES

EVERY = pytest.mark.parametrize("corpus", CORPORA.values(), ids=lambda c: c.name)


@EVERY
def test_a_corpus_is_found_under_its_own_name(corpus):
    assert CORPORA[corpus.name] is corpus
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", corpus.name)
    assert corpus.stem == corpus.name.replace("-", "_")


@EVERY
def test_every_fact_that_a_reader_needs_is_said(corpus):
    for name in ("title", "version", "licence", "redistribution", "citation", "homepage", "size"):
        assert getattr(corpus, name).strip(), name
    assert all((corpus.acquisition.file, corpus.acquisition.where, corpus.acquisition.steps))
    assert corpus.homepage.startswith("https://")
    assert corpus.acquisition.steps.endswith(".")


@EVERY
def test_the_bounds_hold_the_corpus_itself(corpus):
    assert 1 <= corpus.min_rows <= corpus.expected_clips
    assert corpus.max_rows is None or corpus.max_rows >= corpus.expected_clips
    assert corpus.default_cap is None or corpus.default_cap >= 1
    assert corpus.bytes_per_clip > 0
    assert corpus.download_timeout_s >= 1


@EVERY
def test_scales_are_known_ones_or_the_corpuss_own_and_listed_once(corpus):
    assert corpus.scales
    assert all(SCALES.get(scale.name, scale) is scale for scale in corpus.scales)
    assert len(set(corpus.scales)) == len(corpus.scales)
    assert corpus.spread in ("sd", "se", "ci95", None)


@EVERY
def test_clips_have_a_suffix_and_columns_a_name(corpus):
    assert corpus.clip_suffix.startswith(".")
    assert corpus.spellings.clip
    assert corpus.spellings.mos
    assert corpus.bucket_prefix == "" or corpus.bucket_prefix.startswith("https://")


@EVERY
def test_dmos_is_never_an_alias_of_mos_before_mos_itself(corpus):
    names = [name.lower() for name in corpus.spellings.mos]
    assert "dmos" not in names or names.index("dmos") > names.index("mos")


PUBLISHED = [
    ("konvid-1k", "konvid-1k-2017", "1-5-acr", "sd", 1, 1_500, None, 120, ".mp4"),
    ("konvid-150k", "konvid-150k-2019", "1-5-acr", "sd", 5_000, None, None, 120, ".mp4"),
    ("lsvq", "lsvq-2021", "1-5-acr or 0-100-continuous", "sd", 1_000, None, 500, 120, ".mp4"),
    ("youtube-ugc", "ugc-2019-orig", "1-5-acr", "sd", 200, None, 300, 300, ".mp4"),
    ("waterloo-ivc-4k", "waterloo-ivc-4k-201908", "0-100-continuous", "sd", 100, None, 100, 120, ".yuv"),
    ("live-vqc", "live-vqc-2019", "0-100-continuous", "sd", 50, None, 200, 120, ".mp4"),
    ("chug", "chug-icip-2025", "0-100-continuous", "se", 1_000, None, 500, 300, ".mp4"),
    ("beyond8bits", "beyond8bits-cvpr-2026", "0-100-continuous", None, 10_000, None, 500, 300, ".mp4"),
    ("kvq", "kvq-2024", "1-5-acr or 0-100-continuous", None, 400, 4_500, None, 120, ".mp4"),
    ("live-yt-gaming", "live-yt-gaming-2021", "1-5-acr or 0-100-continuous", None, 500, 700, None, 120, ".mp4"),
    ("live-meta-gaming", "live-meta-gaming-2023", "1-5-acr or 0-100-continuous", "sd", 500, 700, None, 120, ".mp4"),
    ("live-yt-hfr", "live-yt-hfr-2020", "1-5-acr or 0-100-continuous", "sd", 400, 600, None, 120, ".webm"),
    ("etri-live", "etri-live-2021", "1-5-acr or 0-100-continuous", "sd", 400, 500, None, 120, ".mp4"),
    ("bvi-hfr", "bvi-hfr-2018", "1-5-acr or 0-100-continuous", None, 80, 150, None, 120, ".mp4"),
    ("cvd2014", "cvd2014-realignment", "cvd2014", None, 200, 300, None, 120, ".avi"),
    ("live-qualcomm", "live-qualcomm-2016", "0-100-continuous", None, 150, 300, None, 120, ".yuv"),
    ("lbvd", "lbvd-2019", "1-5-acr or 0-100-continuous", None, 900, 1_200, None, 120, ".mp4"),
]


def test_the_corpora_are_those_of_the_contract_in_the_order_that_breaks_ties():
    assert list(CORPORA) == [row[0] for row in PUBLISHED]


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: row[0])
def test_a_corpus_declares_what_is_published(row):
    corpus = CORPORA[row[0]]
    scales = " or ".join(scale.name for scale in corpus.scales)
    bounds = (corpus.min_rows, corpus.max_rows, corpus.default_cap, corpus.download_timeout_s, corpus.clip_suffix)
    assert (corpus.name, corpus.version, scales, corpus.spread, *bounds) == row


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lsvq", ("Patch-VQ", "CVPR 2021", "Bovik")),
        ("waterloo-ivc-4k", ("Li, Duanmu, Liu, Wang", "ICIAR 2019")),
        ("chug", ("ICIP 2025", "10.1109/ICIP55913.2025.11084488")),
    ],
)
def test_a_citation_is_the_corrected_one(name, words):
    assert all(word in CORPORA[name].citation for word in words)


def test_lsvqs_licence_is_its_authors_own_notice_and_what_is_not_known_is_unknown():
    assert "the whole notice in every copy and the source acknowledged" in CORPORA["lsvq"].licence
    assert CORPORA["lsvq"].redistribution == "attribution"
    for corpus in CORPORA.values():
        assert (corpus.licence == "unknown") == (corpus.redistribution == "unknown"), corpus.name


def test_what_two_corpora_of_the_same_sources_show_has_one_name():
    new, old = CORPORA["beyond8bits"], CORPORA["chug"]
    assert new.own_spellings.content == old.own_spellings.content
    assert (new.bucket_prefix, new.stored_scale, new.spread) == (old.bucket_prefix, None, None)
    assert not new.contents_in_names
    groups = content_groups(["src.mp4", "src.mp4", "other.mp4"], ["chug/a", "beyond8bits/b", "beyond8bits/c"])
    assert len(set(groups)) == 2
    assert len({fold_of(group, 5, 1) for group in groups[:2]}) == 1


def test_chug_alone_is_mapped_at_ingest():
    assert {name: c.stored_scale.name for name, c in CORPORA.items() if c.stored_scale} == {"chug": "1-5-acr"}
    assert CORPORA["chug"].redistribution == "non-commercial-share-alike"


def test_nothing_outside_its_declaration_and_its_recipe_knows_the_word_chug():
    package = Path(vqa_assets.__file__).parent
    files = [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    knowing = {path.relative_to(package) for path in files if b"chug" in path.read_bytes().lower()}
    assert Path("corpora/chug.py") in knowing
    assert {path.as_posix() for path in knowing if path.parts[0] != "corpora"} <= {"heads/recipe.py"}


@EVERY
def test_a_redistribution_word_is_a_known_one(corpus):
    assert corpus.redistribution in REDISTRIBUTION


def test_external_shards_and_encode_grid_sources_are_no_corpora():
    assert {name: [s.name for s in shard.scales] for name, shard in EXTERNAL_SHARDS.items()} == {
        "netflix-public": ["vmaf"]
    }
    assert list(ENCODE_GRID_SOURCES) == ["bvi-dvc", "netflix"]
    assert {s.redistribution for s in ENCODE_GRID_SOURCES.values()} <= set(REDISTRIBUTION)


@pytest.mark.parametrize("name", ["scales", "spread", "licence", "redistribution", "citation", "version", "min_rows"])
def test_a_fact_that_can_mislead_has_no_default(name):
    assert Corpus.model_fields[name].is_required()


def test_a_declaration_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        CORPORA["konvid-150k"].min_rows = 1
    with pytest.raises(TypeError):
        CORPORA["mine"] = CORPORA["konvid-150k"]


def test_a_corpuss_own_spellings_come_before_the_general_ones():
    corpus = CORPORA["konvid-150k"].but(own_spellings=Spellings(clip=("vid",), mos=("mosfull", "mos full")))
    assert corpus.spellings.clip == ("vid", "name", "video_name", "filename", "file_name")
    assert corpus.spellings.mos == ("mosfull", "mos full", "mos", "mos_score")
    assert corpus.spellings.url == GENERAL_SPELLINGS.url


def test_the_general_spellings_are_the_contracts():
    assert (
        Spellings(
            clip=("name", "video_name", "filename", "file_name"),
            url=("url", "download_url", "video_url", "flickr_url"),
            mos=("mos", "mos_score"),
            sd=("sd", "mos_std", "mos_std_dev", "sd_mos", "stddev", "std_dev"),
            count=("n", "ratings", "num_ratings", "n_ratings", "rating_count"),
        )
        == GENERAL_SPELLINGS
    )


def test_a_new_corpus_is_one_declaration():
    made = Corpus(
        name="my-clips",
        title="My clips",
        version="1",
        scales=(SCALES["0-100-continuous"],),
        spread=None,
        licence="mine",
        redistribution="unknown",
        citation="me",
        homepage="https://example.org",
        acquisition=Acquisition(file="manifest.csv", where="here", steps="Drop it."),
        expected_clips=10,
        size="1 GB",
        bytes_per_clip=1,
        min_rows=1,
    )
    assert (made.stem, made.clip_suffix, made.default_cap, made.spellings) == (
        "my_clips",
        ".mp4",
        None,
        GENERAL_SPELLINGS,
    )
