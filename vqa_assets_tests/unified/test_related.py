"""Related clips: the same upload in several corpora, found by ids in names, reported and never deleted."""

import json
from pathlib import Path

import pytest

from vqa_assets.unified.related import GROUPS_SHOWN, find_related
from vqa_assets_tests.shared.unified_corpora import SOURCES, clip, unify

ID = "dQw4w9WgXcQ"


def ids(root: Path, *names: tuple[str, str]) -> list[str]:
    """The ids that link clips given as (corpus, src)."""
    rows = [clip(src, 3.0, corpus) for corpus, src in names]
    return [group.id for group in find_related(unify(root, rows).parquet, SOURCES).groups]


@pytest.mark.parametrize(
    ("one", "other", "linked"),
    [
        ("2999049224.mp4", "orig_2999049224_540_5s.mp4", True),
        ("2999049224_original_centercrop_960x540_8s.mp4", "k150ka/2999049224.mp4", True),
        ("123456.mp4", "123456.mp4", True),
        ("12345.mp4", "12345.mp4", False),
        ("2999049224.mp4", "29990492240.mp4", False),
        ("3425371223/a.mp4", "3425371223/b.mp4", False),
    ],
)
def test_flickr_ids_of_six_digits_and_more_link_the_konvids(
    one: str, other: str, linked: bool, root_path: Path
) -> None:
    assert bool(ids(root_path, ("konvid-1k", one), ("konvid-150k", other))) is linked


@pytest.mark.parametrize(
    ("name", "linked"),
    [
        (f"ia-batch1/youtube-{ID}.mp4", True),
        (f"ia-batch1/youtube-{ID}_12_20.mp4", True),
        (f"ia-batch1/YouTube_{ID}", True),
        (f"youtube/{ID}/part1", True),
        (f"ia-batch2/Some title [{ID}].mp4", True),
        (f"ia-batch3/{ID}.mp4", True),
        (f"{ID}_0_60", True),
        (f"{ID.lower()}.mp4", False),
        (f"x{ID}.mp4", False),
        ("yfcc-batch1/747", False),
    ],
)
def test_youtube_ids_in_lsvqs_names_are_found_where_they_are_marked_or_look_like_one(
    name: str, linked: bool, root_path: Path
) -> None:
    assert ids(root_path, ("lsvq", name), ("youtube-ugc", f"{ID}.mp4")) == ([f"youtube:{ID}"] if linked else [])


def test_words_of_eleven_letters_and_youtube_ugcs_own_names_are_no_ids(root_path: Path) -> None:
    names = ["Crashcourse.mp4", "Animation_1080P-05f8.mp4", "LiveMusic_360P-1d94.mp4", "Gaming_1080P-0a5b.mp4"]
    assert ids(root_path, *(("lsvq", name) for name in names), *(("youtube-ugc", name) for name in names)) == []


def test_a_number_links_no_corpus_whose_names_hold_no_such_ids(root_path: Path) -> None:
    assert ids(root_path, ("konvid-1k", "2999049224.mp4"), ("live-vqc", "2999049224.mp4")) == []


def test_several_clips_of_one_upload_in_one_corpus_alone_are_no_group(root_path: Path) -> None:
    assert ids(root_path, ("konvid-150k", "orig_2999049224_540_5s.mp4"), ("konvid-150k", "b_2999049224.mp4")) == []


def test_groups_are_counted_told_and_written_whole_and_no_row_is_lost(root_path: Path) -> None:
    uploads = [f"{1_000_000 + i}" for i in range(GROUPS_SHOWN + 5)]
    small = [clip(f"{upload}.mp4", 3.0, "konvid-1k") for upload in uploads]
    large = [clip(f"orig_{u}_540_5s.mp4", 3.0, "konvid-150k") for u in uploads]
    large.append(clip("second_1000000.mp4", 3.0, "konvid-150k"))
    done = unify(root_path, small, large)
    assert done.report.rows_out == 51
    counts = [{"ids": "flickr", "corpora": "konvid-150k, konvid-1k", "groups": 25, "clips": 51}]
    told = done.manifest["related_clips"]
    assert told["counts"] == counts
    assert len(told["first_groups"]) == GROUPS_SHOWN
    assert told["first_groups"][0] == {
        "id": "flickr:1000000",
        "clips": 3,
        "corpora": "konvid-150k (2), konvid-1k (1)",
        "src": "orig_1000000_540_5s.mp4, second_1000000.mp4, 1000000.mp4",
    }
    written = json.loads((root_path / "aggregated/related_clips.json").read_text())
    assert (written["schema"], written["counts"], len(written["groups"])) == ("related-clips-v1", counts, 25)
    shas = {row["src_sha256"] for row in (*small, *large)}
    assert {one["src_sha256"] for group in written["groups"] for one in group["clips"]} == shas
    assert done.manifest["run_provenance"]["outputs"]["related_clips"]["path"] == "aggregated/related_clips.json"


def test_without_related_clips_the_sidecar_says_none(root_path: Path) -> None:
    unify(root_path, [clip("a", 3.0, "konvid-1k")])
    written = json.loads((root_path / "aggregated/related_clips.json").read_text())
    assert written == {"schema": "related-clips-v1", "counts": [], "groups": []}
