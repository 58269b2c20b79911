"""A corpus's score files become annotation rows. Opens no clip, and drops nothing silently: a bad row says why.

- ``finding``: which files they are, and what else lies in their place;
- ``score_files``: one file, in a process of its own that may take so much and no more;
- ``dialects``: a file's bytes as lines of values, whatever its format;
- ``matlab``: the same of MATLAB's files;
- ``columns``: what a file's columns mean, with a header or without;
- ``rows``: one line as an annotation row;
- ``splits``: official splits, of a column or of lists;
- ``votes``: SD and count of single votes;
- ``reading``: a whole file read, judged and profiled.

Nothing is imported here: the process that reads score files wants little, and begins with every run.
"""
