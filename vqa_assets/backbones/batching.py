"""Batches across clips: whoever waits for vectors fills a network's next batch, whichever clip the pictures are of.

On a processor every core runs a small batch of its own: cores that share one batch wait for each other at every
operator, and decoders of other clips have them meanwhile. On a GPU one large batch runs at a time.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vqa_assets.backbones.network import Network, as_batch
from vqa_assets.errors import ClipError, TransientClipError
from vqa_assets.printing import logger

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pictures = NDArray[np.uint8 | np.float32]
    Vectors = NDArray[np.float32]

BATCH_ON_CPU, BATCH_ON_CUDA = 4, 256
"""Pictures at once, at most: on a core one takes as long alone as beside others."""

_PICTURE_BYTES = 64 << 20
"""About what the inner tensors of a network for 224 × 224 pixels take a picture."""
_NO_MEMORY = ("out of memory", "failed to allocate", "bad_alloc", "bfcarena", "bad allocation")

_log = logger("vqa_assets.backbones")


@dataclass(frozen=True)
class Embedded:
    """The vectors of pictures, by output, and the seconds that the network took for them."""

    vectors: "dict[str, Vectors]"
    seconds: float


@dataclass(eq=False)
class _Request:
    """Pictures of one clip, an array an input, and what came of them: vectors by the place of their first picture."""

    inputs: "Sequence[Pictures]"
    done: threading.Event = field(default_factory=threading.Event)
    parts: "dict[int, dict[str, Vectors]]" = field(default_factory=dict)
    embedded: int = 0
    seconds: float = 0.0
    error: BaseException | None = None

    @property
    def count(self) -> int:
        """How many pictures, or pieces."""
        return len(self.inputs[0])

    def answer(self, first: int, vectors: "dict[str, Vectors]", count: int, seconds: float) -> None:
        """Take the vectors of ``count`` pictures from the ``first`` on."""
        self.parts[first] = vectors
        self.embedded += count
        self.seconds += seconds
        if self.embedded == self.count:
            self.done.set()

    def fail(self, error: BaseException) -> None:
        """Have an error instead of vectors; the first one counts."""
        self.error = self.error or error
        self.done.set()


@dataclass(frozen=True)
class _Waiting:
    """The pictures ``first`` to ``last`` of a request that no batch has taken."""

    request: _Request
    first: int
    last: int


class Batches:
    """A network that any number of threads ask for vectors; ``most`` pictures are in a batch, 0: by the memory.

    ``lanes`` batches run at once, 0: as many as cores on a processor, one on CUDA. Out of memory the batch is halved,
    and one runs at a time from then on, which is said once.
    """

    def __init__(self, network: Network, most: int = 0, lanes: int = 0) -> None:
        usual_lanes, usual_most = usual_batches(network)
        self.network, self.most = network, most or usual_most
        self._waiting: deque[_Waiting] = deque()
        self._changing = threading.Lock()
        self._alone: threading.Lock | None = None
        # What is waited for in the last lines of ``embed`` runs here; idle threads end with the process.
        self._lanes = ThreadPoolExecutor(lanes or usual_lanes, thread_name_prefix="network")

    def embed(self, inputs: "Sequence[Pictures]") -> Embedded:
        """The vectors of pictures (N, T, H, W, 3), as ``as_batch`` takes them, one array an input.

        ClipError where the network fails on them, TransientClipError where there is no memory for one picture.
        """
        import numpy as np

        request = _Request(inputs)
        self._enqueue([_Waiting(request, 0, request.count)])
        request.done.wait()
        if request.error is not None:
            raise request.error
        parts = [request.parts[first] for first in sorted(request.parts)]
        vectors = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return Embedded(vectors, request.seconds)

    def _enqueue(self, waiting: Sequence[_Waiting]) -> None:
        """Have pictures embedded: at least as many runs are to come as it takes to reach all that wait."""
        with self._changing:
            self._waiting.extend(waiting)
            # Of all that waits, for batches may be smaller by now; runs too many find nothing.
            runs = sum(-(-(one.last - one.first) // self.most) for one in self._waiting)
        for _ in range(runs):
            self._lanes.submit(self._run_next)

    def _taken(self) -> list[_Waiting]:
        """The next batch: the longest waiting pictures, of as many requests as fit."""
        with self._changing:
            room, taken = self.most, list[_Waiting]()
            while room and self._waiting:
                one = self._waiting.popleft()
                last = min(one.first + room, one.last)
                if last < one.last:
                    self._waiting.appendleft(_Waiting(one.request, last, one.last))
                taken.append(_Waiting(one.request, one.first, last))
                room -= last - one.first
        return [one for one in taken if one.request.error is None]

    def _run_next(self) -> None:
        """Run the next batch, if any picture still waits; others may have been quicker."""
        if taken := self._taken():
            try:
                self._run(taken)
            except BaseException as error:
                # Nobody reads what this thread raises: whoever waits for its vectors must be told.
                for one in taken:
                    one.request.fail(error)
                raise

    def _run(self, taken: Sequence[_Waiting]) -> None:
        import numpy as np

        try:
            batch = [
                # Each by itself: differences are on another scale than pictures.
                np.concatenate([as_batch(one.request.inputs[place][one.first : one.last], layout) for one in taken])
                for place, layout in enumerate(self.network.backbone.inputs)
            ]
            with self._alone or nullcontext():
                begun = time.perf_counter()
                vectors = self.network.embed(batch)
                seconds = time.perf_counter() - begun
        except Exception as error:  # onnxruntime's errors share no base but this
            self._failed(taken, error)
            return
        size, at = sum(one.last - one.first for one in taken), 0
        for one in taken:
            count = one.last - one.first
            own = {name: values[at : at + count] for name, values in vectors.items()}
            with self._changing:
                one.request.answer(one.first, own, count, seconds * count / size)
            at += count

    def _failed(self, taken: Sequence[_Waiting], error: Exception) -> None:
        """After a batch that failed: a smaller one where memory was short, each clip by itself where it was not."""
        name, reason = self.network.backbone.id, " ".join(str(error).split())[:300]
        no_memory = isinstance(error, MemoryError) or any(words in reason.lower() for words in _NO_MEMORY)
        size = sum(one.last - one.first for one in taken)
        if no_memory and (size > 1 or self._alone is None):
            with self._changing:
                is_first, self._alone = self._alone is None, self._alone or threading.Lock()
                self.most = min(self.most, max(size // 2, 1))
            if is_first:
                _log.warning("backbone %s: no memory for %d pictures at once: the batch is halved", name, size)
            self._enqueue(taken)
        elif len(taken) > 1:
            # It may be the pictures of one clip: the others must not pay for it.
            for one in taken:
                self._run([one])
        else:
            what = "no memory for one picture" if no_memory else "cannot embed this clip"
            kind = TransientClipError if no_memory else ClipError
            taken[0].request.fail(kind(f"backbone {name}: {what}", found=reason))


def usual_batches(network: Network) -> tuple[int, int]:
    """How many batches run at once, and how many pictures are in one, by the memory that the device has left."""
    from vqa_assets.clips.caps import ClipCaps

    one = network.backbone.inputs[0]
    scale = max(one.frames * one.height * one.width / 224**2, 1e-3)
    free = _free_on_cuda() if network.device == "cuda" else ClipCaps().budget_bytes
    if free is None:
        _log.info(
            "backbone %s: without torch nobody says what memory the GPU has free: %d pictures at once, halved where "
            "they are too many (backbone_batch sets another number)",
            network.backbone.id,
            BATCH_ON_CUDA,
        )
        return 1, BATCH_ON_CUDA
    fits = max(int(free // 2 // (_PICTURE_BYTES * scale)), 1)
    if network.device == "cuda":
        return 1, min(fits, BATCH_ON_CUDA)
    lanes = min(os.cpu_count() or 1, fits)
    return lanes, min(fits // lanes, BATCH_ON_CPU)


def _free_on_cuda() -> int | None:
    """The bytes that the GPU has free; None on a machine that only measures, where torch is not installed."""
    try:
        import torch
    except ImportError:
        return None
    return int(torch.cuda.mem_get_info()[0]) if torch.cuda.is_available() else 0
