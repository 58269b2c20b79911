"""What a clip on disk is: the identity of its bytes, and its geometry.

The geometry is asked of FFmpeg's libraries through PyAV, or of the ``ffprobe`` program.
Both give the same row for the same clip, and refuse the same files for the same reasons; which part does what:

- ``hashing``: SHA-256 and size;
- ``containers``: what a file is by its own bytes, and whether its end is missing;
- ``matroska``: where a Matroska file ends by its own elements;
- ``pyav``: one clip asked in this process;
- ``slices``: the pixel format of H.264 and HEVC without decoding a picture;
- ``worker``: a child process that does so for a parent;
- ``isolated``: the prober over such workers;
- ``ffprobe``: the prober over the program.

How an answer becomes a geometry is in ``clip``; what becomes of broken clips is not here (``ingest``).
"""

from vqa_assets.clips.probing.ffprobe import FfprobeProber
from vqa_assets.clips.probing.hashing import hash_file
from vqa_assets.clips.probing.isolated import PyAvProber

__all__ = ["FfprobeProber", "PyAvProber", "hash_file"]
