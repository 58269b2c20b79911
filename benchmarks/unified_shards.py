"""Seeded shards of seven corpora as ``corpus_jsonl`` writes them: extra fields, duplicates, bad rows."""

import random
from pathlib import Path
from typing import Any

from vqa_assets.corpora import CORPORA, Corpus
from vqa_assets.corpora.scales import RAW_MOS, MosScale
from vqa_assets.tables.files import json_line
from vqa_assets.unified.shards import Shard

DUPLICATES, OUTSIDE, UNKNOWN = 0.03, 0.002, 0.0005
_SIZES = ((640, 360), (960, 540), (1280, 720), (1920, 1080), (3840, 2160))
_FORMATS = ("yuv420p", "yuv420p", "yuv420p10le", "yuvj420p")
_RECENT = 4096
_NOW = "2026-05-08T12:{:02d}:{:02d}+00:00"


def write_shards(folder: Path, rows: int, seed: int = 1) -> tuple[Shard, ...]:
    """One shard a corpus, together about that many rows; equal arguments give equal bytes."""
    chance = random.Random(seed)  # noqa: S311  # figures need the same rows each time
    recent: list[str] = []
    shards = []
    for corpus in CORPORA.values():
        path = folder / f"{corpus.stem}.jsonl"
        with path.open("wb") as out:
            for number in range(rows // len(CORPORA)):
                out.write(json_line(_row(corpus, number, chance, recent)))
        shards.append(Shard(path))
    return tuple(shards)


def _row(corpus: Corpus, number: int, chance: random.Random, recent: list[str]) -> dict[str, Any]:
    scale = corpus.stored_scale or corpus.scales[-1]
    width, height = chance.choice(_SIZES)
    mos = _score(scale, chance)
    return {
        "src": f"batch{number % 40}/{chance.randrange(10**10):010d}.mp4",
        "src_sha256": _digest(chance, recent),
        "src_size_bytes": chance.randrange(100_000, 90_000_000),
        "width": width,
        "height": height,
        "framerate": chance.choice((25.0, 29.97, 30.0, 59.94)),
        "duration_s": round(chance.uniform(2, 20), 3),
        "pix_fmt": chance.choice(_FORMATS),
        "encoder_upstream": chance.choice(("h264", "vp9", "hevc")),
        "mos": mos,
        "mos_scale": scale.name,
        "mos_std_dev": 0.0 if chance.random() < 0.2 else round(chance.uniform(0.05, 0.3) * (scale.high - scale.low), 4),
        "n_ratings": chance.randrange(5, 60),
        "corpus": "lsqv" if chance.random() < UNKNOWN else corpus.name,
        "corpus_version": corpus.version,
        "ingested_at_utc": _NOW.format(number // 60 % 60, number % 60),
        **_extra_fields(corpus, number, mos),
    }


def _score(scale: MosScale, chance: random.Random) -> float:
    if chance.random() < OUTSIDE:
        return scale.high + 3.0
    return round(scale.low + (scale.high - scale.low) * chance.betavariate(4, 3), 4)


def _digest(chance: random.Random, recent: list[str]) -> str:
    """Mostly a new one; recent ones come back, in the same corpus and in the next ones."""
    if recent and chance.random() < DUPLICATES:
        return chance.choice(recent)
    digest = chance.randbytes(32).hex()
    if len(recent) < _RECENT:
        recent.append(digest)
    else:
        recent[chance.randrange(_RECENT)] = digest
    return digest


def _extra_fields(corpus: Corpus, number: int, mos: float) -> dict[str, Any]:
    if corpus.name == "konvid-150k":
        return {"score_drop": "k150ka"}
    if corpus.name != "chug":
        return {"content_id": f"content{number // 4}", "split": "train"} if number % 2 else {}
    texts = dict.fromkeys(("video_id", "name", "bitladder", "orientation", "content_name"), f"value{number % 100}")
    return {
        RAW_MOS: round((mos - 1) * 25, 6),
        "content_id": f"content{number // 7}",
        **{f"chug_{name}": text for name, text in texts.items()},
        "chug_ref": number % 7 == 0,
        "chug_framerate_manifest": 30 if number % 3 else 29.97,
        "chug_sos_j": round(2 + number % 13 / 10, 2),
    }
