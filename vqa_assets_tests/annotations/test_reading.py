"""Score files in the shapes they really come in: what is read, what is refused, and how that is told."""

import bz2
import gzip
import hashlib
import io
import lzma
import math
import os
import re
import tarfile
import zipfile

import numpy as np
import openpyxl
import polars as pl
import pytest
import scipy.io

from vqa_assets.annotations.finding import find_annotation_files
from vqa_assets.annotations.reading import first_lines, read_annotations
from vqa_assets.annotations.score_files import stop_reading
from vqa_assets.corpora import Spellings
from vqa_assets.corpora.konvid_150k import KONVID_150K
from vqa_assets.corpora.scales import ACR_1_5, CONTINUOUS_0_100
from vqa_assets.errors import AnnotationError, ScaleError
from vqa_assets.ingest.settings import resolve
from vqa_assets_tests.shared.layouts import matlab_7_3, workbook

LITTLE = KONVID_150K.but(
    name="little",
    title="Little",
    min_rows=1,
    lookalike="",
    own_spellings=Spellings(),
    parts=(),
    clip_folders=(),
)
"""A corpus that takes any number of rows."""
FLICKR = Spellings(clip=("flickr_id",))


def read(path, content, corpus=LITTLE, **settings):
    path = path / "manifest.csv" if path.is_dir() else path
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_annotations(corpus, resolve(corpus, settings, path.with_name("ingest.toml")).values, path)


def refused(path, content, corpus=LITTLE, **settings):
    with pytest.raises(AnnotationError) as caught:
        read(path, content, corpus, **settings)
    error = caught.value
    assert error.found, error
    assert error.expected, error
    assert error.next_step, error
    assert corpus.name in error.what
    return error


def good_rows(count, first=0):
    return "".join(f"clip{i}.mp4,3.5\n" for i in range(first, first + count))


class TestFormats:
    """The same two labels, however the file is written."""

    @pytest.mark.parametrize(
        ("case", "content"),
        [
            ("plain", b"name,mos\na.mp4,3.5\nb.mp4,4\n"),
            ("byte order mark", b"\xef\xbb\xbfname,mos\na.mp4,3.5\nb.mp4,4\n"),
            ("CRLF", b"name,mos\r\na.mp4,3.5\r\nb.mp4,4\r\n"),
            ("CR alone", b"name,mos\ra.mp4,3.5\rb.mp4,4\r"),
            ("semicolons", b"name;mos\na.mp4;3.5\nb.mp4;4\n"),
            ("tabs", b"name\tmos\na.mp4\t3.5\nb.mp4\t4\n"),
            ("no final newline", b"name,mos\na.mp4,3.5\nb.mp4,4"),
            ("comma and space", b"name, mos\na.mp4, 3.5\nb.mp4, 4\n"),
            ("quoted numbers", b'"name","mos"\n"a.mp4","3.5"\n"b.mp4","4"\n'),
            ("blank lines", b"\n\nname,mos\n\na.mp4,3.5\n  \n,\nb.mp4,4\n\n"),
            ("header case", b"NAME,Mos\na.mp4,3.5\nb.mp4,4\n"),
            ("spaces round the header", b" name , mos \na.mp4,3.5\nb.mp4,4\n"),
            ("trailing separators", b"name,mos,\na.mp4,3.5,\nb.mp4,4,\n"),
            ("other columns", b"id,name,height,mos,mos_p1\n1,a.mp4,540,3.5,2\n2,b.mp4,540,4,1\n"),
            ("quoted commas", b'p1,name,mos\n"[1, 2]",a.mp4,3.5\n"[3, 4]",b.mp4,4\n'),
            ("names without suffix", b"name,mos\na,3.5\nb,4\n"),
            ("Excel's separator", b"sep=;\r\nname;mos\r\na.mp4;3,5\r\nb.mp4;4\r\n"),
            ("Excel's separator, quoted", b'"sep=,"\nname,mos\na.mp4,3.5\nb.mp4,4\n'),
            ("comments", b"# of 2019, v2\n\n% by 5 people, see 3\n// mos: 1, 5\nname,mos\na.mp4,3.5\nb.mp4,4\n"),
            ("comment and separator", b"\xef\xbb\xbf# note\nsep=\t\nname\tmos\na.mp4\t3.5\nb.mp4\t4\n"),
            ("bars", b"name | mos\na.mp4 | 3.5\nb.mp4 | 4\n"),
        ],
    )
    def test_every_way_of_writing_gives_the_same_rows(self, case, content, tmp_path):
        found = read(tmp_path, content)
        assert [(r.src, r.mos, r.sd, r.count) for r in found.usable] == [
            ("a.mp4", 3.5, None, 0),
            ("b.mp4", 4.0, None, 0),
        ], case
        assert not found.bad
        assert (found.scale, found.scale_from) == (ACR_1_5, "detected")
        assert found.sha256 == hashlib.sha256(content).hexdigest()

    def test_lines_keep_their_numbers_below_comments(self, tmp_path):
        found = read(tmp_path, "# one\nsep=;\n# two\nname;mos\na;3,5\nb;x\nc;4\n")
        assert [(row.line, row.src) for row in found.usable] == [(5, "a.mp4"), (7, "c.mp4")]
        assert [row.where for row in found.bad] == ["line 6"]

    def test_a_first_row_whose_name_begins_like_a_comment_is_a_row(self, tmp_path):
        corpus = LITTLE.but(headerless=(("name", "mos"),))
        for content in ("#a.mp4,3.5\nb.mp4,4\n", "#a.mp4 3.5\nb.mp4 4\n"):
            assert [row.src for row in read(tmp_path, content, corpus).usable] == ["#a.mp4", "b.mp4"]

    def test_a_quoted_comma_stays_in_its_value(self, tmp_path):
        found = read(tmp_path, 'name,mos\n"a, b.mp4",3.5\n')
        assert found.usable[0].src == "a, b.mp4"

    def test_all_columns_are_read_from_their_own_names(self, tmp_path):
        found = read(tmp_path, "n,sd,mos,url,name\n5,0.7,3.5,https://x/a,a\n")
        row = found.usable[0]
        assert (row.src, row.url, row.mos, row.sd, row.count) == ("a.mp4", "https://x/a", 3.5, 0.7, 5)
        assert found.columns == {"clip": ("name",), "url": ("url",), "mos": ("mos",), "sd": ("sd",), "count": ("n",)}

    @pytest.mark.parametrize("role", ["clip", "url", "mos", "sd", "count"])
    def test_every_general_spelling_is_understood(self, role, tmp_path):
        value = {"clip": "a.mp4", "url": "https://x/a", "mos": "3.5", "sd": "0.5", "count": "7"}
        for spelling in getattr(LITTLE.spellings, role):
            columns = {"clip": "name", "url": "url", "mos": "mos", "sd": "sd", "count": "n"} | {role: spelling.upper()}
            found = read(tmp_path, ",".join(columns.values()) + "\n" + ",".join(value.values()) + "\n")
            row = found.usable[0]
            assert (row.src, row.url, row.mos, row.sd, row.count) == ("a.mp4", "https://x/a", 3.5, 0.5, 7), spelling

    def test_the_first_spelling_that_is_not_empty_wins_row_by_row(self, tmp_path):
        corpus = LITTLE.but(own_spellings=Spellings(clip=("file_name", "flickr_id"), mos=("video_score",)))
        found = read(
            tmp_path,
            "flickr_id,name,file_name,mos,video_score\n"
            "111111,other,a.mp4,1.5,3.5\n"
            "222222,other,,1.5,\n"
            ",third,,1.5,2.5\n",
            corpus,
        )
        assert [(r.src, r.mos) for r in found.rows] == [("a.mp4", 3.5), ("222222.mp4", 1.5), ("third.mp4", 2.5)]

    def test_a_patch_score_is_not_taken_for_the_clips(self, tmp_path):
        assert "mos_p1" in refused(tmp_path, "name,mos_p1,MOSChunk00\na,3,3\n").found


class TestNames:
    """What a name may be, and what file it means."""

    @pytest.mark.parametrize(
        ("name", "src"),
        [
            ("a", "a.mp4"),
            ("a.mp4", "a.mp4"),
            ("a.MP4", "a.MP4"),
            ("a.webm", "a.webm"),
            ("Mont._Education_1", "Mont._Education_1.mp4"),
            ("v1.2", "v1.2.mp4"),
            ("yfcc-batch1/747", "yfcc-batch1/747.mp4"),
            ("a#b%20c", "a#b%20c.mp4"),
            ("Ünïcode", "Ünïcode.mp4"),
            ("a..b", "a..b.mp4"),
            ("...", "....mp4"),
        ],
    )
    def test_a_stem_with_dots_is_no_suffix_and_folders_stay(self, name, src, tmp_path):
        assert read(tmp_path, f"name,mos\n{name},3\n").usable[0].src == src

    def test_the_suffix_to_add_is_a_setting(self, tmp_path):
        assert read(tmp_path, "name,mos\na.1,3\n", clip_suffix=".mkv").usable[0].src == "a.1.mkv"

    def test_a_suffix_of_ones_own_is_not_doubled(self, tmp_path):
        corpus = LITTLE.but(also_starting=("{clip}_",))
        found = read(tmp_path, "name,mos\na,3\nb.wmv,3\nc.WMV,3\nd.mp4,3\n", corpus, clip_suffix=".wmv")
        assert [row.src for row in found.usable] == ["a.wmv", "b.wmv", "c.WMV", "d.mp4"]
        assert [row.also_starting for row in found.usable] == [("a_",), ("b_",), ("c_",), ("d_",)]

    def test_equal_basenames_in_two_folders_are_two_clips(self, tmp_path):
        found = read(tmp_path, "name,mos\nx/747,3\ny/747,4\n")
        assert [r.src for r in found.usable] == ["x/747.mp4", "y/747.mp4"]

    @pytest.mark.parametrize(
        "name", ["../a.mp4", "x/../../a.mp4", "x/../a", "/etc/a.mp4", "x\\a.mp4", "..\\a.mp4", "C:\\a.mp4", "a\0.mp4"]
    )
    def test_a_name_that_leaves_the_folder_is_a_bad_row(self, name, tmp_path):
        found = read(tmp_path, "name,mos\n" + good_rows(30) + f"{name},3\n")
        assert [(r.line, r.problem.partition(":")[0]) for r in found.bad] == [(32, "a name that leaves the folder")]
        assert len(found.usable) == 30

    def test_a_backslash_is_told_with_what_to_write(self, tmp_path):
        found = read(tmp_path, "name,mos\n" + good_rows(30) + "Video\\a.mp4,3\n")
        assert [r.problem for r in found.bad] == [
            "a name that leaves the folder: 'Video\\\\a.mp4' (folders are divided by /, not by a backslash)"
        ]

    @pytest.mark.parametrize(("name", "mos"), [("a", "x" * 9_000), ("../" + "y" * 9_000, "3")])
    def test_a_long_value_is_told_by_its_beginning(self, name, mos, tmp_path):
        found = read(tmp_path, "name,mos\n" + good_rows(30) + f"{name},{mos}\n")
        assert len(found.bad[0].problem) < 200

    def test_a_name_with_a_line_break_is_a_bad_row(self, tmp_path):
        found = read(tmp_path, "name,mos\n" + good_rows(30) + '"a\nb.mp4",3\n')
        assert [r.problem for r in found.bad] == ["a name with a line break: 'a\\nb.mp4'"]


class TestUrls:
    """Where a clip comes from."""

    @pytest.mark.parametrize("url", ["http://x/a.mp4", "https://x/a.mp4?sig=1", "HTTPS://x/a.mp4"])
    def test_http_and_https_are_taken(self, url, tmp_path):
        assert read(tmp_path, f"name,mos,url\na,3,{url}\n").usable[0].url == url

    @pytest.mark.parametrize(
        "url", ["ftp://x/a", "file:///etc/passwd", "s3://b/a", "x/a.mp4", "javascript:1", "http://[bad/a"]
    )
    def test_another_scheme_is_a_bad_row_and_never_the_end_of_the_run(self, url, tmp_path):
        found = read(
            tmp_path, "name,mos,url\n" + good_rows(30).replace("3.5", "3.5,https://x/a") + f"z,3,{url}\n", LITTLE
        )
        assert [r.src for r in found.bad] == ["z.mp4"]
        assert "neither http nor https" in found.bad[0].problem

    def test_no_url_is_invented_where_the_corpus_has_no_bucket(self, tmp_path):
        assert read(tmp_path, "name,mos\na,3\n").usable[0].url == ""

    def test_a_bucket_gives_the_address_of_a_clip_without_url_with_its_name_quoted(self, tmp_path):
        found = read(tmp_path, "name,mos,url\nx/a#1 b,3,\nc,3,https://own/c\n", bucket_prefix="https://bucket/v/")
        assert [r.url for r in found.usable] == ["https://bucket/v/x/a%231%20b.mp4", "https://own/c"]


class TestValues:
    """Scores, spreads, counts."""

    @pytest.mark.parametrize("text", ["NaN", "nan", "", "inf", "-inf", "n/a", "3,5", "3_0"])
    def test_a_score_that_is_no_number_is_a_bad_row(self, text, tmp_path):
        found = read(tmp_path, "name,mos\n" + good_rows(30) + f'bad,"{text}"\n')
        assert [(r.src, r.problem) for r in found.bad] == [("bad.mp4", f"no usable MOS: {text!r}")]

    @pytest.mark.parametrize("mos", ["0.94", "5.06", "80", "-1"])
    def test_a_score_outside_the_files_scale_is_a_bad_row_and_never_read_on_another(self, mos, tmp_path):
        found = read(tmp_path, "name,mos\n" + good_rows(120) + f"bad,{mos}\n")
        assert found.scale is ACR_1_5
        assert [r.problem for r in found.bad] == [f"MOS outside [1, 5]: {mos}"]

    @pytest.mark.parametrize("mos", ["0.95", "5.05", "1", "5"])
    def test_a_score_within_the_slack_is_kept_verbatim(self, mos, tmp_path):
        assert read(tmp_path, f"name,mos\na,3\nb,{mos}\n").usable[1].mos == float(mos)

    @pytest.mark.parametrize(
        ("sd", "count", "spread", "found"),
        [
            ("0.7", "5", "sd", (0.7, 5)),
            ("0", "5", "sd", (None, 5)),
            ("NaN", "5.0", "sd", (None, 5)),
            ("", "", "sd", (None, 0)),
            ("x", "x", "sd", (None, 0)),
            ("0.7", "-1", "sd", (0.7, 0)),
            ("0.7", "inf", "sd", (0.7, 0)),
            ("0.7", "1.234", "sd", (0.7, 0)),
            ("0.7", '"1,234"', "sd", (0.7, 0)),
            ("0.2", "25", "se", (1.0, 25)),
            ("0.2", "", "se", (None, 0)),
            ("0.7", "5", None, (None, 5)),
        ],
    )
    def test_spread_and_count_are_known_or_unknown_and_never_fail_a_row(self, sd, count, spread, found, tmp_path):
        row = read(tmp_path, f"name,mos,sd,n\na,3,{sd},{count}\n", LITTLE.but(spread=spread)).usable[0]
        assert (row.sd, row.count) == found

    def test_a_count_with_a_decimal_comma_is_none(self, tmp_path):
        assert read(tmp_path, "name;mos;n\na;3,5;1,234\n").usable[0].count == 0

    @pytest.mark.parametrize("nothing", ["NaN", "NA", "n/a", "null", "None", ""])
    def test_a_word_for_nothing_is_no_address_no_content_and_no_codec(self, nothing, tmp_path):
        corpus = LITTLE.but(own_spellings=Spellings(content=("scene",), codec=("codec",)))
        content = (
            f"name,mos,url,scene,codec\na,3,{nothing},{nothing},{nothing}\n{nothing or 'b'},3,https://x/b,s,h264\n"
        )
        first, second = read(tmp_path, content, corpus).usable
        assert (first.url, first.extra, first.codec) == ("", {}, "")
        assert (second.src, second.extra) == (f"{nothing or 'b'}.mp4", {"content_id": "s"})

    def test_the_setting_decides_the_scale_where_detection_should_not(self, tmp_path):
        corpus = LITTLE.but(scales=(ACR_1_5, CONTINUOUS_0_100))
        found = read(tmp_path, "name,mos\na,3\nb,4\n", corpus, mos_scale="0-100-continuous")
        assert (found.scale, found.scale_from) == (CONTINUOUS_0_100, "set")

    def test_the_file_decides_its_scale_and_a_low_score_follows_it(self, tmp_path):
        corpus = LITTLE.but(scales=(ACR_1_5, CONTINUOUS_0_100))
        others = "".join(f"b{i},{60 + i}\n" for i in range(9))
        found = read(tmp_path, f"name,mos\na,3.2\n{others}", corpus)
        assert found.scale is CONTINUOUS_0_100
        assert [r.mos for r in found.usable] == [3.2, *range(60, 69)]

    def test_scores_on_an_undeclared_scale_are_refused_by_corpus_and_file(self, tmp_path):
        error = refused(tmp_path, "name,mos\na,60\nb,80\n")
        assert str(error).startswith(f"little: {tmp_path / 'manifest.csv'}: 2 of 2 rows unusable")
        assert "line 2: MOS outside [1, 5]: 60" in error.found
        both = LITTLE.but(scales=(ACR_1_5, CONTINUOUS_0_100))
        with pytest.raises(ScaleError, match=r"^little: .*manifest\.csv: 2 scores \(quantiles 0% 160"):
            read(tmp_path, "name,mos\na,160\nb,180\n", both)


class TestRepeats:
    """One clip, one score."""

    @pytest.mark.parametrize("second", ["3.5", "3.500001", "3.50"])
    def test_a_name_with_an_equal_score_is_kept_once(self, second, tmp_path):
        found = read(tmp_path, f"name,mos\na,3.5\nb,4\na.mp4,{second}\n")
        assert [r.line for r in found.usable] == [2, 3]
        assert [(r.line, r.repeats, r.problem) for r in found.rows] == [(2, False, ""), (3, False, ""), (4, True, "")]

    def test_the_row_that_is_kept_has_the_address_that_any_of_them_has(self, tmp_path):
        found = read(tmp_path, "name,url,mos\na,,3.5\nb,http://x/b,4\na.mp4,http://x/a,3.5\na,http://y/a,3.5\n")
        assert [(r.src, r.url) for r in found.usable] == [("a.mp4", "http://x/a"), ("b.mp4", "http://x/b")]

    def test_all_rows_of_a_name_with_two_scores_are_rejected_by_name(self, tmp_path):
        found = read(tmp_path, "name,mos\na,3.5\n" + good_rows(60) + "a,3.6\na,3.5\n")
        assert [r.line for r in found.bad] == [2, 63, 64]
        assert {r.problem for r in found.bad} == {"conflicting scores: a.mp4 has [3.5, 3.6]"}
        assert all(r.src != "a.mp4" for r in found.usable)

    def test_many_scores_of_one_name_are_told_by_the_first_and_their_number(self, tmp_path):
        found = read(tmp_path, "name,mos\n" + good_rows(160) + "".join(f"a,{1 + i / 10}\n" for i in range(8)))
        assert {r.problem for r in found.bad} == {"conflicting scores: a.mp4 has [1.0, 1.1, 1.2, 1.3, 1.4] and 3 more"}
        assert len({id(r.problem) for r in found.bad}) == 1

    def test_a_bad_row_does_not_spoil_a_good_one_of_the_same_name(self, tmp_path):
        found = read(tmp_path, "name,mos\n" + good_rows(30) + "clip0,NaN\n")
        assert found.usable[0].src == "clip0.mp4"
        assert [r.line for r in found.bad] == [32]


class TestBadRows:
    """How many bad rows a file may have."""

    def test_five_percent_may_be_bad(self, tmp_path):
        found = read(tmp_path, "name,mos\n" + good_rows(95) + "x,\n" * 5)
        assert (len(found.usable), len(found.bad)) == (95, 5)

    def test_more_refuse_the_file_with_the_first_offending_lines(self, tmp_path):
        error = refused(tmp_path, "name,mos\n" + good_rows(94) + "x,?\n,3\n" + "../y,3\n" * 4)
        assert error.found == (
            "6 of 100 rows unusable (line 96: no usable MOS: '?'; line 97: no clip name; "
            "line 98: a name that leaves the folder: '../y.mp4'; line 99: a name that leaves the folder: '../y.mp4'; "
            "line 100: a name that leaves the folder: '../y.mp4'; and 1 more)"
        )
        assert error.expected == "at most 5 bad rows and at least one usable"

    @pytest.mark.parametrize(
        ("rows", "bad", "limit", "accepted"),
        [
            (99, 5, {}, True),
            (99, 6, {}, False),
            (9, 4, {}, True),
            (9, 5, {}, False),
            (10, 5, {}, True),
            (3, 2, {}, False),
            (200, 10, {}, True),
            (200, 11, {}, False),
            (200, 40, {"bad_rows_limit": 0.2}, True),
            (200, 41, {"bad_rows_limit": 0.2}, False),
            (60, 30, {"bad_rows_limit": 0.9}, True),
            (60, 31, {"bad_rows_limit": 0.9}, False),
        ],
    )
    def test_a_file_may_have_a_share_of_bad_rows_and_a_small_one_five(self, rows, bad, limit, accepted, tmp_path):
        text = "name,mos\n" + good_rows(rows - bad) + "".join(f"x{i},?\n" for i in range(bad))
        if accepted:
            assert len(read(tmp_path, text, **limit).bad) == bad
        else:
            assert refused(tmp_path, text, **limit).found.startswith(f"{bad} of {rows} rows unusable")

    @pytest.mark.parametrize("settings", [{}, {"mos_scale": "1-5-acr"}])
    def test_a_file_without_one_usable_row_is_refused_with_its_lines(self, settings, tmp_path):
        error = refused(tmp_path, "name,mos\na,NaN\nb,\n", **settings)
        assert error.found == "2 of 2 rows unusable (line 2: no usable MOS: 'NaN'; line 3: no usable MOS: '')"

    def test_reasons_are_counted(self, tmp_path):
        found = read(tmp_path, "name,mos\n" + good_rows(196) + "x,\ny,\n,3\nz,9\n")
        assert found.problems() == {"no usable MOS": 2, "no clip name": 1, "MOS outside [1, 5]": 1}

    def test_first_lines_tells_nothing_of_nothing(self):
        assert first_lines([]) == ""

    def test_the_usable_labels_alone_are_described(self, tmp_path):
        found = read(tmp_path, "name,mos,sd,n\n" + "a,2,0.5,5\nb,4,,\n" * 20 + "c,NaN,1,1\n").statistics()
        assert (found.clips, found.mos_mean, found.share_unknown_sd) == (2, 3.0, 0.5)


class TestLineNumbers:
    """Lines are those an editor shows."""

    def test_a_record_is_told_by_its_first_line(self, tmp_path):
        content = 'name,mos,note\na,3,"one\ntwo\nthree"\n\nb,,x\n"c",?,"p\nq"\n' + good_rows(60)
        found = read(tmp_path, content)
        assert [r.line for r in found.rows[:4]] == [2, 6, 7, 9]
        assert [r.line for r in found.bad] == [6, 7]

    @pytest.mark.parametrize(("newline", "line"), [("\n", 4), ("\r\n", 4), ("\r", 4)])
    def test_every_kind_of_newline_counts_once(self, newline, line, tmp_path):
        found = read(tmp_path, newline.join(["name,mos", "a,3", "", "b,", *good_rows(30).split()]))
        assert [r.line for r in found.bad] == [line]

    @pytest.mark.parametrize("after", [3, 20_000])
    def test_a_quote_that_is_never_closed_is_refused_and_swallows_no_rows(self, after, tmp_path):
        error = refused(tmp_path, "name,mos\na,3\n" + '"b,3\n' + good_rows(after))
        assert error.found.startswith("line 3 cannot be read as CSV (")
        assert error.next_step == "correct that line"

    @pytest.mark.parametrize(
        ("opening", "closing", "told"),
        [
            ('"good', '"good', "line 6 cannot be read as CSV (',' expected after '\"')"),
            (
                '"good',
                'good"',
                "line 6 cannot be read as CSV (a stray quote: the value that it begins holds whole rows)",
            ),
        ],
    )
    @pytest.mark.parametrize("closed", [5, 44])
    def test_two_stray_quotes_are_told_and_swallow_no_rows(self, opening, closing, told, closed, tmp_path):
        comments = {4: opening, closed: closing}
        rows = "".join(f"v{i}.mp4,{comments.get(i, 'x')},{1 + i / 20}\n" for i in range(60))
        error = refused(tmp_path, "name,comment,mos\n" + rows)
        assert error.found == told
        assert error.expected == "every quote closed"

    @pytest.mark.parametrize(
        "content",
        [
            'note,name,mos\n"one\ntwo, 2",a,3\n"three",b,4\n',
            'name,note,mos\na,"one, 1\ntwo, 2\n\nthree" ,3\nb,"5"" phone\nheld",4\n',
            'name,mos,note\na,3,"one, 2, 3\ntwo, and three, and four"\nb,4,x\n',
        ],
    )
    def test_a_comment_of_several_lines_is_one_value_wherever_it_stands(self, content, tmp_path):
        assert [(r.src, r.mos) for r in read(tmp_path, content).usable] == [("a.mp4", 3), ("b.mp4", 4)]

    def test_a_value_too_long_for_csv_is_told_as_that(self, tmp_path):
        assert "no value of more than" in refused(tmp_path, f"name,mos,note\na,3,{'x' * 200_000}\n").expected

    def test_an_inch_mark_inside_a_line_is_no_open_quote(self, tmp_path):
        assert read(tmp_path, 'name,mos,screen\na,3,5" phone\nb,4,x\n').usable[1].src == "b.mp4"


class TestWrongFiles:
    """Files that are not the corpus's annotation file."""

    @pytest.mark.parametrize("content", [b"", b"\n\n \n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n"])
    def test_an_empty_file_says_what_should_be_in_it_and_where_to_get_it(self, content, tmp_path):
        error = refused(tmp_path, content)
        assert error.found == "an empty file"
        assert error.expected == "a header and at least 1 rows"
        assert LITTLE.acquisition.where in error.next_step

    def test_a_header_alone_has_too_few_rows(self, tmp_path):
        error = refused(tmp_path, "name,mos\n")
        assert (error.found, error.expected) == ("0 rows", "at least 1")

    def test_a_git_lfs_pointer_is_called_one(self, tmp_path):
        error = refused(tmp_path, "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n")
        assert error.found == "a Git-LFS pointer"
        assert "git lfs pull" in error.next_step

    @pytest.mark.parametrize(
        "content", ["3.96 | 0.195959\n4 | 0.2\n", "3.96,0.195959\n4,0.2\n", "name,mos\n3.96,0.19\n4,0.2\n"]
    )
    def test_a_file_without_names_is_refused_as_such(self, content, tmp_path):
        for corpus in (LITTLE, LITTLE.but(headerless=(("name", "mos"),))):
            error = refused(tmp_path, content, corpus)
            assert error.found.startswith("no name of a clip but numbers where names should stand (3.96")

    def test_whole_numbers_are_names(self, tmp_path):
        found = read(tmp_path, "flickr_id,mos\n10008004183.0,3.5\n7,4\n", LITTLE.but(own_spellings=FLICKR))
        assert [row.src for row in found.usable] == ["10008004183.0.mp4", "7.mp4"]

    @pytest.mark.parametrize(
        ("content", "kind"),
        [
            (gzip.compress(b"name,mos\na,3\n", mtime=0), "a gzip file"),
            (bz2.compress(b"name,mos\na,3\n"), "a bzip2 file"),
            (lzma.compress(b"name,mos\na,3\n"), "an xz file"),
            (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "an old Excel workbook (.xls)"),
            (b"%PDF-1.7\n%\xe2\xe3\n", "a PDF document"),
            (b"\x00\x00\x00\x18ftypisom", "a video (MP4)"),
            (b"{\\rtf1 a,3}", "a rich text document (.rtf)"),
        ],
    )
    def test_binary_files_are_told_by_what_they_are(self, content, kind, tmp_path):
        error = refused(tmp_path, content)
        assert error.found == kind
        assert error.expected == "a CSV, TSV, JSON, XLSX or MATLAB file"

    def test_parquet_tables_and_archives_are_told_by_what_they_are(self, tmp_path):
        pl.DataFrame({"name": ["a"], "mos": [3.0]}).write_parquet(tmp_path / "t.parquet")
        assert refused(tmp_path, (tmp_path / "t.parquet").read_bytes()).found == "a Parquet table"
        np.savez(tmp_path / "t.npz", mos=np.ones(3))
        assert refused(tmp_path, (tmp_path / "t.npz").read_bytes()).found == "a ZIP archive of 1 files (mos.npy)"
        np.save(tmp_path / "t.npy", np.ones(3))
        assert refused(tmp_path, (tmp_path / "t.npy").read_bytes()).found == "a NumPy array"
        with zipfile.ZipFile(tmp_path / "t.ods", "w") as sheet:
            sheet.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
            sheet.writestr("content.xml", "<office:document-content/>")
        assert refused(tmp_path, (tmp_path / "t.ods").read_bytes()).found == "an OpenDocument spreadsheet (.ods)"
        with tarfile.open(tmp_path / "t.tar", "w") as archive:
            archive.add(tmp_path / "t.npy", "t.npy")
        assert refused(tmp_path, (tmp_path / "t.tar").read_bytes()).found == "a tar archive"

    @pytest.mark.parametrize(
        "content",
        [
            "name,mos\n".encode("utf-16"),
            b"PK\x03\x04\x14\x00\x06\x00\x08\x00\xff\xfe",
            "name,mos\nécran,3\n".encode("latin-1"),
        ],
    )
    def test_bytes_that_are_no_text_are_told(self, content, tmp_path):
        assert "no UTF-8 text" in refused(tmp_path, content).found

    @pytest.mark.parametrize("content", [b"\x80\x04\x95\0\0\0\0\0\0\0\0}\x94.", bytes(range(256)) * 9])
    def test_a_binary_file_that_nobody_knows_is_not_asked_to_be_saved_as_text(self, content, tmp_path):
        error = refused(tmp_path, content)
        assert (error.found, error.next_step) == ("a binary file, no text", "save it as CSV or .xlsx")

    @pytest.mark.parametrize(
        ("content", "role"),
        [
            ("name,score\na,3\n", "mos"),
            ("mos,frames\n3,9\n", "clip"),
            ("a.mp4,3.5\nb.mp4,4\n", "clip"),
            ("name,dmos\na,3\n", "mos"),
        ],
    )
    def test_wrong_columns_are_named_beside_the_right_ones(self, content, role, tmp_path):
        error = refused(tmp_path, content)
        assert error.found == "columns " + ", ".join(content.partition("\n")[0].split(","))
        assert error.expected.startswith(f"a {role} column named one of {getattr(LITTLE.spellings, role)[0]}, ")
        assert "is this the score file of Little?" in error.next_step

    def test_to_declare_a_polarity_is_no_remedy_where_it_is_declared(self, tmp_path):
        for content in (b"name,avg_dmos\na,3\n", matlab(video_names=cells("a"), avg_dmos=np.array([1.5]))):
            assert "declare polarity" in refused(tmp_path, content).next_step
            assert "declare polarity" not in refused(tmp_path, content, LITTLE.but(polarity="dmos")).next_step

    def test_konvid_1ks_file_given_to_konvid_150k_names_konvid_1k(self, tmp_path):
        content = "flickr_id,file_name,mos\n" + "".join(f"{i},{i}.mp4,3\n" for i in range(1200))
        error = refused(tmp_path, content, KONVID_150K)
        assert str(error).startswith(
            f"konvid-150k: {tmp_path / 'manifest.csv'}: 1200 rows, expected at least 5000; is "
        )
        assert "KonViD-1k's attributes file has about 1 200 rows" in error.next_step
        assert "set min_rows" in error.next_step

    def test_too_many_rows_are_another_corpus_too(self, tmp_path):
        error = refused(tmp_path, "name,mos\n" + good_rows(11), max_manifest_rows=10)
        assert (error.found, error.expected) == ("11 rows", "at most 10")
        assert "set max_manifest_rows" in error.next_step

    @pytest.mark.parametrize(("rows", "taken"), [(9, False), (10, True), (12, True), (13, False)])
    def test_the_bounds_are_settings_and_count_bad_rows_too(self, rows, taken, tmp_path):
        content = "name,mos\n" + good_rows(rows)
        if taken:
            assert len(read(tmp_path, content, min_rows=10, max_manifest_rows=12).rows) == rows
        else:
            refused(tmp_path, content, min_rows=10, max_manifest_rows=12)

    def test_the_cap_does_not_hide_a_wrong_corpus(self, tmp_path):
        refused(tmp_path, "name,mos\n" + good_rows(20), KONVID_150K, max_rows=5)


class TestWorkbooks:
    """.xlsx files that a person or a program has damaged."""

    ROWS = (["name", "mos"], ["a", 3], ["b", 4])

    @staticmethod
    def saved(book):
        out = io.BytesIO()
        book.save(out)
        return out.getvalue()

    @staticmethod
    def changed(content, member, change):
        """The zip with one member changed; None leaves it out."""
        out = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(content)) as before, zipfile.ZipFile(out, "w") as after:
            for name in before.namelist():
                found = before.read(name)
                if (now := change(found) if name == member else found) is not None:
                    after.writestr(name, now)
        return out.getvalue()

    @pytest.mark.parametrize("cell", ["XFD1", "XFD2", "XFD2000", "XFD1048576"])
    def test_a_cell_far_beside_the_table_is_no_part_of_it(self, cell, tmp_path):
        book = openpyxl.load_workbook(io.BytesIO(workbook(MOS=self.ROWS)))
        book["MOS"][cell] = "x"
        found = read(tmp_path, self.saved(book))
        assert [(row.line, row.src, row.mos) for row in found.rows] == [(2, "a.mp4", 3), (3, "b.mp4", 4)]

    def test_a_cell_far_below_a_wide_table_is_told(self, tmp_path):
        book = openpyxl.load_workbook(io.BytesIO(workbook(MOS=[[f"c{i}" for i in range(100)], ["a"]])))
        book["MOS"]["A1048576"] = "x"
        assert "more than 50000000 cells" in refused(tmp_path, self.saved(book)).found

    @pytest.mark.parametrize(
        "change",
        [
            lambda xml: None,
            lambda xml: xml.replace(b'r="A1"', b'r="A"'),
            lambda xml: xml.replace(b"<v>", b"<w>"),
            lambda xml: xml[:200],
        ],
    )
    def test_a_sheet_that_is_missing_or_damaged_is_told(self, change, tmp_path):
        content = self.changed(workbook(MOS=self.ROWS), "xl/worksheets/sheet1.xml", change)
        assert "no .xlsx workbook that can be read" in refused(tmp_path, content).found

    def test_a_workbook_of_charts_is_told(self, tmp_path):
        book = openpyxl.Workbook()
        book.create_chartsheet("chart")
        assert "no .xlsx workbook that can be read" in refused(tmp_path, self.saved(book)).found

    def test_an_unknown_compression_is_told(self, tmp_path):
        content = re.sub(rb"(?s)(PK\x01\x02.{6})..", lambda entry: entry[1] + b"\x63\x00", workbook(MOS=self.ROWS))
        assert "no .xlsx workbook that can be read" in refused(tmp_path, content).found


def cells(*texts):
    """A column of cells, as MATLAB has texts."""
    column = np.empty((len(texts), 1), dtype=object)
    column[:, 0] = texts
    return column


def matlab(**variables):
    out = io.BytesIO()
    scipy.io.savemat(out, variables, do_compression=len(variables) % 2 == 0)
    return out.getvalue()


class TestMatlab:
    """MATLAB's files: names in cells of text, and scores."""

    @pytest.mark.parametrize("names", ["video_names", "video_list", "vidNames", "name", "filename"])
    @pytest.mark.parametrize("scores", ["scores", "mos", "MOS", "mos_score"])
    def test_names_and_scores_are_found_by_what_such_files_call_them(self, names, scores, tmp_path):
        score = np.array([[3.5], [4.0], [math.nan]])
        found = read(tmp_path, matlab(**{names: cells("a.mp4", "b", "c"), scores: score, "fs": 25.0}))
        assert [(row.line, row.src, row.mos) for row in found.usable] == [(1, "a.mp4", 3.5), (2, "b.mp4", 4.0)]
        assert [row.problem for row in found.bad] == ["no usable MOS: 'nan'"]

    def test_rows_columns_and_padded_texts_are_alike(self, tmp_path):
        for names in (cells("a", "bb").T, np.array(["a ", "bb"])):
            found = read(tmp_path, matlab(video_names=names, scores=np.array([[3, 4]], dtype=np.uint8)))
            assert [(row.src, row.mos) for row in found.usable] == [("a.mp4", 3.0), ("bb.mp4", 4.0)]

    def test_other_arrays_of_their_length_are_columns(self, tmp_path):
        found = read(
            tmp_path,
            matlab(
                video_list=cells("a", "b"),
                mos=np.array([3.0, 4.0]),
                SD=np.array([[0.5], [0.25]]),
                n=np.array([7, 9]),
                votes=np.ones((2, 9)),
                sd_mos=np.array([9.0]),
            ),
        )
        assert [(row.src, row.sd, row.count) for row in found.usable] == [("a.mp4", 0.5, 7), ("b.mp4", 0.25, 9)]

    def test_differences_are_read_where_they_are_declared_and_told_where_not(self, tmp_path):
        content = matlab(video_names=cells("a", "b"), DMOS=np.array([1.5, 2.5]), sharp=np.array([3.0, math.nan]))
        assert refused(tmp_path, content).next_step == 'declare polarity = "dmos" to read DMOS'
        corpus = LITTLE.but(polarity="dmos", scores={"sharp": {"column": "sharp", "polarity": "mos"}})
        found = read(tmp_path, content, corpus)
        assert [(row.mos, row.extra.get("mos_sharp")) for row in found.usable] == [(1.5, 3.0), (2.5, None)]
        assert (found.scale, found.scores[0].unknown) == (ACR_1_5.directed("dmos"), 1)

    def test_one_clip_is_a_file_too(self, tmp_path):
        assert read(tmp_path, matlab(video_names=cells("a"), scores=3.5)).usable[0].src == "a.mp4"

    @pytest.mark.parametrize(
        ("content", "found"),
        [
            (matlab(scores=np.ones((3, 16))), "a MATLAB file without names of clips (it holds scores 3×16)"),
            (matlab(video_names=cells("a", "b")), "a MATLAB file without scores (it holds video_names 2×1)"),
            (matlab(video_names=cells("a", "b"), scores=np.ones(3)), "2 names in video_names and 3 scores in scores"),
            (matlab(), "a MATLAB file without names of clips (it holds nothing)"),
            (b"MATLAB 7.3 MAT-file, Platform: GLNXA64" + bytes(600), "a MATLAB file that cannot be read ("),
            (matlab_7_3(video_names=["a", "b"], scores=[1.0, 2.0])[:900], "a MATLAB file that cannot be read ("),
            (matlab_7_3(video_names=["a", "b"]), "a MATLAB file without scores (it holds video_names 2×1)"),
            (matlab(video_names=cells("a", "b"), scores=np.ones(2))[:200], "a MATLAB file that cannot be read ("),
            (b"MATLAB 5.0 MAT-file" + b"\xff" * 300, "a MATLAB file that cannot be read ("),
        ],
    )
    def test_a_file_that_holds_neither_or_is_none_is_told(self, content, found, tmp_path):
        assert refused(tmp_path, content).found.startswith(found)

    @pytest.mark.parametrize("scores", [[3.5, 2.0], [3.0, 2.25]])
    def test_a_file_of_version_7_3_is_read_as_one_of_version_5(self, scores, tmp_path):
        found = read(tmp_path, matlab_7_3(video_names=["a", "b"], scores=scores, frames=[240.0, 300.0]))
        assert [(row.src, row.mos) for row in found.usable] == [("a.mp4", scores[0]), ("b.mp4", scores[1])]

    def test_one_clip_in_a_file_of_version_7_3_is_a_clip(self, tmp_path):
        assert read(tmp_path, matlab_7_3(video_names=["a"], scores=[3.5])).usable[0].src == "a.mp4"

    def test_without_the_extra_a_file_of_version_7_3_names_it(self, monkeypatch, tmp_path):
        # In the process that reads: a module that stands before the real one, and is none.
        (tmp_path / "mat73.py").write_text("raise ImportError\n")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
        stop_reading()
        error = refused(tmp_path, matlab_7_3(video_names=["a", "b"], scores=[1.0, 2.0]))
        stop_reading()
        assert error.found == "a MATLAB file of version 7.3"
        assert "vqa-assets[mat73]" in error.next_step


class TestFinding:
    """Which file it is."""

    @pytest.fixture
    def folder(self, tmp_path):
        (tmp_path / "manifest.csv").write_text("name,mos\na,3\n")
        return tmp_path

    def test_the_dropped_file_is_taken(self, folder):
        assert find_annotation_files(LITTLE, folder, None) == (folder / "manifest.csv",)

    def test_a_named_file_is_taken_before_it(self, folder):
        other = folder / "other.csv"
        other.write_text("name,mos\n")
        assert find_annotation_files(LITTLE, folder, other) == (other,)

    @pytest.mark.parametrize("kind", ["nothing", "a dangling link", "a folder"])
    def test_a_named_file_that_is_missing_is_an_error_though_another_stands_there(self, kind, folder):
        named = folder / "named.csv"
        if kind == "a dangling link":
            named.symlink_to(folder / "gone.csv")
        if kind == "a folder":
            named.mkdir()
        with pytest.raises(AnnotationError) as caught:
            find_annotation_files(LITTLE, folder, named)
        assert str(caught.value).startswith(f"little: manifest_csv {named}: found {kind} there, expected ")
        assert "never replaced by another" in caught.value.next_step

    def test_near_misses_are_named_and_never_what_we_wrote_ourselves(self, tmp_path):
        written = (".download-progress.json", "little.manifest.json", "features_with_mos.audit.json", ".notes.json")
        for name in (*written, "scores.CSV", "Scores.xlsx", "~$Scores.xlsx", "features.parquet", "notes.md"):
            (tmp_path / name).touch()
        with pytest.raises(AnnotationError) as caught:
            find_annotation_files(LITTLE, tmp_path, None)
        there = "(there lie Scores.xlsx, scores.CSV, ~$Scores.xlsx (a lock file of Excel, where the table is open))"
        assert caught.value.found.endswith(there)

    @pytest.mark.parametrize("kind", ["no folder", "nothing", "a dangling link", "a folder"])
    def test_an_absent_file_says_what_to_drop_and_where_to_get_it(self, kind, tmp_path):
        folder = tmp_path / "little"
        if kind != "no folder":
            folder.mkdir()
        if kind == "a dangling link":
            (folder / "manifest.csv").symlink_to(tmp_path / "gone.csv")
        if kind == "a folder":
            (folder / "manifest.csv").mkdir()
        with pytest.raises(AnnotationError) as caught:
            find_annotation_files(LITTLE, folder, None)
        error = caught.value
        assert error.found == f"found {kind} at {folder / 'manifest.csv'}"
        assert error.expected == f"manifest.csv in {folder}"
        assert LITTLE.acquisition.steps in error.next_step
        assert LITTLE.acquisition.where in error.next_step
