"""Containers that are chunks in a row: whole ones are left alone, whatever lies behind them, and cut ones are told."""

import random
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from vqa_assets.clips.containers import begins_as_container, kind_of_text, refuse_what_is_no_clip, says_no_end
from vqa_assets.clips.endings import end_of_chunks
from vqa_assets.clips.last_picture import refuse_cut_end
from vqa_assets.clips.probing import FfprobeProber, PyAvProber
from vqa_assets.errors import BrokenClipError
from vqa_assets.ingest.tools import Prober
from vqa_assets_tests.clips.test_probing import LIMIT_S, encode

CODECS = {
    "a.avi": "ffv1",
    "b.avi": "mpeg4",
    "a.wmv": "wmv2",
    "a.y4m": "wrapped_avframe",
    "a.flv": "flv1",
    "a.ivf": "libvpx-vp9",
    "a.mxf": "mpeg2video",
    "a.mpg": "mpeg2video",
    "a.ts": "libx264",
    "a.m2ts": "mpeg2video",
}
FORMATS = {"a.mxf": "yuv422p"}


@pytest.fixture(scope="module")
def wholes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    made = {n: encode(folder / n, codec, FORMATS.get(n, "yuv420p")).read_bytes() for n, codec in CODECS.items()}
    return {**made, "a.ogv": ogg(20)}


def ogg(pages: int) -> bytes:
    """Pages of 600 bytes, each with a table of three lengths (RFC 3533, 6)."""
    return b"".join(b"OggS" + bytes(22) + bytes([3, 255, 255, 90]) + bytes([page]) * 600 for page in range(pages))


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(PyAvProber, id="pyav"),
        pytest.param(FfprobeProber, id="ffprobe", marks=pytest.mark.needs_tool("ffprobe")),
    ],
)
def prober(request):
    prober = request.param()
    yield prober
    prober.close()


def refusal(path: Path) -> str:
    """The reason, empty where the file is taken for whole."""
    try:
        refuse_what_is_no_clip(path)
    except BrokenClipError as error:
        return str(error)
    return ""


def end(data: bytes) -> int | None:
    return end_of_chunks(BytesIO(data), data[:512], len(data))


NAMES = [*CODECS, "a.ogv"]


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_file_reaches_its_end_and_begins_as_what_it_is(wholes, tmp_path, name):
    data = wholes[name]
    assert end(data) is None or len(data) - 200 <= end(data) <= len(data)
    assert begins_as_container(data[:512])
    assert kind_of_text(data[:512]) == ""
    (tmp_path / name).write_bytes(data)
    refuse_what_is_no_clip(tmp_path / name)


@pytest.mark.parametrize("name", NAMES)
def test_a_cut_file_is_truncated_wherever_it_was_cut_but_between_two_chunks(wholes, tmp_path, name):
    data, dice, path = wholes[name], random.Random(5), tmp_path / name
    reasons = []
    for _ in range(100):
        path.write_bytes(data[: dice.randrange(600, len(data) - 200)])
        reasons.append(refusal(path))
    assert sum(reason.startswith("truncated: ") for reason in reasons) >= 97
    assert {reason.partition(":")[0] for reason in reasons} <= {"truncated", ""}


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("name", ["a.avi", "b.avi", "a.y4m", "a.wmv", "a.flv"])
def test_no_prober_takes_a_part_for_the_whole(prober, wholes, tmp_path, name, share):
    path = tmp_path / name
    path.write_bytes(wholes[name])
    assert prober.probe(path, LIMIT_S).duration_s == 1.0
    path.write_bytes(wholes[name][: int(len(wholes[name]) * share) - 200])
    with pytest.raises(BrokenClipError, match="truncated: "):
        prober.probe(path, LIMIT_S)


@pytest.mark.parametrize("rubbish", [bytes(500), b"\xff" * 500, b"\r\n\r\n"], ids=["zeros", "ones", "lines"])
@pytest.mark.parametrize("name", NAMES)
def test_rubbish_behind_the_end_does_no_harm(wholes, tmp_path, name, rubbish):
    (tmp_path / name).write_bytes(wholes[name] + rubbish)
    refuse_what_is_no_clip(tmp_path / name)


@pytest.mark.parametrize("fill", [0, 0xFFFFFFFF])
def test_an_avi_whose_writer_left_its_sizes_open_is_followed_chunk_by_chunk(wholes, fill):
    data = bytearray(wholes["a.avi"])
    data[4:8] = fill.to_bytes(4, "little")
    at = data.index(b"movi") - 8
    data[at + 4 : at + 8] = fill.to_bytes(4, "little")
    assert end(bytes(data)) == len(data)
    assert end(bytes(data[: len(data) // 2])) > len(data) // 2


def test_an_avi_of_several_riff_chunks_ends_with_the_last(wholes):
    first = wholes["a.avi"]
    second = b"RIFF" + (4004).to_bytes(4, "little") + b"AVIX" + bytes(4000)
    assert end(first + second) == len(first + second) - 8
    assert end(first + second[:-9]) > len(first + second[:-9])


@pytest.mark.parametrize("too_much", [8, 0])
def test_an_avi_that_counts_its_own_header_is_whole_all_the_same(wholes, too_much):
    data = bytearray(wholes["a.avi"])
    data[4:8] = (len(data) - 8 + too_much).to_bytes(4, "little")
    assert end(bytes(data)) <= len(data)


@pytest.mark.parametrize(("last", "is_cut"), [(b"\xff\xff", True), (b"\xff\x00", False), (b"\xff\x5a", False)])
def test_an_ogg_whose_last_packet_goes_on_was_cut_between_two_pages(last, is_cut):
    data = ogg(3) + b"OggS" + bytes(22) + b"\x02" + last + bytes(sum(last))
    assert (end(data) > len(data)) == is_cut
    assert end(data + ogg(1)) == len(data + ogg(1))


@pytest.mark.parametrize(
    ("header", "frame_bytes"),
    [
        ("W6 H4 F25:1", 36),
        ("W6 H4 F25:1 Ip A1:1 C420jpeg XYSCSS=420JPEG", 36),
        ("W5 H3 C420mpeg2", 15 + 2 * 3 * 2),
        ("W6 H4 C420p10", 72),
        ("W6 H4 C422", 48),
        ("W6 H4 C422p16", 96),
        ("W6 H4 C444", 72),
        ("W6 H4 C444alpha", 96),
        ("W8 H4 C411", 32 + 2 * 2 * 4),
        ("W6 H4 Cmono", 24),
        ("W6 H4 Cmono12", 48),
    ],
)
def test_a_y4m_has_whole_frames(header, frame_bytes):
    first = f"YUV4MPEG2 {header}\n".encode()
    data = first + (b"FRAME\n" + bytes(frame_bytes)) * 2 + b"FRAME Ixyz\n" + bytes(frame_bytes)
    assert end(data) == len(data)
    assert all((end(data[:-cut]) or 0) > len(data) - cut for cut in range(1, frame_bytes + 11))
    assert end(data[: len(first) + 6 + frame_bytes]) == len(first) + 6 + frame_bytes


@pytest.mark.parametrize("header", ["W6 H4 Cxyz", "W6", "Wx Hy", ""])
def test_a_y4m_that_does_not_say_its_frames_size_says_nothing_of_its_end(header):
    assert end(f"YUV4MPEG2 {header}\n".encode() + b"FRAME\n" + bytes(5)) is None


@pytest.mark.parametrize("name", NAMES)
def test_damaged_chunks_end_a_walk_and_nothing_else(wholes, name):
    dice = random.Random(11)
    for _ in range(200):
        data = bytearray(wholes[name])
        for _ in range(dice.choice([1, 20, 400])):
            data[dice.randrange(len(data))] = dice.randrange(256)
        end(bytes(data))
    for length in range(60):
        end(wholes[name][:length])


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\n <HTML>", "HTML"),
        (b"\xef\xbb\xbf<!doctype HTML>", "HTML"),
        ("<html>".encode("utf-16"), "HTML"),
        (b'<?xml version="1.0"?>', "XML"),
        (b"<Error>", "XML"),
        (b' {"error": 1}', "JSON"),
        (b"[]", "JSON"),
        (b"#EXTM3U", "text"),
        (b"Try free clips elsewhere", "text"),
        (b"RIFF what AVI is not", "text"),
        ("zu spät".encode("latin-1"), "text"),
        (b"YUV4MPEG2 W6 H4\nFRAME\n", ""),
        (b"\x00\x00\x00\x20ftyp", ""),
        (b"\x1aE\xdf\xa3", ""),
        (b"\x89PNG\r\n\x1a\n\x00\x00", ""),
        (b"", ""),
    ],
)
def test_text_is_told_by_its_first_bytes(head: bytes, kind: str) -> None:
    assert kind_of_text(head) == kind


def zeroed(codec: str, boxes: tuple[bytes, ...]) -> Callable[[Path], Path]:
    """A clip whose header boxes (version 0: ISO/IEC 14496-12, 8.2.2 and 8.4.2) give its length as 0."""

    def make(path: Path) -> Path:
        data = bytearray(encode(path, codec).read_bytes())
        for box in boxes:
            at = data.index(box) + 4 + 4 + 8 + 4
            data[at : at + 4] = bytes(4)
        path.write_bytes(data)
        return path

    return make


@pytest.mark.parametrize("boxes", [(b"mdhd",), (b"mdhd", b"mvhd")], ids=["stream", "stream and file"])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".3gp"])
@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_a_header_that_says_no_length_is_not_believed_where_the_frames_are_listed(
    prober, tmp_path, codec, suffix, boxes
):
    assert prober.probe(zeroed(codec, boxes)(tmp_path / f"a{suffix}"), LIMIT_S).duration_s == 1.0


STREAMS = {
    "a.ts": "libx264",
    "b.ts": "libx265",
    "c.ts": "mpeg2video",
    "a.mpg": "mpeg2video",
    "a.h264": "libx264",
    "a.hevc": "libx265",
    "a.m2v": "mpeg2video",
}
TS_PACKET_BYTES = 188


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("streams")
    return {name: encode(folder / name, codec).read_bytes() for name, codec in STREAMS.items()}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_without_an_index_that_was_cut_within_a_picture_is_truncated(
    prober: Prober, streams: dict[str, bytes], tmp_path: Path, name: str
) -> None:
    path, whole = tmp_path / name, streams[name]
    path.write_bytes(whole)
    assert prober.probe(path, LIMIT_S).width == 96
    dice, cut = random.Random(7), 0
    for _ in range(8):
        length = dice.randrange(len(whole) // 3, len(whole) - 600)
        # Whole packets of the container: nothing but a decoder sees that there is less.
        path.write_bytes(whole[: length - length % TS_PACKET_BYTES if name.endswith(".ts") else length])
        try:
            prober.probe(path, LIMIT_S)
        except BrokenClipError as error:
            cut += str(error).startswith("truncated: ")
    # The others were cut between two pictures, and are whole by their own account.
    assert cut >= 5


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("slices.h264", "libx264", {"preset": "ultrafast", "x264-params": "slices=4:cabac=0"}),
        ("open.ts", "libx264", {"x264-params": "open-gop=1:keyint=10:bframes=3:b-pyramid=2"}),
        ("fields.ts", "libx264", {"x264-params": "interlaced=1:bframes=2"}),
        ("far.hevc", "libx265", {}),
    ],
)
@pytest.mark.parametrize("behind", [b"", bytes(400)], ids=["", "zeros behind it"])
def test_a_whole_stream_is_left_alone_however_it_was_encoded(
    tmp_path: Path, name: str, codec: str, options: dict[str, str], behind: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqa_assets_tests.clips.test_probing.X264", options)
    path = encode(tmp_path / name, codec)
    path.write_bytes(path.read_bytes() + behind)
    assert says_no_end(path)
    refuse_cut_end(path, LIMIT_S)


@pytest.mark.parametrize("name", ["a.ts", "a.hevc"])
def test_what_takes_too_long_to_decode_is_left_alone(streams: dict[str, bytes], tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    cut = streams[name][: len(streams[name]) // 2]
    path.write_bytes(cut[: len(cut) - len(cut) % TS_PACKET_BYTES] if name == "a.ts" else cut)
    with pytest.raises(BrokenClipError, match="truncated: its last picture is cut"):
        refuse_cut_end(path, LIMIT_S)
    refuse_cut_end(path, 0.0)


@pytest.mark.parametrize("name", [*NAMES, "a.mp4", "a.mkv"])
def test_only_what_has_no_index_is_decoded(wholes: dict[str, bytes], tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(wholes[name]) if name in wholes else encode(path)
    assert says_no_end(path) == (path.suffix in (".ts", ".m2ts", ".mpg"))
