"""A corpus's score files become annotation rows. Opens no clip, and drops nothing silently: a bad row says why.

- ``finding``: which files they are, and what else lies in their place;
- ``dialects``: a file's bytes as lines of values, whatever its format;
- ``matlab``: the same of MATLAB's files;
- ``columns``: what a file's columns mean, with a header or without;
- ``rows``: one line as an annotation row;
- ``splits``: official splits, of a column or of lists;
- ``votes``: SD and count of single votes;
- ``reading``: a whole file read, judged and profiled.
"""

from vqa_assets.annotations.finding import find_annotation_files, present_annotation_files
from vqa_assets.annotations.reading import Annotations, first_lines, read_annotations
from vqa_assets.annotations.rows import VIDEO_SUFFIXES, AnnotationRow

__all__ = [
    "VIDEO_SUFFIXES",
    "AnnotationRow",
    "Annotations",
    "find_annotation_files",
    "first_lines",
    "present_annotation_files",
    "read_annotations",
]
