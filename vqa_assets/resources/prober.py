"""What reads a clip's geometry: PyAV in child processes that outlive a clip, or one ffprobe process a clip."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field, PrivateAttr

from vqa_assets.clips.geometry import Geometry
from vqa_assets.resources.programs import AUTO, PROBING

if TYPE_CHECKING:
    from vqa_assets.ingest.protocols import Prober


class ProberResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Reads each clip's size, frame rate, length, pixel format and codec, by PyAV or by ffprobe.

    Both ways give the same row; PyAV is many times faster, and a clip that crashes it costs that clip only.
    """

    implementation: str = Field(default=AUTO, description=PROBING.described())

    _inner: "Prober | None" = PrivateAttr(default=None)
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

    def _prober(self) -> "Prober":
        with self._making:
            if self._inner is None:
                from vqa_assets.clips.probing import FfprobeProber, PyAvProber

                binary = PROBING.binary(self.implementation)
                self._inner = PyAvProber() if binary is None else FfprobeProber(binary)
            return self._inner
