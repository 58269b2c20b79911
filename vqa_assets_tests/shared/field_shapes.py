"""The score files that were seen in the field, made up: the same names, columns, separators and numbers of rows.

No score is anybody's: each is a place in the range that the real file's scores span. One shape for each file that was
seen; what must come of reading it stands beside it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice, product

from vqa_assets.corpora import CORPORA, Corpus
from vqa_assets_tests.shared.layouts import CHUG_HEADER, matlab, matlab_7_3, workbook

ACR, CONTINUOUS = "1-5-acr", "0-100-continuous"
Files = Mapping[str, str | bytes]


@dataclass(frozen=True)
class FieldShape:
    """One annotation as it was seen, and what its rows come to; ``contents`` is how many different ones they name.

    ``refused`` is what is said of a file that cannot be used.
    """

    corpus: str | Corpus
    what: str
    files: Callable[[], Files]
    rows: int
    scale: str = CONTINUOUS
    splits: Mapping[str, int] = field(default_factory=dict)
    contents: int = 0
    repeats: int = 0
    drops: Mapping[str, int] = field(default_factory=dict)
    refused: str = ""

    @property
    def declaration(self) -> Corpus:
        """The corpus that it is read as."""
        return CORPORA[self.corpus] if isinstance(self.corpus, str) else self.corpus


def scores(count: int, low: float, high: float) -> list[float]:
    """``count`` made-up scores that span a range, in no order."""
    return [low, high, *(round(low + (high - low) * (i * 0.6180339887 % 1), 4) for i in range(2, count))]


def lines(header: str, rows: Iterable[str]) -> str:
    """A text file."""
    return "\n".join([*([header] if header else []), *rows]) + "\n"


def konvid_1k() -> Files:
    rows = (
        f"{10**9 + i},8,{10**9 + i}_original_centercrop_960x540_8s.mp4,{s}"
        for i, s in enumerate(scores(1_200, 1.22, 4.64))
    )
    return {"KoNViD_1k_metadata/KoNViD_1k_attributes.csv": lines("flickr_id,duration,file_name,MOS", rows)}


def konvid_150k() -> Files:
    """154 700 rows for 152 265 clips: the last of the first drop repeat earlier ones."""
    of_a = scores(150_689, 1.0, 5.0)
    rows = [f"orig_{i}_540_5s.mp4,{s}" for i, s in enumerate(of_a)]
    return {"k150ka_scores.csv": lines("video_name,video_score", rows + rows[:2_435]), **konvid_150k_b()}


def konvid_150k_b() -> Files:
    rows = (f"orig_1{i:010d}_540_5s.mp4,{s},{s}" for i, s in enumerate(scores(1_576, 1.2, 4.7)))
    return {"k150kb_scores.csv": lines("video_name,mos,video_score", rows)}


_LSVQ_HEADER = "name,p1,p2,p3,height,width,mos_p1,mos,frame_number"
_LSVQ_PARTS = {"LSVQ_whole_train.csv": 28_034, "LSVQ_whole_test.csv": 7_182, "LSVQ_whole_test_1080p.csv": 3_599}


def _lsvq_names() -> Iterator[str]:
    """341 names stand in two folders, with dots in some, and eight end in a video suffix that their files do not."""
    yield from (f"ia-batch{1 + i // 1000}/clip{i}" for i in range(28_034 - 341))
    yield from (f"yfcc-batch1/clip{i}" for i in range(341))
    yield from (
        f"yfcc-batch2/Mont._Education_{i}{suffix}" for i, suffix in enumerate((".mov", ".mp4", ".avi", ".flv") * 2)
    )
    yield from (f"yfcc-batch3/{i}" for i in range(10_781 - 8))


def lsvq() -> Files:
    named, of_range, files = _lsvq_names(), iter(scores(38_813, 8.5, 91.4)), {}
    for file, count in _LSVQ_PARTS.items():
        of_file = [next(of_range, 4.2) for _ in range(count)]  # the last two of all lie on 1–5 as well
        rows = (f'{next(named)},"[1, 2, 3]","[4, 5, 6]","[7, 8, 9]",540,960,1,{s},240' for s in of_file)
        files[file] = lines(_LSVQ_HEADER, rows)
    return files


def lsvq_of_its_authors() -> Files:
    """Training and test rows in one file, which says of each row what it is; 1080p in another."""
    (train, small, large), named, of_range = _LSVQ_PARTS.values(), _lsvq_names(), scores(38_815, 8.5, 91.4)
    header = f"{_LSVQ_HEADER},is_test"
    rows = [
        f'{next(named)},"[1, 2, 3]","[4, 5, 6]","[7, 8, 9]",540,960,1,{s},240,{i >= train}'
        for i, s in enumerate(of_range)
    ]
    first = train + small
    files = {"labels_train_test.csv": rows[:first], "labels_test_1080p.csv": rows[first : first + large]}
    return {name: lines(header, of_file) for name, of_file in files.items()}


def lsvq_tests() -> Files:
    return {name: text for name, text in lsvq().items() if "test" in name}


def _ugc(suffix: str = "") -> tuple[list[str], list[float]]:
    kinds, sizes = ("Gaming", "Sports", "Vlog", "HDR", "CoverSong"), (360, 480, 720, 1080, 2160)
    vids = [f"{kinds[i % 5]}_{sizes[i // 5 % 5]}P-{i:04x}{suffix}" for i in range(1_380)]
    return vids, scores(1_380, 1.24, 4.70)


def youtube_ugc() -> Files:
    header = ["vid", "category", "MOS full", "stdFull", "x_Subjects", "MOSChunk00", "stdChunk00"]
    rows = [[vid, vid.partition("_")[0], s, 0.6, 120, 1.0, 0.9] for vid, s in zip(*_ugc(), strict=True)]
    book = workbook(Readme=[["a dataset"]], MOS=[header, *rows], DMOS=[["vid", "DMOS"]])
    return {"original_videos_MOS_for_YouTube_UGC_dataset.xlsx": book}


def _waterloo() -> Iterator[tuple[str, int, str, int, float]]:
    grid = product(("HEVC", "H264", "VP9", "AVS2", "AV1"), range(1, 21), ("540p", "1080p", "2160p"), range(1, 5))
    for (encoder, video, size, level), score in zip(grid, scores(1_200, 2.1, 93.0), strict=True):
        yield encoder, video, size, level, score


def waterloo_text() -> Files:
    return {"scores.txt": lines("", (", ".join(map(str, row)) for row in _waterloo()))}


def waterloo_with_paths() -> Files:
    rows = (f"{e},{v},{size},{lv},{s},data/{e}/{v:02d}/960x540_{lv}.mp4" for e, v, size, lv, s in _waterloo())
    return {"manifest.csv": lines("Encoder,Video Number,Resolution,Distortion Level,MOS,path", rows)}


def _live_vqc(ending: str = ".mp4") -> Iterator[tuple[str, float]]:
    yield from ((f"A{i:03d}{ending}", s) for i, s in enumerate(scores(585, 6.2, 94.3), 1))


def live_vqc() -> Files:
    return {"manifest.csv": lines("File,MOS", (f"{name},{s}" for name, s in _live_vqc()))}


def live_vqc_of_dover() -> Files:
    return {"manifest.csv": lines("", (f"Video/{name}, -1, -1, {s}" for name, s in _live_vqc()))}


def konvid_of_dover() -> Files:
    return {
        "manifest.csv": lines("", (f"{10**9 + i}.mp4, -1, -1, {s}" for i, s in enumerate(scores(1_200, 1.22, 4.64))))
    }


def live_vqc_of_videval() -> Files:
    return {"manifest.csv": lines("File,MOS", (f"{name},{s}" for name, s in _live_vqc("NEW.mp4")))}


def chug() -> Files:
    ladder = (
        ("360p", "0.2M"),
        ("360p", "0.5M"),
        ("720p", "0.5M"),
        ("720p", "2M"),
        ("1080p", "1M"),
        ("1080p", "3M"),
        ("ref", "ref"),
    )
    rungs = product(range(856), ladder)
    rows = (
        f"{i:032x},{s},2.65,{int(size == 'ref')},{size}_{rate}_src{content}.mp4,{size}_{rate}_,{size},{rate},Portrait,"
        f"29.97,src{content}.mp4,640,360"
        for i, ((content, (size, rate)), s) in enumerate(zip(rungs, scores(5_992, 14.1, 80.1), strict=True))
    )
    return {"chug.csv": lines(CHUG_HEADER.strip(), rows)}


def beyond8bits() -> Files:
    words = ["train"] * 28_987 + ["validation"] * 4_151 + ["test"] * 8_281
    rows = (
        f"{i:032x},{s},2.5,{'Crowd' if i < 15_071 else 'Vimeo'},{int(i % 7 == 0)},360p,0.2M,Portrait,30,{word},640,360"
        for i, (word, s) in enumerate(zip(words, scores(41_419, 10.2, 82.4), strict=True))
    )
    header = "video_id,mos,sos,type,ref,resolution,bitrate,orientation,framerate,split,height,width"
    return {"Beyond8Bits_publish.csv": lines(header, rows)}


def _comma(score: float) -> str:
    return str(score).replace(".", ",")


def cvd2014() -> Files:
    """Six tests of 39 clips; two scenes or three a test, seen by 13 cameras or more."""
    scenes = ("City", "Traffic", "Talking-head", "Newspaper", "Television")
    names = [
        (scenes[(test + i) % 3], f"Test{test:02d}_{scenes[(test + i) % 3]}_D{i // 3 + 1:02d}")
        for test in range(1, 7)
        for i in range(39)
    ]
    rows = (
        f"{scene};{name};{_comma(50.5)};{_comma(s)};;;;"
        for (scene, name), s in zip(names, scores(234, -6.5, 93.38), strict=True)
    )
    return {"Realignment_MOS.csv": lines("Content;File_name;Original MOS;Realignment MOS;;;;", rows)}


def _qualcomm() -> tuple[list[str], list[float]]:
    kinds = ("Artifacts", "Color", "Exposure", "Focus", "Sharpness", "Stabilization")
    names = [f"{kinds[i % 6]}/{i + 700:04d}_Content{i % 54:02d}_Phone{i % 8}_20150{i % 9}.yuv" for i in range(208)]
    return names, scores(208, 16.6, 73.6)


def live_qualcomm() -> Files:
    return {"manifest.csv": lines("name,mos", (f"{n},{s}" for n, s in zip(*_qualcomm(), strict=True)))}


def live_qualcomm_7_3() -> Files:
    names, of_range = _qualcomm()
    return {"qualcommSubjectiveData.mat": matlab_7_3(video_names=list(names), scores=list(of_range))}


def live_yt_hfr() -> Files:
    """Its clips stand side by side: a line of names, one of scores, one of their SD."""
    clips = product((f"{i}Runner" for i in range(16)), (0, 19, 32, 44, 63), (24, 30, 60, 82, 98, 120))
    names = [f"{content}_crf_{crf}_{rate}fps" for content, crf, rate in clips]
    table = {"File Names": names, "MOS": scores(480, 10.2, 73.2), "std": scores(480, 5.0, 16.9)}
    return {"subject_MOS.csv": lines("", (",".join([name, *map(str, values)]) for name, values in table.items()))}


def etri_live() -> Files:
    grid = product((f"Beauty{i}" for i in range(15)), (540, 720, 1080, 2160), (60, 120), (22, 27, 32, 37))
    names = [f"{content}_{size}p_{rate}hz_q_{q}" for content, size, rate, q in islice(grid, 437)]
    rows = (f"{name},{s},9.5" for name, s in zip(names, scores(437, 17.6, 76.9), strict=True))
    return {"ETRI-LIVE_MOS.csv": lines("videoName,MOS,std", rows)}


def bvi_hfr() -> Files:
    clips = product((f"flowers{i}" for i in range(22)), (15, 30, 60, 120))
    rows = (f"{c}-{rate}fps,{s}" for (c, rate), s in zip(clips, scores(88, 14.0, 90.0), strict=True))
    return {"BVI-HFR-MOS.csv": lines("file_name,MOS", rows)}


LIVE_LIVESTREAM = CORPORA["live-vqc"].but(name="live-livestream", title="LIVE Livestream", min_rows=300, max_rows=330)


def live_livestream() -> Files:
    rows = (f"clip{i}.mp4,{s},{round(100 - s, 4)}" for i, s in enumerate(scores(315, 20.0, 85.0)))
    return {"manifest.csv": lines("name,MOS,DMOS", rows)}


def live_meta_gaming() -> Files:
    rows = (f"Game{i % 30}_{i}.mp4,{s},9.5,640,360,Game{i % 30}" for i, s in enumerate(scores(600, 11.0, 84.0)))
    return {"manifest.csv": lines("Filename,MOS,MOS-STD,Width,Height,Content", rows)}


def kvq() -> Files:
    number, files = 0, {}
    for part, count in {"train": 2_926, "val": 420, "test": 854}.items():
        of_part = scores(count, 1.1, 4.9)
        files[f"{part}_data.csv"] = lines(
            "filename,score", (f"{part}/{number + i:04d}.mp4,{s}" for i, s in enumerate(of_part, 1))
        )
        number += count
    return files


def _two_arrays(names: str, values: str, count: int, low: float, high: float, file: str) -> Callable[[], Files]:
    def files() -> Files:
        return {file: matlab(**{names: [f"{i:04d}.mp4" for i in range(count)], values: scores(count, low, high)})}

    return files


def maxwell() -> Files:
    """Rows are numbers of clips: no column is a name."""
    columns = [scores(4_543, 1.0 + i / 20, 5.0 - i / 20) for i in range(16)]
    return {"manifest.csv": lines("", (",".join(map(str, row)) for row in zip(*columns, strict=True)))}


MAXWELL = CORPORA["live-vqc"].but(name="maxwell", title="DIVIDE-MaxWell", min_rows=4_000)
_LSVQ_SPLITS = {"train": 28_034, "test": 10_781}
SHAPES = (
    FieldShape("konvid-1k", "attributes", konvid_1k, 1_200, ACR),
    FieldShape(
        "konvid-150k",
        "both drops",
        konvid_150k,
        154_700,
        ACR,
        repeats=2_435,
        drops={"k150ka": 153_124, "k150kb": 1_576},
    ),
    FieldShape("lsvq", "as it is passed on", lsvq, 38_815, splits=_LSVQ_SPLITS),
    FieldShape("youtube-ugc", "the official workbook", youtube_ugc, 1_380, ACR),
    FieldShape("waterloo-ivc-4k", "its text", waterloo_text, 1_200, contents=20),
    FieldShape("live-vqc", "a header", live_vqc, 585),
    FieldShape("chug", "the published table", chug, 5_992, ACR, contents=856),
    FieldShape("waterloo-ivc-4k", "a header and paths", waterloo_with_paths, 1_200, contents=20),
    FieldShape("konvid-150k", "the second drop alone", konvid_150k_b, 1_576, ACR, drops={"k150kb": 1_576}),
    FieldShape("lsvq", "its authors' own files", lsvq_of_its_authors, 38_815, splits=_LSVQ_SPLITS),
    FieldShape("lsvq", "its test lists alone", lsvq_tests, 10_781, splits={"test": 10_781}),
    FieldShape(
        "beyond8bits", "the published table", beyond8bits, 41_419, splits={"train": 28_987, "val": 4_151, "test": 8_281}
    ),
    FieldShape("cvd2014", "realigned, decimal commas", cvd2014, 234, "cvd2014", contents=18),
    FieldShape("live-qualcomm", "saved as CSV", live_qualcomm, 208, contents=54),
    FieldShape("live-qualcomm", "MATLAB 7.3", live_qualcomm_7_3, 208, contents=54),
    FieldShape("live-yt-hfr", "its scores", live_yt_hfr, 480, contents=16),
    FieldShape("etri-live", "its scores", etri_live, 437, contents=14),
    FieldShape("bvi-hfr", "its scores", bvi_hfr, 88, contents=22),
    FieldShape(LIVE_LIVESTREAM, "MOS and DMOS, by a declaration of one's own", live_livestream, 315),
    FieldShape("live-meta-gaming", "its metadata", live_meta_gaming, 600, contents=30),
    FieldShape("kvq", "three parts", kvq, 4_200, ACR, splits={"train": 2_926, "val": 420, "test": 854}, contents=600),
    FieldShape(
        "konvid-1k", "MATLAB", _two_arrays("video_names", "scores", 1_200, 1.22, 4.64, "manifest.csv"), 1_200, ACR
    ),
    FieldShape("live-vqc", "MATLAB", _two_arrays("video_list", "mos", 585, 6.2, 94.3, "manifest.csv"), 585),
    FieldShape(
        "youtube-ugc", "MATLAB", _two_arrays("video_names", "MOS", 1_147, 1.24, 4.7, "manifest.csv"), 1_147, ACR
    ),
    FieldShape("lbvd", "MATLAB", _two_arrays("video_names", "scores", 1_013, 1.3, 4.6, "LBVD.mat"), 1_013, ACR),
    FieldShape("live-yt-gaming", "MATLAB", _two_arrays("video_list", "MOS", 600, 13.0, 88.0, "gaming.mat"), 600),
    FieldShape(MAXWELL, "scores without names", maxwell, 0, refused="numbers where names should stand"),
    FieldShape("live-vqc", "the list of DOVER", live_vqc_of_dover, 585),
    FieldShape("konvid-1k", "the list of DOVER", konvid_of_dover, 1_200, ACR),
    FieldShape("live-vqc", "the metadata of VIDEVAL", live_vqc_of_videval, 585),
)
