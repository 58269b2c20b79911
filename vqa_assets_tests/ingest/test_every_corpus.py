"""The contract that every corpus keeps, from an annotation file in any of its shapes to its rows."""

import csv
import io
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from vqa_assets.corpora import CORPORA, Corpus
from vqa_assets.corpora.raw_video import RawVideo
from vqa_assets.errors import AnnotationError, ScaleError
from vqa_assets.ingest.run import Ingested
from vqa_assets.provenance import file_record
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.fakes import FakeDownloader, SmallCorpus
from vqa_assets_tests.shared.layouts import CHUG_HEADER, LAYOUTS, Layout, workbook

EVERY = pytest.mark.parametrize("corpus", CORPORA.values(), ids=list(CORPORA))
HEADER = ("name", "url", "mos", "sd", "n")
RAW = {"raw_video": {"width": 16, "height": 16, "framerate": 25.0}}
RAW_FRAME = 16 * 16 * 3 // 2


@pytest.fixture
def at(root_path: Path) -> Any:
    return lambda corpus: SmallCorpus(
        DataRoot(root_path), corpus=CORPORA[corpus] if isinstance(corpus, str) else corpus
    )


def score(corpus: Corpus, i: int) -> float:
    """The i-th score, on the corpus's last scale."""
    scale = corpus.scales[-1]
    return round(scale.low + (scale.high - scale.low) * (0.5 + (i % 50) / 100), 3)


def table(rows: list[tuple[object, ...]], **dialect: Any) -> str:
    out = io.StringIO()
    csv.writer(out, **{"lineterminator": "\n", **dialect}).writerows([HEADER, *rows])
    return out.getvalue()


def content_of(i: int) -> bytes:
    """A clip that nobody else has; whole frames where it is raw."""
    return i.to_bytes(RAW_FRAME * 2, "big")


def annotation_place(corpus: Corpus) -> str:
    return corpus.acquisition.file


def ingest(corpus: SmallCorpus, **settings: Any) -> Ingested:
    return corpus.ingest(**(RAW if corpus.corpus.raw_video else {}), **settings)


class TestLayouts:
    """Each corpus in each of its own shapes."""

    @pytest.mark.parametrize("layout", LAYOUTS, ids=lambda x: f"{x.corpus}: {x.name}")
    def test_it_becomes_the_rows_it_means(self, layout: Layout, at: Any) -> None:
        corpus = at(layout.corpus)
        for name, content in layout.files.items():
            corpus.drop(name, content)
        for i, name in enumerate(layout.clips):
            corpus.drop(name, (b"%d" % i) * (64 * 48 * 3))
        report = corpus.ingest(**layout.settings).report
        rows = corpus.rows()
        assert [{key: row[key] for key in expected} for row, expected in zip(rows, layout.rows, strict=True)] == [
            pytest.approx(expected) if "mos" in expected else expected for expected in layout.rows
        ]
        assert {row["corpus"] for row in rows} == {layout.corpus}
        assert {row["corpus_version"] for row in rows} == {CORPORA[layout.corpus].version}
        lost = report.skipped_missing + report.skipped_download + report.skipped_bad_row
        assert lost + layout.duplicates == report.rows_in - len(rows)
        assert report.duplicate_labels == layout.duplicates
        assert corpus.ingest(**layout.settings).report.unchanged == len(rows)

    def test_every_corpus_has_a_layout(self) -> None:
        assert {layout.corpus for layout in LAYOUTS} == set(CORPORA)


class TestDialects:
    """The general columns, in every way of writing, for every corpus."""

    @EVERY
    @pytest.mark.parametrize("dialect", ["plain", "tabs", "semicolons", "BOM, CRLF, no final newline", "JSON", "XLSX"])
    def test_one_meaning(self, corpus: Corpus, dialect: str, at: Any) -> None:
        small = at(corpus)
        rows = [(f"clip{i}{corpus.clip_suffix}", "", score(corpus, i), "", 7) for i in range(3)]
        written: dict[str, str | bytes] = {
            "plain": table(rows),
            "tabs": table(rows, delimiter="\t"),
            "semicolons": table(rows, delimiter=";"),
            "BOM, CRLF, no final newline": "\ufeff" + table(rows, lineterminator="\r\n").rstrip(),
            "JSON": json.dumps([dict(zip(HEADER, row, strict=True)) for row in rows]),
            "XLSX": workbook(scores=[list(HEADER), *(list(row) for row in rows)]),
        }
        small.drop(annotation_place(corpus), written[dialect])
        for i, row in enumerate(rows):
            small.stage(str(row[0]), content_of(i))
        ingest(small)
        native = "mos_raw_0_100" if corpus.stored_scale else "mos"
        assert [(r["src"], r[native], r["n_ratings"]) for r in small.rows()] == [(r[0], r[2], 7) for r in rows]
        stored = corpus.stored_scale or corpus.scales[-1]
        assert {r["mos_scale"] for r in small.rows()} == {stored.name}

    @EVERY
    def test_ninety_five_percent_must_be_usable(self, corpus: Corpus, at: Any) -> None:
        small = at(corpus)
        rows = [(f"c{i}", "", score(corpus, i), "", "") for i in range(94)] + [
            (f"b{i}", "", "", "", "") for i in range(6)
        ]
        small.drop(annotation_place(corpus), table(rows))
        with pytest.raises(AnnotationError, match=r"6 of 100 rows unusable \(line 96: no usable MOS: ''; line 97"):
            ingest(small)


class TestNames:
    """Whatever a clip may be called."""

    GOOD = (
        "a#b",
        "a%20b",
        'it\'s "5"',
        "two words",
        "Ünïcode-ツ",
        "-leading",
        "a..b",
        "Mont._Education_1",
        "x/1",
        "y/1",
    )
    LEAVING = ("../out", "/etc/out", "x/../../out", "x\\out")

    @EVERY
    def test_good_ones_are_kept_and_leaving_ones_are_bad_rows(self, corpus: Corpus, at: Any) -> None:
        small = at(corpus)
        longest = "l" * (255 - len(corpus.clip_suffix))
        names = [*self.GOOD, longest, *(f"filler{i}" for i in range(90))]
        rows = [(name, "", score(corpus, i), "", "") for i, name in enumerate([*names, *self.LEAVING])]
        small.drop(annotation_place(corpus), table(rows))
        for i, name in enumerate(names):
            small.stage(name + corpus.clip_suffix, content_of(i))
        report = ingest(small, full=True).report
        assert [row["src"] for row in small.rows()] == [name + corpus.clip_suffix for name in names]
        assert report.skipped_bad_row == len(self.LEAVING)
        assert {x.reason.partition(":")[0] for x in report.losses} == {"a name that leaves the folder"}
        assert not list(small.root.path.rglob("out*"))

    @pytest.mark.parametrize("corpus", ["youtube-ugc", "chug"])
    def test_a_bucket_is_asked_for_the_quoted_name(self, corpus: str, at: Any) -> None:
        small = at(corpus)
        longest = "l" * 251
        prefix = small.corpus.bucket_prefix
        small.downloader = FakeDownloader(
            {f"{prefix}a%231%20%25b.mp4": b"a", f"{prefix}x/%C3%BC.mp4": b"u", f"{prefix}{longest}.mp4": b"l"}
        )
        names = ["a#1 %b", "x/ü", longest]
        small.drop("manifest.csv", table([(name, "", score(small.corpus, i), "", "") for i, name in enumerate(names)]))
        small.ingest()
        assert [row["src"] for row in small.rows()] == [f"{name}.mp4" for name in names]
        assert not list(small.folder.rglob("*.part"))

    def test_a_name_that_no_file_can_have_costs_its_clip_only(self, at: Any) -> None:
        small = at("chug")
        prefix, longest = small.corpus.bucket_prefix, "n" * 300
        small.downloader = FakeDownloader({f"{prefix}a.mp4": b"a", f"{prefix}{longest}.mp4": b"n"})
        small.drop("manifest.csv", table([(longest, "", 50, "", ""), ("a", "", 60, "", "")]))
        report = small.ingest().report
        assert (report.written, report.skipped_download) == (1, 1)
        assert "no file can have this name" in report.losses[0].reason
        assert not small.downloader.fetched[f"{prefix}{longest}.mp4"]

    def test_a_name_on_disk_that_another_row_has_is_not_taken(self, at: Any) -> None:
        small = at("konvid-1k")
        small.drop("manifest.csv", "flickr_id,file_name,mos\n1,2.mp4,3\n2,other.mp4,4\n")
        small.drop("videos/2.mp4", b"two")
        small.ingest()
        assert [(row["src"], row["mos"]) for row in small.rows()] == [("2.mp4", 3.0)]

    def test_two_clips_that_could_be_meant_are_named_and_neither_is_taken(self, at: Any, caplog: Any) -> None:
        small = at("youtube-ugc")
        small.drop("manifest.csv", "vid,mos\nv,3.5\n")
        small.stage("v_crf_10.mp4", b"1")
        small.stage("v_crf_20.mp4", b"2")
        assert small.ingest().report.skipped_download == 1
        assert "v.mp4: 2 clips could be meant" in caplog.text


class TestBounds:
    """Which file belongs to which corpus, and how much of it a run takes."""

    @EVERY
    def test_too_few_rows_are_another_corpus(self, corpus: Corpus, at: Any) -> None:
        small = at(corpus)
        small.drop(annotation_place(corpus), table([("a", "", score(corpus, 0), "", "")]))
        if corpus.min_rows == 1:
            assert ingest(small, min_rows=None).report.rows_in == 1
        else:
            with pytest.raises(
                AnnotationError, match=f"1 rows, expected at least {corpus.min_rows}; is this the right"
            ):
                small.ingest(min_rows=None)

    def test_konvid_1k_and_konvid_150k_name_each_other(self, at: Any) -> None:
        def refusal(corpus: str, rows: int) -> str:
            small = at(corpus)
            small.drop("manifest.csv", "file_name,mos\n" + "".join(f"{i},3\n" for i in range(rows)))
            with pytest.raises(AnnotationError) as caught:
                small.ingest(min_rows=None)
            return str(caught.value)

        assert "1200 rows, expected at least 5000; is this the right corpus? KonViD-1k's" in refusal(
            "konvid-150k", 1200
        )
        assert "5000 rows, expected at most 1500; is this the right corpus? KonViD-150k's" in refusal("konvid-1k", 5000)

    def test_a_second_drop_alone_may_be_smaller_than_the_corpus(self, at: Any) -> None:
        small = at("konvid-150k")
        rows = "".join(f"c{i},3,3\n" for i in range(1000))
        small.drop("k150kb_scores.csv", "video_name,mos,video_score\n" + rows)
        assert small.ingest(min_rows=None).report.rows_in == 1000
        small.drop("k150kb_scores.csv", "video_name,mos,video_score\n" + rows[: -len("c999,3,3\n")])
        with pytest.raises(AnnotationError, match="999 rows, expected at least 1000"):
            small.ingest(min_rows=None)
        small.drop("k150ka_scores.csv", "video_name,video_score\n" + "".join(f"d{i},3\n" for i in range(3000)))
        with pytest.raises(AnnotationError, match="3999 rows, expected at least 5000"):
            small.ingest(min_rows=None)

    @pytest.mark.parametrize("corpus", [c for c in CORPORA.values() if c.default_cap], ids=lambda c: c.name)
    def test_the_cap_bounds_a_run_unless_full(self, corpus: Corpus, at: Any) -> None:
        small = at(corpus)
        cap = corpus.default_cap or 0
        rows = [(f"c{i}", "", score(corpus, i), "", "") for i in range(cap + 2)]
        small.drop(annotation_place(corpus), table(rows))
        assert ingest(small).report.rows_in == cap
        assert ingest(small, full=True).report.rows_in == cap + 2

    @pytest.mark.parametrize("name", [c.name for c in CORPORA.values() if c.default_cap is None])
    def test_a_corpus_without_a_cap_takes_all(self, name: str, at: Any) -> None:
        small = at(name)
        count = min(1200, small.corpus.max_rows or 1200)
        rows = [(f"c{i}", "", score(small.corpus, i), "", "") for i in range(count)]
        small.drop(annotation_place(small.corpus), table(rows))
        assert small.ingest().report.rows_in == count


class TestScales:
    """A file decides its scale, and one corpus maps it."""

    @pytest.mark.parametrize("corpus", [c for c in CORPORA.values() if len(c.scales) == 1], ids=lambda c: c.name)
    def test_scores_of_another_scale_are_refused(self, corpus: Corpus, at: Any) -> None:
        small = at(corpus)
        scale = corpus.scales[0]
        wide = scale.high > 5
        wrong, least = 3.5 if wide else 70, scale.low + 0.3 * (scale.high - scale.low)
        small.drop(annotation_place(corpus), table([(f"c{i}", "", wrong, "", "") for i in range(60)]))
        # the only scale of a corpus is not chosen: one that is not used is doubted, rows off it are bad rows
        message = (
            f"none is above {least:g}, so they may be on another scale"
            if wide
            else r"60 of 60 rows unusable \(line 2: MOS"
        )
        with pytest.raises((ScaleError, AnnotationError), match=f"^{corpus.name}: .*{message}"):
            small.ingest()

    @pytest.mark.parametrize("raw", [-1, 100.2, 250])
    def test_a_raw_score_outside_its_scale_is_a_bad_row_and_never_clipped(self, raw: float, at: Any) -> None:
        small = at("chug")
        rows = [(f"c{i}", "", 50 + i / 4, "", "") for i in range(120)]
        small.drop("manifest.csv", table([("bad", "", raw, "", ""), *rows]))
        small.stage("bad.mp4", b"bad")
        small.stage("c0.mp4", b"c0")
        report = small.ingest(max_rows=2).report
        assert (report.skipped_bad_row, report.written) == (1, 1)
        assert report.losses[0].reason == f"MOS outside [0, 100]: {raw:g}"

    @pytest.mark.parametrize(("raw", "mos"), [(0, 1.0), (14.1, 1.564), (100, 5.0)])
    def test_chugs_map_is_one_plus_four_hundredths(self, raw: float, mos: float, at: Any) -> None:
        small = at("chug")
        small.drop("manifest.csv", table([("a", "", raw, "", ""), ("b", "", 60, "", "")]))
        small.stage("a.mp4", b"a")
        small.ingest()
        (row,) = small.rows()
        assert row["mos"] == pytest.approx(mos)
        assert row["mos_raw_0_100"] == raw

    def test_dmos_is_taken_only_where_no_mos_is_and_the_log_says_so(self, at: Any, caplog: Any) -> None:
        small = at("youtube-ugc")
        small.drop("manifest.csv", "vid,dmos,mos\na,1.5,3.5\nb,1.5,4\n")
        small.stage("a.mp4", b"a")
        small.ingest()
        assert small.rows()[0]["mos"] == 3.5
        assert "dmos" not in caplog.text
        small.drop("manifest.csv", "vid,dmos\na,1.5\n")
        small.ingest()
        assert "has no mos column; dmos is taken for it" in caplog.text

    @pytest.mark.parametrize(("column", "is_told"), [("type", True), ("content_name", False)])
    def test_a_file_without_the_column_of_contents_that_its_corpus_may_have_is_told(
        self, column: str, is_told: bool, at: Any, caplog: Any
    ) -> None:
        small = at("beyond8bits")
        small.drop("manifest.csv", f"video_id,mos,split,{column}\na,50,train,x\nb,60,test,y\n")
        small.stage("a.mp4", b"a")
        small.ingest()
        told = "neither columns nor names of 2 rows say what their clips show (a.mp4, b.mp4)"
        assert (told in caplog.text) == is_told

    def test_a_list_that_spells_names_in_another_way_is_refused(self, at: Any) -> None:
        small = at("lsvq")
        small.drop("manifest.csv", "name,mos\nyfcc/0,60\nyfcc/1,70\nyfcc/2,50\n")
        small.drop("LSVQ_whole_test.csv", "name,mos\n0,60\n1,70\n")
        with pytest.raises(AnnotationError) as caught:
            small.ingest()
        assert caught.value.found == (
            "rows such as yfcc/0.mp4, yfcc/1.mp4, yfcc/2.mp4, and on LSVQ_whole_test.csv clips such as 0.mp4, 1.mp4: "
            "no name in both"
        )
        assert caught.value.next_step.startswith("write the names of LSVQ_whole_test.csv as the rows have them")

    @pytest.mark.parametrize(
        ("listed", "level"),
        [("b/1,70\nb/2,60\n", "WARNING"), ("a/1,60\nb/1,70\n", "INFO"), ("a/1,60\nb/1,7\nb/2,6\n", "WARNING")],
    )
    def test_a_list_of_clips_that_the_rows_hardly_have_is_told(
        self, listed: str, level: str, at: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        small = at("lsvq")
        small.drop("manifest.csv", "name,mos\na/1,60\na/3,70\n")
        small.drop("LSVQ_whole_test.csv", "name,mos\n" + listed)
        small.stage("a/1.mp4", b"1")
        with caplog.at_level(logging.INFO, "vqa_assets"):
            small.ingest()
        named = int("a/1" in listed)
        assert small.rows()[0]["split"] == ("test" if named else "train")
        told = f"{named} of the {listed.count(chr(10))} clips on LSVQ_whole_test.csv are among its rows"
        assert [r.levelname for r in caplog.records if told in r.message] == [level]

    def test_a_column_that_disagrees_with_the_official_list_is_told_and_stays(
        self, at: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        small = at("lsvq")
        small.drop("manifest.csv", "name,mos,split\na,60,train\nb,70,test\n")
        small.drop("LSVQ_whole_test.csv", "name,mos\na,60\nb,70\n")
        small.stage("a.mp4", b"a")
        small.ingest()
        assert [row["split"] for row in small.rows()] == ["train"]
        assert "1 rows have another split in their own column than on the official lists (a.mp4)" in caplog.text

    @pytest.mark.parametrize(
        ("file", "column", "words", "splits", "apart"),
        [
            ("LSVQ_whole_train.csv", "split", ("train", "test", "val"), ["train", "test", "val"], "1 rows (b.mp4)"),
            ("LSVQ_whole_train.csv", "is_test", ("0", "1", "True"), ["train", "test", "test"], "2 rows (b.mp4, c.mp4)"),
            ("labels_test_1080p.csv", "is_test", ("no", "yes", "1.0"), ["train", "test", "test"], "1 rows (a.mp4)"),
            ("LSVQ_whole_test.csv", "is_test", ("", "1", "1"), ["test", "test", "test"], ""),
            ("labels_train_test.csv", "is_test", ("FALSE", "TRUE", "0"), ["train", "test", "train"], ""),
        ],
    )
    def test_a_column_counts_before_the_files_name_and_what_contradicts_is_counted(
        self,
        file: str,
        column: str,
        words: tuple[str, ...],
        splits: list[str],
        apart: str,
        at: Any,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        small = at("lsvq")
        rows = "".join(f"{name},{60 + i},{word}\n" for i, (name, word) in enumerate(zip("abc", words, strict=True)))
        small.drop(file, f"name,mos,{column}\n{rows}")
        for name in "abc":
            small.stage(f"{name}.mp4", name.encode())
        count, _, names = apart.partition(" rows ")
        for beside in ("nothing", "manifest.csv"):
            if beside == "manifest.csv":
                if file == "LSVQ_whole_train.csv":  # beside a whole file it marks no clip
                    continue
                small.drop("manifest.csv", "name,mos\na,60\nb,61\nc,62\n")
            caplog.clear()
            small.ingest()
            assert [row["split"] for row in small.rows()] == splits
            told = [r.getMessage() for r in caplog.records if "than the file's name says" in r.getMessage()]
            assert [f"{count} rows have another" in line and names in line for line in told] == [True] * bool(apart)

    def test_a_word_that_is_neither_true_nor_false_is_refused(self, at: Any) -> None:
        small = at("lsvq")
        small.drop("labels_train_test.csv", "name,mos,is_test\na,60,0\nb,70,maybe\n")
        with pytest.raises(AnnotationError, match=r"1 rows of another split \(line 3: maybe\)"):
            small.ingest()

    def test_the_authors_file_without_its_column_is_no_training_file(self, at: Any, caplog: Any) -> None:
        small = at("lsvq")
        small.drop("labels_train_test.csv", "name,mos\na,60\nb,70\n")
        small.stage("a.mp4", b"a")
        small.ingest()
        assert "split" not in small.rows()[0]
        small.drop("manifest.csv", "name,mos\na,60\nb,70\n")
        small.ingest()
        assert "split" not in small.rows()[0]
        assert "labels_train_test.csv has no column that says a split, and marks no clip" in caplog.text
        (small.folder / "manifest.csv").unlink()
        small.drop("labels_test_1080p.csv", "name,mos\nc,60\n")
        with pytest.raises(AnnotationError, match=r"2 rows of another split \(labels_train_test.csv line 2: \(empty"):
            small.ingest()

    def test_a_clip_of_two_parts_is_told_by_name(self, at: Any, caplog: pytest.LogCaptureFixture) -> None:
        small = at("lsvq")
        small.drop("LSVQ_whole_train.csv", "name,mos\na,60\nb,70\n")
        small.drop("LSVQ_whole_test.csv", "name,mos\nb,70\nc,50\n")
        small.stage("b.mp4", b"b")
        small.ingest()
        assert [row["split"] for row in small.rows()] == ["train"]
        assert "1 clips stand in two splits (b.mp4)" in caplog.text

    def test_a_split_of_another_word_is_refused(self, at: Any) -> None:
        small = at("lsvq")
        small.drop("manifest.csv", "name,mos,split\na,60,train\nb,70,Test\nc,50,\n")
        with pytest.raises(AnnotationError, match=r"2 rows of another split \(line 3: Test; line 4: \(empty\)\)"):
            small.ingest()


class TestLadder:
    """A corpus whose contents come at several rates."""

    def test_the_cap_brings_the_reference_rows_of_its_contents(self, at: Any) -> None:
        small = at("chug")
        lines = [
            "a_low,40,2,0,,,,,,30,one,1,1",
            "b_low,41,2,0,,,,,,30,two,1,1",
            "c_low,42,2,0,,,,,,30,three,1,1",
            "a_ref,80,2,1,,,,,,30,one,1,1",
            "c_ref,81,2,1,,,,,,30,three,1,1",
            "b_ref,82,2,1,,,,,,30,two,1,1",
        ]
        small.drop("manifest.csv", CHUG_HEADER + "\n".join(lines))
        for name in ("a_low", "b_low", "a_ref", "b_ref", "c_ref"):
            small.stage(f"{name}.mp4", name.encode())
        report = small.ingest(max_rows=2).report
        assert report.rows_in == 4
        assert [row["src"] for row in small.rows()] == ["a_low.mp4", "b_low.mp4", "a_ref.mp4", "b_ref.mp4"]


class TestRawVideo:
    """Clips that are frames and nothing else."""

    LINE = "HEVC,1,540p,2,45.3\n"
    CLIP = "HEVC_1_540p_2.yuv"

    def test_the_declared_geometry_is_2160p_at_30(self, at: Any) -> None:
        small = at("waterloo-ivc-4k")
        small.drop("manifest.csv", self.LINE)
        path = small.stage(self.CLIP, b"")
        with path.open("wb") as sparse:
            sparse.truncate(3840 * 2160 * 3 // 2 * 3)
        small.ingest()
        (row,) = small.rows()
        expected = {"width": 3840, "height": 2160, "framerate": 30.0, "duration_s": 0.1, "pix_fmt": "yuv420p"}
        assert {key: row[key] for key in expected} == expected
        assert row["encoder_upstream"] == "hevc"
        assert not small.prober.probed

    @pytest.mark.parametrize(
        ("name", "codec"),
        [(CLIP, "hevc"), ("encodes/AVS2_12_3840x2160_4", "avs2"), ("of_a_shape_alike.yuv", "rawvideo")],
    )
    def test_without_an_encoder_column_the_codec_is_in_the_name(self, at: Any, name: str, codec: str) -> None:
        small = at("waterloo-ivc-4k")
        small.drop("manifest.csv", f"name,mos\n{name},45.3\n")
        small.stage(name.removesuffix(".yuv") + ".yuv", bytes(RAW_FRAME))
        small.ingest(**RAW)
        assert [row["encoder_upstream"] for row in small.rows()] == [codec]

    def test_a_size_that_is_no_whole_number_of_frames_is_a_broken_clip(self, at: Any) -> None:
        small = at("waterloo-ivc-4k")
        small.drop("manifest.csv", self.LINE)
        small.stage(self.CLIP, bytes(RAW_FRAME + 1))
        report = small.ingest(**RAW).report
        assert report.skipped_broken == 1
        assert report.losses[0].reason == "385 bytes are no whole number of 16×16 yuv420p frames (384 bytes each)"

    def test_another_declared_geometry_changes_the_row_without_reading_the_clip_again(self, at: Any) -> None:
        small = at("waterloo-ivc-4k")
        small.drop("manifest.csv", self.LINE)
        small.stage(self.CLIP, bytes(RAW_FRAME * 4))
        small.drop("ingest.toml", "[raw_video]\nwidth = 16\nheight = 16\n")
        small.ingest()
        small.drop("ingest.toml", "[raw_video]\nwidth = 32\nheight = 16\nframerate = 50\n")
        report = small.ingest().report
        assert (report.relabelled, report.read_clips) == (1, 0)
        assert (small.rows()[0]["width"], small.rows()[0]["duration_s"]) == (32, 0.04)

    @pytest.mark.parametrize(
        ("pix_fmt", "frame_bytes"),
        [("yuv420p", 27), ("yuv420p10le", 54), ("yuv422p", 33), ("yuv444p", 45), ("yuv444p10le", 90), ("gray", 15)],
    )
    def test_odd_sizes_have_their_chroma_rounded_up(self, pix_fmt: str, frame_bytes: int) -> None:
        assert RawVideo(width=5, height=3, framerate=1, pix_fmt=pix_fmt).frame_bytes == frame_bytes


class TestFiles:
    """Which file is taken, and what else lies there."""

    def test_the_log_says_which_file_was_taken(self, at: Any, caplog: Any) -> None:
        caplog.set_level(logging.INFO, logger="vqa_assets")
        small = at("konvid-150k")
        small.drop("manifest.csv", "name,url,mos\na,http://h/a,3\n")
        small.drop("k150ka_scores.csv", "video_name,video_score\nb,3\n")
        small.ingest()
        assert "konvid-150k: manifest.csv is taken, k150ka_scores.csv beside it is not" in caplog.text

    def test_an_explicit_manifest_is_strict(self, at: Any) -> None:
        small = at("konvid-150k")
        small.drop("k150ka_scores.csv", "video_name,video_score\nb,3\n")
        with pytest.raises(AnnotationError, match=r"manifest_csv .*typo\.csv: found nothing there"):
            small.ingest(manifest_csv=str(small.folder / "typo.csv"))
        done = small.ingest(manifest_csv=str(small.folder / "k150ka_scores.csv"))
        assert done.annotations.rows[0].extra == {"score_drop": "k150ka"}

    @pytest.mark.parametrize(
        ("trap", "told"),
        [
            (".~lock.manifest.csv#", "a lock file of LibreOffice"),
            ("~$manifest.xlsx", "a lock file of Excel"),
            ("._manifest.csv", "macOS's notes on a file"),
        ],
    )
    def test_a_trap_is_named_for_what_it_is(self, trap: str, told: str, at: Any) -> None:
        small = at("live-vqc")
        small.drop(trap, b"\x00\x05\x16\x07")
        small.drop("scores.csv", "a.mp4,3\n")
        with pytest.raises(AnnotationError) as caught:
            small.ingest()
        assert f"{trap} ({told}" in str(caught.value)
        assert "scores.csv" in str(caught.value)
        with pytest.raises(AnnotationError, match="found " + told):
            small.ingest(manifest_csv=str(small.folder / trap))

    def test_a_jupyter_checkpoint_is_no_annotation_file(self, at: Any) -> None:
        small = at("live-vqc")
        path = small.drop(".ipynb_checkpoints/manifest-checkpoint.csv", "a.mp4,30\n")
        with pytest.raises(AnnotationError, match="found a copy that Jupyter keeps there"):
            small.ingest(manifest_csv=str(path))

    @pytest.mark.parametrize(
        ("content", "found"),
        [
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "a Git-LFS pointer"),
            (b"PK\x03\x04broken", "no .xlsx workbook that can be read"),
            (b"[1, 2]", "row 1 is int"),
            (b"[{", "not JSON"),
            pytest.param(b"[" * 100_000, "lists within lists without end", id="lists within lists"),
            (b'[{"File": "a.mp4", "MOS": 30, "MOS": 40}]', "an object with more than one 'MOS'"),
            (b"\n<!DOCTYPE html><html><head>" + b"x" * 3_000, "an HTML page"),
            (b"\xef\xbb\xbf<html lang=en>\nPlease log in, please", "an HTML page"),
            (b"x" * 3_000, "columns " + "x" * 80 + "\u2026"),
            ("File,MOS\na.mp4,30\n".encode("utf-16"), "UTF-16 text"),
            ("File,MOS\na.mp4,30\n".encode("utf-16-le"), "UTF-16 text"),
            ("File,MOS\na.mp4,30\n".encode("utf-16-be"), "UTF-16 text"),
            (b'{"a": [], "b": []}', "a JSON dict with 2 lists"),
            (b"[]", "columns none"),
            (b"[{}]", "columns none"),
            (b'[[], ["a", 3]]', "columns none"),
            (b"File,MOS,mos\na,30,40\n", "more than one column named mos"),
            (b"a.mp4,x,y\n", "columns a.mp4, x, y"),
        ],
    )
    def test_a_file_that_is_no_table_of_scores_is_told(self, content: bytes, found: str, at: Any) -> None:
        small = at("live-vqc")
        small.drop("manifest.csv", content)
        with pytest.raises(AnnotationError) as caught:
            small.ingest()
        assert found in caught.value.found
        assert len(str(caught.value)) < 1_000
        assert caught.value.expected
        assert caught.value.next_step

    def test_wrong_columns_tell_the_headerless_shapes_too(self, at: Any) -> None:
        small = at("live-vqc")
        small.drop("manifest.csv", "clip,quality\na,30\n")
        with pytest.raises(AnnotationError, match="no header and the columns name, mos; or name, –, –, mos"):
            small.ingest()

    @EVERY
    def test_the_absent_file_is_told_with_its_steps(self, corpus: Corpus, at: Any) -> None:
        with pytest.raises(AnnotationError) as caught:
            at(corpus).ingest()
        assert corpus.acquisition.steps in str(caught.value)
        assert corpus.acquisition.file in str(caught.value)

    def test_a_pointer_and_a_dangling_link_are_missing_clips_and_not_broken_ones(self, at: Any) -> None:
        small = at("live-vqc")
        small.drop("manifest.csv", "a.mp4,30\nb.mp4,40\nc.mp4,50\n")
        small.stage("a.mp4", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
        (small.folder / "clips" / "b.mp4").symlink_to("nowhere")
        small.stage("c.mp4", b"c")
        report = small.ingest().report
        assert (report.skipped_missing, report.skipped_broken, report.written) == (2, 0, 1)
        assert [x.reason.partition(",")[0] for x in report.losses] == ["a Git-LFS pointer", "a dangling link"]

    def test_the_manifest_names_every_file_it_read(self, at: Any) -> None:
        small = at(CORPORA["konvid-150k"].but(name="mine"))
        small.drop("k150ka_scores.csv", "video_name,video_score\na,3\n")
        small.drop("k150kb_scores.csv", "video_name,mos,video_score\nb,4,1\n")
        small.drop("k150ka_extracted/a.mp4", b"a")
        manifest = small.ingest().manifest
        for told, name in zip(manifest["annotation_files"], ("k150ka_scores.csv", "k150kb_scores.csv"), strict=True):
            assert told["path"] == f"mine/{name}"
            assert told["sha256"] == file_record(small.folder / name)["sha256"]
        assert manifest["annotation_file"] == {**manifest["annotation_files"][0], "rows": 2}
        assert manifest["run_provenance"]["inputs"]["annotation_file_2"]["path"] == "mine/k150kb_scores.csv"
