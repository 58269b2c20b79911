"""From one clip to its feature row: one module per family of features, the extractor that joins them, its cache.

What the features are called and how a head normalises them is in ``feature_names``; which clips there are and where
the work runs is the caller's.
"""
