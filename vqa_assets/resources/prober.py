"""What reads a clip's geometry: PyAV, in child processes that outlive a clip."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import PrivateAttr

from vqa_assets.clip import Geometry

if TYPE_CHECKING:
    from vqa_assets.probing import PyAvProber


class PyAvProberResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """PyAV, many times faster than one ffprobe process a clip; a clip that crashes it costs that clip only."""

    _inner: "PyAvProber | None" = PrivateAttr(default=None)
    _making: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    def probe(self, path: Path, timeout_s: float) -> Geometry:
        """See ``ingest.protocols.Prober``."""
        return self._prober().probe(path, timeout_s)

    def close(self) -> None:
        """End what is under way; a later probe begins anew."""
        with self._making:
            if self._inner is not None:
                self._inner.close()

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002
        """End the child processes."""
        self.close()

    def _prober(self) -> "PyAvProber":
        with self._making:
            if self._inner is None:
                from vqa_assets.probing import PyAvProber

                self._inner = PyAvProber()
            return self._inner
