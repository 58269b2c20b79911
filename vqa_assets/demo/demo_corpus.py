"""A small corpus in the shape of KonViD-150k's URL manifest: procedural clips, made-up scores, four faults.

The scores are no opinions of anybody: a documented function of the damage done to a clip, rated by simulated people,
so that a head has something to learn. The pictures are drawn in ``scenes``, the clips served by ``server``.
"""

import csv
import io
import json
import re
import statistics
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast
from urllib.parse import quote

import av
import numpy as np

from vqa_assets.clips.work import ProgressLine, completed
from vqa_assets.demo.scenes import Frame, Take, grain, moving_pictures, soften
from vqa_assets.tables.files import write_bytes, write_json

GENERATOR = 2
"""Raised with every change that makes other clips or scores."""
SEED = 20260508
CATALOGUE, WITHHELD = "demo-corpus.json", "withheld"
WORKERS = 2
SIZES = ((320, 180), (426, 240), (480, 270), (640, 360))
RATES = (24, 25, 30)
TRUNCATED_SHARE = 0.6
BEST, WORST = 4.7, 1.2
RATER_BIAS_SD, VOTE_SD = 0.35, 0.7
FEWEST_RATERS, MOST_RATERS = 8, 40
CRF_RANGE = {"libx264": (18, 46), "libvpx-vp9": (24, 60)}
"""From hardly visible to gross, per codec."""
_HEADER = ("video_name", "url", "mos", "sd", "n")
_NAME = re.compile(r"(twin_of_)?demo_\d{4,}\.(mp4|webm)")
_SUFFIX = {"libx264": ".mp4", "libvpx-vp9": ".webm"}
# x264's macroblock tree gives other bytes from one encode to the next, even on one thread.
_CODEC_OPTIONS = {
    "libx264": {"preset": "veryfast", "threads": "1", "x264-params": "mbtree=0"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "row-mt": "0", "threads": "1", "b": "0"},
}


@dataclass(frozen=True)
class Encoding:
    """How frames become a file. ``faststart`` puts an mp4's index before its pictures."""

    codec: str = "libx264"
    crf: int = 23
    fps: int = 25
    pix_fmt: str = "yuv420p"
    faststart: bool = False


@dataclass(frozen=True)
class Damage:
    """What was done to a clip: codec and CRF, blur (σ in pixels), grain (SD in 8-bit levels), height in pixels."""

    codec: str
    crf: int
    blur_px: float
    grain_sd: float
    height: int


@dataclass(frozen=True)
class Rating:
    """Mean, sample SD and number of whole votes from 1 to 5."""

    mos: float
    sd: float
    count: int


@dataclass(frozen=True)
class ClipPlan:
    """One clip before it is made: what it shows, the damage, the encoding, the rating."""

    name: str
    take: Take
    damage: Damage
    encoding: Encoding
    rating: Rating


@dataclass(frozen=True)
class DemoRow:
    """One row of the annotation file; ``mos`` is text, because one row's is unusable."""

    name: str
    mos: str
    sd: float
    count: int


@dataclass(frozen=True)
class DemoCorpus:
    """A corpus that was made: the served folder, the annotation rows, and what is wrong with which clip."""

    served: Path
    rows: tuple[DemoRow, ...]
    faults: Mapping[str, str]


def latent_quality(damage: Damage) -> float:
    """The quality that raters scatter about, on 1–5: falls with CRF, blur and grain, and a little with a small picture.

    ``4.7 − 2.6 c^1.3 − 0.7 σ − 0.05 g − 0.4 (1 − h / 360)``, never under 1.2; c is the CRF's place in its range.
    """
    low, high = CRF_RANGE[damage.codec]
    coarse = min(max((damage.crf - low) / (high - low), 0.0), 1.0)
    lost = 2.6 * coarse**1.3 + 0.7 * damage.blur_px + 0.05 * damage.grain_sd + 0.4 * (1 - damage.height / 360)
    return float(max(BEST - lost, WORST))


def rate(damage: Damage, rng: np.random.Generator) -> Rating:
    """Votes of 8 to 40 simulated raters, each with a bias of their own."""
    count = int(rng.integers(FEWEST_RATERS, MOST_RATERS + 1))
    felt = latent_quality(damage) + rng.normal(0, RATER_BIAS_SD, count) + rng.normal(0, VOTE_SD, count)
    votes = [int(vote) for vote in np.clip(np.rint(felt), 1, 5)]
    return Rating(round(statistics.fmean(votes), 3), round(statistics.stdev(votes), 3), count)


def encode_clip(path: Path, frames: Iterable[Frame], encoding: Encoding) -> None:
    """Encode H×W×3 uint8 RGB frames (H and W even) into ``path``, byte for byte the same each time."""
    options = {"fflags": "+bitexact", **({"movflags": "+faststart"} if encoding.faststart else {})}
    with av.open(str(path), "w", format=_SUFFIX[encoding.codec][1:], options=options) as container:
        stream = cast(av.VideoStream, container.add_stream(encoding.codec, rate=encoding.fps))
        stream.pix_fmt = encoding.pix_fmt
        stream.options = {"crf": str(encoding.crf), "flags": "+bitexact", **_CODEC_OPTIONS[encoding.codec]}
        for index, picture in enumerate(frames):
            if index == 0:  # only the first picture says how large they are
                stream.height, stream.width = picture.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def make_demo_corpus(
    folder: Path, *, clips: int = 120, seed: int = SEED, say: Callable[[str], None] = print
) -> DemoCorpus:
    """``clips`` whole clips with rows, and four rows more: one file missing, one truncated, one twin, one unscored.

    Clips lie in ``<folder>/served``, and those that are not served whole in ``<folder>/withheld`` as well, for whoever
    brings them by hand. A whole folder is left as it is; a half-made one is made again.
    """
    plans = plan_clips(clips + 3, seed)
    # an mp4 whose index comes first: cut off, it still looks whole to a careless probe
    cut = replace(plans[-3].damage, codec="libx264", crf=28)
    plans[-3] = replace(
        plans[-3],
        name=Path(plans[-3].name).with_suffix(".mp4").name,
        damage=cut,
        encoding=replace(plans[-3].encoding, codec=cut.codec, crf=cut.crf, faststart=True),
        rating=rate(cut, np.random.default_rng(0)),
    )
    served = folder / "served"
    served.mkdir(parents=True, exist_ok=True)
    corpus = _with_faults(plans, served)
    key = {"generator": GENERATOR, "seed": seed, "clips": clips}
    if _is_whole(folder, key):
        say(f"[demo] {clips} clips are there already")
        return corpus
    line = ProgressLine("demo", len(plans), say)
    with ThreadPoolExecutor(WORKERS) as executor:
        for done, (_, future) in enumerate(completed(executor, lambda p: _make_clip(p, served), plans, 4), 1):
            future.result()
            line.update(done)
    say(f"[demo] made {len(plans)} clips")
    withheld = folder / WITHHELD
    withheld.mkdir(exist_ok=True)
    _damage_files(corpus, withheld)
    made = [path for place in (served, withheld) for path in sorted(place.iterdir())]
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in made}
    write_json(folder / CATALOGUE, {**key, "files": sizes})
    return corpus


def write_manifest(demo: DemoCorpus, base_url: str, path: Path) -> None:
    """The annotation file, in KonViD-150k's spellings; one that would stay the same is left alone."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HEADER)
    writer.writerows((r.name, f"{base_url}/{quote(r.name)}", r.mos, r.sd, r.count) for r in demo.rows)
    content = text.getvalue().encode()
    if not (path.exists() and path.read_bytes() == content):
        write_bytes(path, content)


def is_demo_manifest(path: Path) -> bool:
    """True for an annotation file with the demo's columns, all of whose rows have the names of the demo's clips."""
    if not path.is_file():
        return False
    with path.open(newline="", encoding="utf-8", errors="replace") as lines:
        rows = csv.reader(lines)
        try:
            header = next(rows, None)
            return header == list(_HEADER) and all(_NAME.fullmatch(row[0]) for row in rows if row)
        except csv.Error:
            return False


def plan_clips(count: int, seed: int) -> list[ClipPlan]:
    """The plans of ``count`` clips; each has a content, a damage and raters of its own."""
    return [_plan(index, np.random.default_rng((seed, index)), seed) for index in range(count)]


def _plan(index: int, rng: np.random.Generator, seed: int) -> ClipPlan:
    # every fourth clip is VP9, so that the demo meets both containers
    codec = "libvpx-vp9" if index % 4 == 3 else "libx264"
    low, high = CRF_RANGE[codec]
    width, height = SIZES[rng.integers(len(SIZES))]
    fps = RATES[rng.integers(len(RATES))]
    damaged = rng.random()
    damage = Damage(
        codec=codec,
        crf=int(rng.integers(low, high + 1)),
        blur_px=round(float(rng.uniform(0.4, 2.0)), 2) if damaged < 0.3 else 0.0,
        grain_sd=round(float(rng.uniform(4, 16)), 1) if 0.3 <= damaged < 0.5 else 0.0,
        height=height,
    )
    take = Take((seed, index, 1), width, height, int(fps * rng.uniform(1.0, 1.9)), int(rng.choice([1, 1, 2, 3])))
    return ClipPlan(
        name=f"demo_{index:04d}{_SUFFIX[codec]}",
        take=take,
        damage=damage,
        encoding=Encoding(codec, damage.crf, fps, faststart=index % 8 == 0),
        rating=rate(damage, rng),
    )


def _with_faults(plans: list[ClipPlan], served: Path) -> DemoCorpus:
    """The corpus of these plans; the last two of them and the first get the faults."""
    rows = [DemoRow(p.name, f"{p.rating.mos:g}", p.rating.sd, p.rating.count) for p in plans]
    first, truncated, missing, unscored = plans[0].name, plans[-3].name, plans[-2].name, plans[-1].name
    rows[-1] = replace(rows[-1], mos="n/a")
    twin = replace(rows[0], name=f"twin_of_{first}")
    faults = {
        missing: "not on the server: 404",
        truncated: "cut off in the middle",
        twin.name: f"the same bytes as {first}",
        unscored: "its MOS reads n/a",
    }
    return DemoCorpus(served, (*rows, twin), faults)


def _is_whole(folder: Path, key: Mapping[str, object]) -> bool:
    """Whether the catalogue is of this very corpus, and every file of it has its size."""
    try:
        catalogue = json.loads((folder / CATALOGUE).read_bytes())
    except (OSError, ValueError):
        return False
    if {name: catalogue.get(name) for name in key} != key:
        return False
    files = {folder / name: size for name, size in catalogue["files"].items()}
    return all(path.is_file() and path.stat().st_size == size for path, size in files.items())


def _make_clip(plan: ClipPlan, served: Path) -> None:
    path = served / plan.name
    # renamed when it is whole: an interrupt leaves no half clip under a clip's name
    part = path.with_name(f".{path.name}.part")
    frames = soften(moving_pictures(plan.take), plan.damage.blur_px)
    encode_clip(part, grain(frames, plan.damage.grain_sd, (*plan.take.seed, 2)), plan.encoding)
    part.replace(path)


def _damage_files(corpus: DemoCorpus, withheld: Path) -> None:
    """Take away, cut and copy as ``corpus.faults`` says; the clips were all made whole a moment ago."""
    first = corpus.served / corpus.rows[0].name
    for name, fault in corpus.faults.items():
        path = corpus.served / name
        if fault.startswith("not on the server"):
            path.replace(withheld / name)
        elif fault.startswith("cut off"):
            content = path.read_bytes()
            (withheld / name).write_bytes(content)
            path.write_bytes(content[: int(len(content) * TRUNCATED_SHARE)])
        elif fault.startswith("the same bytes"):
            path.write_bytes(first.read_bytes())
