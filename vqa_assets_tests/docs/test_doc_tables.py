"""Tables in the docs are those of the declarations."""

from pathlib import Path

import pytest

from vqa_assets.corpora import CORPORA, ENCODE_GRID_SOURCES, EXTERNAL_SHARDS, Corpus
from vqa_assets.corpora.declarations import read_declaration
from vqa_assets.doc_tables import BEGIN, END, EXAMPLE, between_markers, corpus_table, made, page, table

REPOSITORY = Path(__file__).parents[2]


def test_what_is_committed_is_what_the_command_makes() -> None:
    for path, text in made(REPOSITORY).items():
        told = f"{path.name} differs from the code; run python -m vqa_assets.doc_tables"
        assert path.read_text(encoding="utf-8") == text, told


@pytest.mark.parametrize("corpus", CORPORA.values(), ids=list(CORPORA))
def test_the_page_says_all_that_a_user_needs(corpus: Corpus) -> None:
    section = page().partition(f"## {corpus.name}\n")[2].partition("\n## ")[0]
    facts = (corpus.version, corpus.size, corpus.licence, corpus.citation, corpus.homepage, corpus.acquisition.steps)
    files = (*corpus.annotation_files, *(part.file for part in corpus.parts), *(a.file for a in corpus.archives))
    for said in (*facts, *files, *corpus.clip_folders, corpus.bucket_prefix):
        assert said in section


def test_the_page_names_the_sources_without_opinions() -> None:
    assert all(f"`{name}`" in page() for name in [*EXTERNAL_SHARDS, *ENCODE_GRID_SOURCES])


def test_the_table_has_a_row_for_every_corpus() -> None:
    lines = corpus_table().splitlines()
    assert len(lines) == 2 + len(CORPORA)
    assert all(f"`{name}`" in line for name, line in zip(CORPORA, lines[2:], strict=True))


def test_the_example_is_a_declaration_that_works(tmp_path: Path) -> None:
    path = tmp_path / "example.toml"
    path.write_text(EXAMPLE)
    assert read_declaration(path).name == "my-clips"


def test_a_corpus_without_a_published_spread_says_none(tmp_path: Path) -> None:
    path = tmp_path / "example.toml"
    path.write_text(EXAMPLE.replace('spread = "sd" ', 'spread = "none" '))
    assert read_declaration(path).spread is None


def test_only_what_stands_between_the_markers_changes() -> None:
    begin, end = BEGIN.format("corpora"), END.format("corpora")
    text = f"before\n{begin}\nold\n{end}\nafter\n"
    assert between_markers(text, "corpora", "new\n") == f"before\n{begin}\nnew\n{end}\nafter\n"
    assert between_markers(text, "settings", "new\n") == text
    assert between_markers("no markers", "corpora", "new") == "no markers"


def test_a_bar_in_a_cell_does_not_end_it() -> None:
    assert table(["a"], [["x|y"]]).splitlines()[2] == "| x\\|y |"
