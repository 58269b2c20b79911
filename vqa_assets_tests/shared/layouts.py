"""Every layout that a declared corpus's annotation comes in, made up: files, clips, and the rows they must become."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import openpyxl


@dataclass(frozen=True)
class Layout:
    """One layout: files and clips by their place in the corpus's folder; per row, some of its fields.

    ``duplicates`` rows of its files repeat others.
    """

    corpus: str
    name: str
    files: Mapping[str, str | bytes]
    clips: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    duplicates: int = 0


def workbook(**sheets: list[list[Any]]) -> bytes:
    """An .xlsx file of these sheets, in their order."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def matlab(**variables: list[Any]) -> bytes:
    """A MATLAB file of version 5: texts become cells, numbers a column."""
    import numpy as np
    import scipy.io

    out = io.BytesIO()
    arrays = {
        name: np.array(values, dtype=object if isinstance(values[0], str) else float).reshape(-1, 1)
        for name, values in variables.items()
    }
    scipy.io.savemat(out, arrays)
    return out.getvalue()


def matlab_7_3(**variables: list[Any]) -> bytes:
    """A MATLAB file of version 7.3, which is HDF5 behind 512 bytes: texts become cells, numbers a column."""
    import h5py
    import numpy as np

    out = io.BytesIO()
    with h5py.File(out, "w", userblock_size=512) as file:
        for name, values in variables.items():
            if not isinstance(values[0], str):
                file[name] = np.array([values], dtype=float)
                file[name].attrs["MATLAB_class"] = np.bytes_("double")
                continue
            references = []
            for number, text in enumerate(values):
                cell = file.create_dataset(f"#refs#/{name}{number}", data=np.array([[ord(c)] for c in text], "u2"))
                cell.attrs["MATLAB_class"] = np.bytes_("char")
                references.append(cell.ref)
            cells = file.create_dataset(name, (1, len(values)), dtype=h5py.ref_dtype)
            cells[0] = references
            cells.attrs["MATLAB_class"] = np.bytes_("cell")
    head = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, HDF5 schema 1.00 .".ljust(124) + b"\x00\x02IM"
    return head.ljust(512, b"\0") + out.getvalue()[512:]


KONVID_1K = (
    Layout(
        "konvid-1k",
        "archives",
        {
            "KoNViD_1k_metadata/KoNViD_1k_attributes.csv": "flickr_id,duration,file_name,MOS,sd\n"
            "3015512503,8,3015512503_original_8s.mp4,3.28,0.7\n5636101558,8,5636101558_original_8s.mp4,2.1,\n"
        },
        ("KoNViD_1k_videos/3015512503.mp4", "KoNViD_1k_videos/5636101558_original_8s.mp4"),
        (
            {"src": "3015512503.mp4", "mos": 3.28, "mos_std_dev": 0.7},
            {"src": "5636101558_original_8s.mp4", "mos": 2.1, "mos_std_dev": 0.0},
        ),
    ),
    Layout(
        "konvid-1k",
        "short folders, bare ids",
        {"metadata/KoNViD_1k_attributes.csv": "flickr_id,mos\n3015512503,3.28\n"},
        ("videos/3015512503.mp4",),
        ({"src": "3015512503.mp4", "mos": 3.28, "n_ratings": 0},),
    ),
    Layout(
        "konvid-1k",
        "headerless with fillers",
        {"manifest.csv": "3015512503.mp4, -1, -1, 3.28\n5636101558.mp4, -1, -1, 2.1"},
        ("clips/3015512503.mp4", "clips/5636101558.mp4"),
        ({"src": "3015512503.mp4", "mos": 3.28}, {"src": "5636101558.mp4", "mos": 2.1}),
    ),
)

_DROP_A = "video_name,video_score\norig_1.mp4,3.5\norig_2.mp4,2\n"
_DROP_B = "video_name,mos,video_score\norig_3.mp4,4.5,1\n"
KONVID_150K = (
    Layout(
        "konvid-150k",
        "split drops",
        {"k150ka_scores.csv": _DROP_A, "k150kb_scores.csv": _DROP_B},
        ("k150ka_extracted/orig_1.mp4", "clips/orig_2.mp4", "k150kb_extracted/orig_3.mp4"),
        (
            {"src": "orig_1.mp4", "mos": 3.5, "score_drop": "k150ka", "mos_std_dev": 0.0, "n_ratings": 0},
            {"src": "orig_2.mp4", "mos": 2.0, "score_drop": "k150ka"},
            {"src": "orig_3.mp4", "mos": 4.5, "score_drop": "k150kb"},
        ),
    ),
    Layout(
        "konvid-150k",
        "one drop alone",
        {"k150kb_scores.csv": _DROP_B},
        ("k150kb_extracted/orig_3.mp4",),
        ({"src": "orig_3.mp4", "mos": 4.5, "score_drop": "k150kb"},),
    ),
    Layout(
        "konvid-150k",
        "URLs win over drops",
        {
            "manifest.csv": "file_name,download_url,MOS,SD,num_ratings\na,http://h/a,3.4,0.5,5\n",
            **{"k150ka_scores.csv": _DROP_A},
        },
        ("clips/a.mp4",),
        ({"src": "a.mp4", "mos": 3.4, "mos_std_dev": 0.5, "n_ratings": 5},),
    ),
    Layout(
        "konvid-150k",
        "drops win over a manifest without URLs",
        {"manifest.csv": _DROP_A, "k150ka_scores.csv": _DROP_A},
        ("k150ka_extracted/orig_1.mp4", "k150ka_extracted/orig_2.mp4"),
        ({"src": "orig_1.mp4", "score_drop": "k150ka"}, {"src": "orig_2.mp4", "score_drop": "k150ka"}),
    ),
)

_LSVQ = (
    "name,p1,p2,p3,height,width,mos_p1,mos,frame_number\n"
    'yfcc-batch1/747,"[1, 2, 3]","[4, 5]","[6]",540,960,99,61.5,240\n'
    'ia-batch2/747,"[1, 2, 3]","[4, 5]","[6]",540,960,99,34.25,240\n'
    'yfcc-batch1/Mont._Education_1,"[1, 2, 3]","[4, 5]","[6]",540,960,99,3.2,240\n'
    # One score of ten may stand on 1-5 too, and the file is on 0-100 still; these clips are not there.
    + "".join(f'ia-batch3/{i},"[1, 2, 3]","[4, 5]","[6]",540,960,99,{40 + i},240\n' for i in range(7))
)
_LSVQ_CLIPS = tuple(f"clips/{n}.mp4" for n in ("yfcc-batch1/747", "ia-batch2/747", "yfcc-batch1/Mont._Education_1"))
_LSVQ_AUTHORS = "name,height,width,mos_p1,mos,is_test\n"
LSVQ = (
    Layout(
        "lsvq",
        "0-100, folders, quoted lists",
        {"manifest.csv": _LSVQ},
        _LSVQ_CLIPS,
        (
            {"src": "yfcc-batch1/747.mp4", "mos": 61.5, "mos_scale": "0-100-continuous"},
            {"src": "ia-batch2/747.mp4", "mos": 34.25},
            {"src": "yfcc-batch1/Mont._Education_1.mp4", "mos": 3.2, "mos_scale": "0-100-continuous"},
        ),
    ),
    Layout(
        "lsvq",
        "1-5",
        {"manifest.csv": "name,mos,SD_MOS,ratings\n0001,3.42,0.51,48\n"},
        ("clips/0001.mp4",),
        ({"src": "0001.mp4", "mos": 3.42, "mos_scale": "1-5-acr", "mos_std_dev": 0.51, "n_ratings": 48},),
    ),
    Layout(
        "lsvq",
        "official files under their own names",
        {
            "LSVQ_whole_train.csv": "name,mos\na/1,60\n",
            "LSVQ_whole_test.csv": "name,mos\na/2,70\n",
            "LSVQ_whole_test_1080p.csv": "name,mos\na/3,80\n",
        },
        ("clips/a/1.mp4", "clips/a/2.mp4", "clips/a/3.mp4"),
        (
            {"src": "a/1.mp4", "mos": 60.0, "split": "train"},
            {"src": "a/2.mp4", "mos": 70.0, "split": "test"},
            {"src": "a/3.mp4", "mos": 80.0, "split": "test"},
        ),
    ),
    Layout(
        "lsvq",
        "the authors' own files, beside one that is passed on",
        {
            "labels_train_test.csv": _LSVQ_AUTHORS + "a/1,540,960,99,60,False\na/2,540,960,99,70,True\n",
            "labels_test_1080p.csv": _LSVQ_AUTHORS + "a/3,1080,1920,99,80,True\n",
            "LSVQ_whole_train.csv": "name,mos\na/1,60\na/4,50\n",
        },
        ("clips/a/1.mp4", "clips/a/2.mp4", "clips/a/3.mp4", "clips/a/4.mp4"),
        (
            {"src": "a/1.mp4", "mos": 60.0, "split": "train"},
            {"src": "a/2.mp4", "mos": 70.0, "split": "test"},
            {"src": "a/3.mp4", "mos": 80.0, "split": "test"},
            {"src": "a/4.mp4", "mos": 50.0, "split": "train"},
        ),
        duplicates=1,
    ),
    Layout(
        "lsvq",
        "the authors' file under the usual name",
        {"manifest.csv": _LSVQ_AUTHORS + "a/1,540,960,99,60,0\na/2,540,960,99,70,1.0\n"},
        ("clips/a/1.mp4", "clips/a/2.mp4"),
        ({"src": "a/1.mp4", "split": "train"}, {"src": "a/2.mp4", "split": "test"}),
    ),
    Layout(
        "lsvq",
        "a manifest beside the authors' list",
        {
            "manifest.csv": "name,mos\na/1,60\na/2,70\n",
            "labels_train_test.csv": _LSVQ_AUTHORS + "a/1,540,960,99,60,false\na/2,540,960,99,70,true\n",
        },
        ("clips/a/1.mp4", "clips/a/2.mp4"),
        ({"src": "a/1.mp4", "split": "train"}, {"src": "a/2.mp4", "split": "test"}),
    ),
    Layout(
        "lsvq",
        "a manifest beside an official test list",
        {"manifest.csv": "name,mos\na/1,60\na/2,70\n", "LSVQ_whole_test.csv": "name,mos\na/2,70\n"},
        ("clips/a/1.mp4", "clips/a/2.mp4"),
        ({"src": "a/1.mp4", "split": "train"}, {"src": "a/2.mp4", "split": "test"}),
    ),
    Layout(
        "lsvq",
        "a split column",
        {"manifest.csv": "name,mos,split\na,60,train\nb,70,val\n"},
        ("clips/a.mp4", "clips/b.mp4"),
        ({"src": "a.mp4", "split": "train"}, {"src": "b.mp4", "split": "val"}),
    ),
    Layout(
        "lsvq",
        "JSON list",
        {
            "manifest.csv": json.dumps(
                [{"name": "a/1", "mos": 60.5}, {"name": "a/2", "mos": None}]
                + [{"name": f"b/{i}", "mos": 50 + i} for i in range(20)]
            )
        },
        ("clips/a/1.mp4",),
        ({"src": "a/1.mp4", "mos": 60.5},),
    ),
)

_UGC = [["vid", "category", "MOS full", "MOSChunk00", "stdFull", "x_Subjects"]]
_UGC_ROWS = [["Gaming_720P-25aa", "Gaming", 3.5, 1.1, 0.5, 80], ["Sports_1080P-1d78", "Sports", 4, 1.2, 0, 90]]
_UGC_EXPECTED = (
    {"src": "Gaming_720P-25aa.mp4", "mos": 3.5, "mos_std_dev": 0.5, "n_ratings": 80},
    {"src": "Sports_1080P-1d78.mp4", "mos": 4.0, "mos_std_dev": 0.0, "n_ratings": 90},
)
_UGC_CLIPS = ("clips/Gaming_720P-25aa.mp4", "clips/Sports_1080P-1d78.mp4")
YOUTUBE_UGC = (
    Layout(
        "youtube-ugc",
        "per-chunk columns beside the clip's",
        {
            "manifest.csv": "vid,MOSFull,MOSChunk00,stdChunk00,stdFull,x_Subjects\nGaming_720P-25aa,3.5,1,9,0.5,80\n"
            "Sports_1080P-1d78,4,1,9,0,90\n"
        },
        _UGC_CLIPS,
        _UGC_EXPECTED,
    ),
    Layout(
        "youtube-ugc",
        "the official workbook",
        {"manifest.xlsx": workbook(Readme=[["a dataset"]], MOS=_UGC + _UGC_ROWS, DMOS=[["vid", "DMOS"]])},
        _UGC_CLIPS,
        _UGC_EXPECTED,
    ),
    Layout(
        "youtube-ugc",
        "a rate suffix on disk",
        {"manifest.csv": "vid,mos\nGaming_720P-25aa,3.5\n"},
        ("clips/Gaming_720P-25aa_crf_10_ss_00_t_20.0.mp4", "clips/Gaming_720P-25aab.mp4"),
        ({"src": "Gaming_720P-25aa_crf_10_ss_00_t_20.0.mp4", "mos": 3.5},),
    ),
    Layout(
        "youtube-ugc",
        "DMOS where no MOS is",
        {"manifest.csv": "vid,DMOS\nGaming_720P-25aa,3.5\n"},
        _UGC_CLIPS[:1],
        ({"src": "Gaming_720P-25aa.mp4", "mos": 3.5},),
    ),
)

_WATERLOO_EXPECTED = (
    {
        **{"src": "HEVC_1_960x540_2.yuv", "mos": 45.3, "content_id": "waterloo-ivc-4k-1"},
        **{"encoder_upstream": "hevc", "width": 64, "height": 48},
    },
    {
        **{"src": "AV1_20_3840x2160_4.yuv", "mos": 80.0, "content_id": "waterloo-ivc-4k-20"},
        **{"encoder_upstream": "av1", "duration_s": 0.08},
    },
)
_WATERLOO_CLIPS = ("clips/HEVC_1_960x540_2.yuv", "clips/AV1_20_3840x2160_4.yuv")
_WATERLOO_RAW = {"raw_video": {"width": 64, "height": 48, "framerate": 25.0}}
WATERLOO = (
    Layout(
        "waterloo-ivc-4k",
        "headerless, loose spaces",
        {"scores.txt": "HEVC ,  1, 960x540,2 ,  45.3\nAV1, 20 ,3840x2160, 4,80"},
        _WATERLOO_CLIPS,
        _WATERLOO_EXPECTED,
        _WATERLOO_RAW,
    ),
    Layout(
        "waterloo-ivc-4k",
        "blanks alone",
        {"manifest.csv": "HEVC 1   960x540 2 45.3\nAV1 20 3840x2160 4 80\n"},
        _WATERLOO_CLIPS,
        _WATERLOO_EXPECTED,
        _WATERLOO_RAW,
    ),
    Layout(
        "waterloo-ivc-4k",
        "a header",
        {"manifest.csv": "Encoder,Video,Resolution,Distortion,MOS\nHEVC,1,960x540,2,45.3\nAV1,20,3840x2160,4,80\n"},
        _WATERLOO_CLIPS,
        _WATERLOO_EXPECTED,
        _WATERLOO_RAW,
    ),
)

_SEEN_HEADER = "Encoder,Video Number,Resolution,Distortion Level,MOS"
WATERLOO += tuple(
    Layout("waterloo-ivc-4k", case, {"manifest.csv": text}, _WATERLOO_CLIPS, _WATERLOO_EXPECTED, _WATERLOO_RAW)
    for case, text in (
        ("the header seen", f"{_SEEN_HEADER}\nHEVC,1,960x540,2,45.3\nAV1,20,3840x2160,4,80\n"),
        (
            "the header seen, with paths",
            f"{_SEEN_HEADER},path\nHEVC,1,960x540,2,45.3,/x/HEVC/01/2.mp4\nAV1,20,3840x2160,4,80,AV1/20/4.mp4\n",
        ),
    )
)

_LIVE_EXPECTED = ({"src": "A001.mp4", "mos": 80.233}, {"src": "B002.mp4", "mos": 6.2236})
_LIVE_CLIPS = ("clips/A001.mp4", "Video/B002.mp4")
LIVE_VQC = tuple(
    Layout("live-vqc", name, {"manifest.csv": content}, _LIVE_CLIPS, _LIVE_EXPECTED)
    for name, content in {
        "headerless": "A001.mp4,80.233\nB002.mp4,6.2236",
        "File,MOS": "File,MOS\r\nA001.mp4,80.233\r\nB002.mp4,6.2236\r\n",
        "fillers": "A001.mp4, -1, -1, 80.233\nB002.mp4, -1, -1, 6.2236\n",
        "semicolons and decimal commas": "File;MOS\nA001.mp4;80,233\nB002.mp4;6,2236\n",
        "JSON lists": json.dumps([["A001.mp4", 80.233], ["B002.mp4", 6.2236]]),
        "BOM and quotes": '\ufeff"File","MOS"\n"A001.mp4","80.233"\n"B002.mp4","6.2236"',
    }.items()
)

CHUG_HEADER = (
    "Video,mos_j,sos_j,ref,name,bitladder,resolution,bitrate,orientation,framerate,content_name,height,width\n"
)
CHUG = (
    Layout(
        "chug",
        "the published table",
        {
            "chug.csv": CHUG_HEADER + "abc123,50.0,2.5,0,360p_0.2M_src.mp4,360p_0.2M_,360p,0.2M,Portrait,29.97,src.mp4,"
            "640,360\n"
        },
        ("clips/abc123.mp4",),
        (
            {
                "src": "abc123.mp4",
                "mos": 3.0,
                "mos_scale": "1-5-acr",
                "mos_raw_0_100": 50.0,
                "mos_std_dev": 0.0,
                "content_id": "src.mp4",
                "chug_video_id": "abc123",
                "chug_ref": 0,
                "chug_name": "360p_0.2M_src.mp4",
                "chug_bitladder": "360p_0.2M_",
                "chug_resolution": "360p",
                "chug_bitrate_label": "0.2M",
                "chug_orientation": "Portrait",
                "chug_framerate_manifest": 29.97,
                "chug_content_name": "src.mp4",
                "chug_height_manifest": 640,
                "chug_width_manifest": 360,
                "chug_sos_j": 2.5,
            },
        ),
    ),
    Layout(
        "chug",
        "a standard error with its count is an SD",
        {"manifest.csv": "video_id,mos_j,sos_j,n\nabc,75,2,25\n"},
        ("clips/abc.mp4",),
        ({"src": "abc.mp4", "mos": 4.0, "mos_std_dev": 0.4, "n_ratings": 25, "chug_sos_j": 2},),
    ),
)

_B8B_HEADER = "video_id,mos,sos,type,ref,resolution,bitrate,orientation,framerate,split,height,width\n"
BEYOND8BITS = (
    Layout(
        "beyond8bits",
        "the published table",
        {
            "Beyond8Bits_publish.csv": _B8B_HEADER
            + "abc,50.5,2.5,Crowd,0,360p,0.2M,Portrait,29.97,validation,640,360\n"
            "def,70,3,Vimeo,1,ref,ref,Landscape,30,train,1080,1920\n"
        },
        ("clips/abc.mp4", "clips/def.mp4"),
        (
            {
                "src": "abc.mp4",
                "mos": 50.5,
                "mos_scale": "0-100-continuous",
                "mos_std_dev": 0.0,
                "split": "val",
                "beyond8bits_sos": 2.5,
                "beyond8bits_ref": 0,
                "beyond8bits_bitrate": "0.2M",
                "beyond8bits_orientation": "Portrait",
            },
            {"src": "def.mp4", "mos": 70.0, "split": "train", "beyond8bits_ref": 1},
        ),
    ),
    Layout(
        "beyond8bits",
        "with the contents that its predecessor's file has",
        {"manifest.csv": "video_id,mos,sos,content_name,split\nabc,50.5,2.5,src.mp4,test\n"},
        ("clips/abc.mp4",),
        ({"src": "abc.mp4", "content_id": "src.mp4", "split": "test"},),
    ),
)

OTHERS = (
    Layout(
        "kvq",
        "the lists of its three parts",
        {
            "train_data.csv": "filename,score\ntrain/0001.mp4,3.5\ntrain/0007.mp4,3\ntrain/0008.mp4,2\n",
            "val_data.csv": "filename,score\nval/2927.mp4,4\n",
            "test_data.csv": "filename,score\ntest/3347.mp4,4.5\n",
        },
        tuple(f"clips/{name}.mp4" for name in ("train/0001", "train/0007", "train/0008", "val/2927", "test/3347")),
        (
            {"src": "train/0001.mp4", "mos": 3.5, "split": "train", "content_id": "train/1", "mos_scale": "1-5-acr"},
            {"src": "train/0007.mp4", "content_id": "train/1"},
            {"src": "train/0008.mp4", "content_id": "train/2"},
            {"src": "val/2927.mp4", "split": "val", "content_id": "val/419"},
            {"src": "test/3347.mp4", "split": "test", "content_id": "test/479"},
        ),
    ),
    Layout(
        "live-yt-gaming",
        "MATLAB",
        {"scores.mat": matlab(video_list=["game_1", "game_2"], MOS=[61.5, 30.25])},
        ("mp4/game_1.mp4", "clips/game_2.mp4"),
        ({"src": "game_1.mp4", "mos": 61.5, "mos_scale": "0-100-continuous"}, {"src": "game_2.mp4", "mos": 30.25}),
    ),
    Layout(
        "live-meta-gaming",
        "its metadata",
        {"manifest.csv": "Filename,MOS,MOS-STD,Width,Content\na_360.mp4,61.5,9.5,640,Bowling\n"},
        ("clips/a_360.mp4",),
        ({"src": "a_360.mp4", "mos": 61.5, "mos_std_dev": 9.5, "content_id": "Bowling"},),
    ),
    Layout(
        "live-yt-hfr",
        "clips side by side",
        {"subject_MOS.csv": "File Names,Flips_crf_48_30fps,1Runner_crf_0_120fps\nMOS,41.5,81.5\nstd,9.5,8\n"},
        ("clips/Flips_crf_48_30fps.webm", "clips/1Runner_crf_0_120fps.mp4"),
        (
            {"src": "Flips_crf_48_30fps.webm", "mos": 41.5, "mos_std_dev": 9.5, "content_id": "flips"},
            {"src": "1Runner_crf_0_120fps.mp4", "mos": 81.5, "annotated_as": "1Runner_crf_0_120fps"},
        ),
    ),
    Layout(
        "live-yt-hfr",
        "a clip a line",
        {"subject_MOS.csv": "Filename,MOS,std\nFlips_crf_48_30fps,41.5,9.5\n1Runner_crf_0_120fps,81.5,8\n"},
        ("clips/Flips_crf_48_30fps.webm", "clips/1Runner_crf_0_120fps.webm"),
        (
            {"src": "Flips_crf_48_30fps.webm", "mos": 41.5, "content_id": "flips"},
            {"src": "1Runner_crf_0_120fps.webm", "content_id": "1runner"},
        ),
    ),
    Layout(
        "etri-live",
        "its scores",
        {"ETRI-LIVE_MOS.csv": "videoName,MOS,std\nBeauty_1080p_120hz_q_27,61.5,9.5\n"},
        ("clips/Beauty_1080p_120hz_q_27.mp4",),
        ({"src": "Beauty_1080p_120hz_q_27.mp4", "mos": 61.5, "mos_std_dev": 9.5, "content_id": "beauty"},),
    ),
    Layout(
        "bvi-hfr",
        "its scores, and clips by their own names",
        {"BVI-HFR-MOS.csv": "file_name,MOS\nflowers-60fps,61.5\nflowers-120fps,71.5\n"},
        ("clips/flowers-60fps-360-1920x1080.mkv", "clips/flowers-120fps.mp4"),
        (
            {"src": "flowers-60fps-360-1920x1080.mkv", "annotated_as": "flowers-60fps", "content_id": "flowers"},
            {"src": "flowers-120fps.mp4", "content_id": "flowers"},
        ),
    ),
    Layout(
        "cvd2014",
        "decimal commas, and empty columns",
        {
            "Realignment_MOS.csv": "Content;File_name;Original MOS;Realignment MOS;;;;\n"
            "City;Test01_City_D01;71,17;-6,5;;;;\nTraffic;Test02_Traffic_D02;50;93,38;;;;\n"
        },
        ("clips/Test01_City_D01.avi", "clips/Test2/Test02_Traffic_D02.avi"),
        (
            {"src": "Test01_City_D01.avi", "mos": -6.5, "mos_scale": "cvd2014", "content_id": "test01_city"},
            {"src": "Test2/Test02_Traffic_D02.avi", "mos": 93.38, "content_id": "test02_traffic"},
        ),
    ),
    Layout(
        "cvd2014",
        "original scores alone",
        {"manifest.csv": "Content;File_name;Original MOS\nCity;Test01_City_D01;71,17\n"},
        ("clips/Test01_City_D01.avi",),
        ({"src": "Test01_City_D01.avi", "mos": 71.17},),
    ),
    Layout(
        "live-qualcomm",
        "saved as CSV",
        {"manifest.csv": "name,mos\nArtifacts/0723_ManUnderTree_GS5,41.5\n"},
        ("clips/Artifacts/0723_ManUnderTree_GS5.yuv",),
        ({"src": "Artifacts/0723_ManUnderTree_GS5.yuv", "mos": 41.5, "content_id": "manundertree", "width": 64},),
        _WATERLOO_RAW,
    ),
    Layout(
        "lbvd",
        "MATLAB",
        {"manifest.mat": matlab(video_names=["001.mp4", "002.mp4"], scores=[3.5, 2.25])},
        ("clips/001.mp4", "clips/002.mp4"),
        ({"src": "001.mp4", "mos": 3.5, "mos_scale": "1-5-acr"}, {"src": "002.mp4", "mos": 2.25}),
    ),
)

LAYOUTS = (*KONVID_1K, *KONVID_150K, *LSVQ, *YOUTUBE_UGC, *WATERLOO, *LIVE_VQC, *CHUG, *BEYOND8BITS, *OTHERS)
