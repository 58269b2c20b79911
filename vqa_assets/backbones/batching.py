"""Batches across clips: whoever waits for vectors fills a network's next batch, whichever clip the pictures are of.

There is no thread for it: of the threads that wait, one runs the network for all of them.
"""

import threading
from collections.abc import Sequence
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

BATCH_ON_CPU, BATCH_ON_CUDA = 16, 256
"""Pictures at once, at most: on a processor more brings nothing."""

_PICTURE_BYTES = 64 << 20
"""About what the inner tensors of a network for 224 × 224 pixels take a picture."""
_NO_MEMORY = ("out of memory", "failed to allocate", "bad_alloc", "bfcarena", "bad allocation")

_log = logger("vqa_assets.backbones")


@dataclass(eq=False)
class _Request:
    """Pictures of one clip, an array an input, and the vectors of those that are done."""

    inputs: "Sequence[Pictures]"
    done: int = 0
    parts: "list[dict[str, Vectors]]" = field(default_factory=list)
    error: Exception | None = None

    @property
    def count(self) -> int:
        """How many pictures, or pieces."""
        return len(self.inputs[0])

    @property
    def waits(self) -> bool:
        """Whether it is not done, and has not failed."""
        return self.error is None and self.done < self.count


class Batches:
    """A network that any number of threads ask for vectors; ``most`` pictures are in a batch, 0: by the memory.

    Out of memory the batch is halved, which is said once.
    """

    def __init__(self, network: Network, most: int = 0) -> None:
        self.network, self.most = network, most or usual_batch(network)
        self._requests: list[_Request] = []
        self._adding, self._running = threading.Lock(), threading.Lock()
        self._told = False

    def embed(self, inputs: "Sequence[Pictures]") -> "dict[str, Vectors]":
        """The vectors of pictures (N, T, H, W, 3), as ``as_batch`` takes them, one array an input: by output.

        ClipError where the network fails on them, TransientClipError where there is no memory for one picture.
        """
        import numpy as np

        request = _Request(inputs)
        with self._adding:
            self._requests.append(request)
        # While one thread runs a batch, those that come later line up behind it: their pictures fill the next one.
        while request.waits:
            with self._running:
                if request.waits:
                    self._run_one()
        if request.error is not None:
            raise request.error
        return {name: np.concatenate([part[name] for part in request.parts]) for name in request.parts[0]}

    def _run_one(self, alone: _Request | None = None) -> None:
        """Run the next batch: the longest waiting pictures, of as many requests as fit, or of one ``alone``."""
        import numpy as np

        with self._adding:
            waiting = [alone] if alone is not None else list(self._requests)
        taken: list[tuple[_Request, slice]] = []
        room = self.most
        for request in waiting:
            count = min(room, request.count - request.done)
            taken += [(request, slice(request.done, request.done + count))] if count else []
            room -= count
        try:
            batch = [
                # Each by itself: differences are on another scale than pictures.
                np.concatenate([as_batch(request.inputs[place][part], layout) for request, part in taken])
                for place, layout in enumerate(self.network.backbone.inputs)
            ]
            vectors = self.network.embed(batch)
        except Exception as error:  # onnxruntime's errors share no base but this
            self._failed([request for request, _ in taken], self.most - room, error)
            return
        first = 0
        for request, part in taken:
            last = first + part.stop - part.start
            request.parts.append({name: values[first:last] for name, values in vectors.items()})
            request.done, first = part.stop, last
        with self._adding:
            self._requests = [request for request in self._requests if request.waits]

    def _failed(self, requests: "list[_Request]", size: int, error: Exception) -> None:
        """After a batch that failed: a smaller one where memory was short, each clip by itself where it was not."""
        name, reason = self.network.backbone.id, " ".join(str(error).split())[:300]
        no_memory = isinstance(error, MemoryError) or any(words in reason.lower() for words in _NO_MEMORY)
        if no_memory and size > 1:
            self.most = size // 2
            if not self._told:
                self._told = True
                _log.warning("backbone %s: no memory for %d pictures at once: the batch is halved", name, size)
        elif len(requests) > 1:
            # It may be the pictures of one clip: the others must not pay for it.
            for request in requests:
                self._run_one(request)
        else:
            (request,) = requests
            if no_memory:
                request.error = TransientClipError(f"backbone {name}: no memory for one picture", found=reason)
            else:
                request.error = ClipError(f"backbone {name}: cannot embed this clip", found=reason)
            with self._adding:
                self._requests.remove(request)


def usual_batch(network: Network) -> int:
    """Pictures in a batch, by the memory that the device has left."""
    one = network.backbone.inputs[0]
    scale = max(one.frames * one.height * one.width / 224**2, 1e-3)
    fits = int(_free_bytes(network.device) // 2 // (_PICTURE_BYTES * scale))
    return max(min(fits, BATCH_ON_CUDA if network.device == "cuda" else BATCH_ON_CPU), 1)


def _free_bytes(device: str) -> int:
    from vqa_assets.clips.caps import ClipCaps

    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0]) if torch.cuda.is_available() else 0
    return ClipCaps().budget_bytes
