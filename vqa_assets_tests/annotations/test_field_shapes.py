"""Every score file that was seen in the field, in its whole shape: its rows, scale, splits and contents."""

from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from vqa_assets.annotations.finding import find_annotation_files
from vqa_assets.annotations.reading import Annotations, read_annotations
from vqa_assets.corpora import CORPORA, EXTERNAL_SHARDS
from vqa_assets.corpora.scales import detect_scale
from vqa_assets.errors import AnnotationError
from vqa_assets.ingest.settings import resolve
from vqa_assets_tests.shared.field_shapes import ACR, SHAPES, FieldShape, scores

BY_NAME = {f"{shape.declaration.name}: {shape.what}": shape for shape in SHAPES}
MANY_ROWS = 10_000


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Annotations]:
    """A shape's annotation, as an ordinary run would read it; each is read once."""
    return cache(lambda name: read_shape(BY_NAME[name], tmp_path_factory.mktemp("shape")))


def read_shape(shape: FieldShape, folder: Path) -> Annotations:
    for name, content in shape.files().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    corpus = shape.declaration
    settings = resolve(corpus, {}, folder / "ingest.toml").values
    return read_annotations(corpus, settings, *find_annotation_files(corpus, folder, None))


def of_all_rows(name: str) -> object:
    """A shape's name; that of a very long file is read on request."""
    long = BY_NAME[name].rows > MANY_ROWS
    return pytest.param(name, marks=pytest.mark.takes_long("a score file of all its rows")) if long else name


@pytest.mark.parametrize("name", [of_all_rows(name) for name, shape in BY_NAME.items() if not shape.refused])
def test_a_file_as_it_was_seen_is_read_whole(name: str, read: Callable[[str], Annotations]) -> None:
    shape = BY_NAME[name]
    annotations = read(name)
    rows = annotations.rows
    assert len(rows) == shape.rows
    assert not annotations.bad, annotations.bad[:3]
    assert sum(row.repeats for row in rows) == shape.repeats
    assert len({row.src for row in rows}) == shape.rows - shape.repeats
    assert annotations.scale.name == shape.scale
    assert Counter(row.extra["split"] for row in rows if "split" in row.extra) == shape.splits
    assert Counter(row.extra["score_drop"] for row in rows if "score_drop" in row.extra) == shape.drops
    contents = [row.extra["content_id"] for row in rows if "content_id" in row.extra]
    assert len(contents) == (shape.rows if shape.contents else 0)
    assert len(set(contents)) == shape.contents


@pytest.mark.parametrize("name", [name for name, shape in BY_NAME.items() if shape.refused])
def test_a_file_that_cannot_be_used_says_what_it_is(name: str, read: Callable[[str], Annotations]) -> None:
    with pytest.raises(AnnotationError, match=BY_NAME[name].refused):
        read(name)


def test_no_part_of_an_official_split_shares_a_content_with_another(read: Callable[[str], Annotations]) -> None:
    rows = read("kvq: three parts").rows
    parts = {(row.extra["content_id"], row.extra["split"]) for row in rows}
    assert len(parts) == 600
    assert set(Counter(row.extra["content_id"] for row in rows).values()) == {7}


def test_scores_below_0_are_a_range_of_their_own_and_the_original_ones_are_not_mixed_in(
    read: Callable[[str], Annotations],
) -> None:
    rows = read("cvd2014: realigned, decimal commas").rows
    assert (min(row.mos for row in rows), max(row.mos for row in rows)) == (-6.5, 93.38)


def test_a_spread_that_may_be_an_sd_or_a_standard_error_is_none(read: Callable[[str], Annotations]) -> None:
    rows = read("beyond8bits: the published table").rows
    assert {row.sd for row in rows} == {None}
    assert {row.extra["beyond8bits_sos"] for row in rows} == {2.5}
    assert rows[0].url == "https://ugchdrmturk.s3.us-east-2.amazonaws.com/videos/" + "0" * 32 + ".mp4"


def test_clips_that_stand_side_by_side_have_their_scores_and_spreads(read: Callable[[str], Annotations]) -> None:
    rows = read("live-yt-hfr: its scores").rows
    assert (rows[0].src, rows[0].mos, rows[0].sd) == ("0Runner_crf_0_24fps.webm", 10.2, 5.0)
    assert (rows[1].mos, rows[1].sd) == (73.2, 16.9)
    assert rows[0].where == "line 2"


def test_the_names_that_lsvqs_test_lists_end_in_a_suffix_of_are_kept(read: Callable[[str], Annotations]) -> None:
    rows = read("lsvq: its test lists alone").rows
    assert sum(row.named.endswith((".mov", ".avi", ".flv", ".mp4")) for row in rows) == 8
    assert rows[0].src == "yfcc-batch2/Mont._Education_0.mov"


def test_names_of_an_older_release_are_only_like_those_on_disk() -> None:
    from vqa_assets.ingest.naming import LikeNames

    assert LikeNames(["A012.mp4", "A013.mp4"]).nearest("A012NEW.mp4") == "A012.mp4"


def test_an_objective_proxy_is_on_vmafs_scale() -> None:
    scales = EXTERNAL_SHARDS["netflix-public"].scales
    assert detect_scale(scores(79, 4.1, 99.8), scales, "netflix-public").name == "vmaf"


def test_every_corpus_has_a_shape_that_was_seen() -> None:
    assert {shape.declaration.name for shape in SHAPES} >= set(CORPORA)
    assert ACR in {shape.scale for shape in SHAPES}
