"""Backbones: embedding beside decoding and onnxruntime alone, and families joined beside each alone.

The network is efficientnet-lite0 from its extra, shown as many frames as make it take as long as decoding. Decoding and
onnxruntime alone have a core each, and embedding has both: what it can reach is the slower of the two.
"""

import os
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from vqa_assets.backbones.batching import BATCH_ON_CPU, Batches
from vqa_assets.backbones.declaration import Sampling
from vqa_assets.backbones.efficientnet_lite0 import FACTS, export_onnx
from vqa_assets.backbones.folder import Backbone
from vqa_assets.backbones.making import add_backbone
from vqa_assets.backbones.network import Network
from vqa_assets.clips.hashing import hash_file
from vqa_assets.features.backbone import backbone_family
from vqa_assets.features.cache import FeatureCache
from vqa_assets.features.decoding import ClipFile, opened
from vqa_assets.features.extractor import ClipExtractor
from vqa_assets.features.ffmpeg import ffmpeg_binary
from vqa_assets.features.measuring import ClipToMeasure, MeasuringRun, extract_features

CLIPS, SIZE, FRAMES, PICTURES = 8, "960x540", 120, 16
CORES = 2
TURNS, OF_THE_SLOWER, OF_THE_SUM = 3, 0.85, 0.85


def main() -> None:
    """Print both ratios, and clips a second; all of it on two cores, however many there are."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    with tempfile.TemporaryDirectory(prefix="vqa-bench-") as name:
        folder = Path(name)
        backbone = add_backbone(export_onnx(folder / "efficientnet-lite0.onnx"), folder / "backbones", FACTS)
        clips = [_clip(folder / f"{number}.mp4", number) for number in range(CLIPS)]
        _beside_each_alone(backbone, clips, folder)
        _joined(backbone, clips, folder)


def _beside_each_alone(backbone: Backbone, clips: Sequence[Path], folder: Path) -> None:
    alone = Network(backbone, "cpu", threads=1)
    pictures = np.random.default_rng(0).integers(0, 255, (PICTURES, 1, 224, 224, 3), dtype=np.uint8)
    one_lane = Batches(alone, BATCH_ON_CPU, lanes=1)
    one_lane.embed([pictures])  # the first run of a network takes longer than all others
    decoding_s = _timed(lambda: [_decode(clip) for clip in clips])[1]
    some_pictures = statistics.median(_timed(lambda: one_lane.embed([pictures]))[1] for _ in range(CLIPS))
    # So many pictures a clip that both take as long.
    frames = max(round(decoding_s / CLIPS / (some_pictures / PICTURES)), 1)
    shown = replace(backbone, sampling=Sampling(frames=min(frames, FRAMES)))
    both = ClipExtractor(feature_sets=(), further=(backbone_family(shown, "cpu"),))
    _measure(clips[:1], both, folder, 1)  # opens the network
    ratios, works, rates = [], [], []
    for _ in range(TURNS):
        decoding = _timed(lambda: [_decode(clip) for clip in clips])
        network = _timed(lambda: [one_lane.embed([pictures]) for _ in range(CLIPS)])
        share = (shown.sampling.frames or 1) / PICTURES
        ours = _timed(lambda: _measure(clips, both, folder, 2))
        ratios.append(max(decoding[0], network[0] * share) / ours[0])
        works.append((decoding[1] + network[1] * share) / ours[1])
        rates.append(CLIPS / ours[0])
    ratio, work, rate = map(statistics.median, (ratios, works, rates))
    print(
        f"embedding {shown.sampling.frames} frames of {CLIPS} clips of {SIZE}: {ratio:.2f} of the slower of decoding "
        f"alone and onnxruntime alone, a core each ({rate:.2f} clips/s with both cores; of its processor time both are "
        f"{work:.2f}; medians of {TURNS}); target: at least {OF_THE_SLOWER}, on two cores that nobody else uses",
        flush=True,
    )


def _joined(backbone: Backbone, clips: Sequence[Path], folder: Path) -> None:
    family = backbone_family(backbone, "cpu")
    extractors = {
        "nr-v1": ClipExtractor(feature_sets=("nr-v1",)),
        "backbone": ClipExtractor(feature_sets=(), further=(family,)),
        "joined": ClipExtractor(feature_sets=("nr-v1",), further=(family,)),
    }
    _measure(clips[:1], extractors["joined"], folder, 1)
    ratios = []
    for _ in range(TURNS):
        times = {
            what: _timed(lambda e=one: _measure(clips, e, folder, 2))[0]  # type: ignore[misc]
            for what, one in extractors.items()
        }
        ratios.append(times["joined"] / (times["nr-v1"] + times["backbone"]))
    print(
        f"nr-v1 and efficientnet-lite0 on 8 frames, joined: {statistics.median(ratios):.2f} of the sum of each alone "
        f"(medians of {TURNS}); target: at most {OF_THE_SUM}",
        flush=True,
    )


def _measure(clips: Sequence[Path], extractor: ClipExtractor, folder: Path, workers: int) -> None:
    todo = [ClipToMeasure(clip.name, clip, hash_file(clip, threading.Event()).sha256) for clip in clips]
    path = folder / "cache.sqlite"
    with FeatureCache(path) as cache, ThreadPoolExecutor(workers) as executor:
        _, report = extract_features(todo, extractor, executor, cache, MeasuringRun(2 * workers, threading.Event()))
    path.unlink()
    if report.failed or report.failed_alone:
        raise RuntimeError(str(report))


def _decode(clip: Path) -> int:
    with opened(ClipFile(clip)) as source:
        return sum(1 for _ in source.frames(1_800))


def _clip(path: Path, seed: int) -> Path:
    source = f"mandelbrot=size={SIZE}:rate=30:start_scale={3 - seed / 4}"
    picture = ["-vf", f"noise=alls=4:allf=t:all_seed={seed}", "-pix_fmt", "yuv420p", "-crf", "23"]
    tool = [ffmpeg_binary(), "-y", "-loglevel", "error", "-f", "lavfi", "-i", source, "-frames:v", str(FRAMES)]
    subprocess.run([*tool, *picture, path], check=True)
    return path


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock and by the processor."""
    begun, used = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - begun, time.process_time() - used
