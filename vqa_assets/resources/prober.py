"""What reads a clip's geometry: PyAV in child processes that outlive a clip, or one ffprobe process a clip."""

from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from vqa_assets.clips.programs import AUTO, PROBING
from vqa_assets.stages.corpora import prober_named

if TYPE_CHECKING:
    from vqa_assets.ingest.tools import ProberDescription


class ProberResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Reads each clip's size, frame rate, length, pixel format and codec, by PyAV or by ffprobe.

    Both ways give the same row; PyAV is many times faster, and a clip that crashes it costs that clip only.
    """

    implementation: str = Field(default=AUTO, description=PROBING.described())

    def describe_tool(self) -> "ProberDescription":
        """See ``ingest.tools.Described``; the environment that counts is this process's."""
        return prober_named(self.implementation)
