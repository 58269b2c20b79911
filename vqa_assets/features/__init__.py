"""From clips to the feature table: families of features, the extractor that joins them over one decode, their cache.

The columns of the shipped families, and how a head normalises them, are in ``feature_names``; which clips a corpus has
is ``ingest``'s, and where the work runs is the caller's.
"""
