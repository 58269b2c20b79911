"""What is on disk: the data root's paths, atomic writes, JSON Lines, tables, progress, the ingest cache, locks.

What a row means is not here (``schemas``), nor what is done with it (``ingest``, ``aggregate``, ``labels``).
"""
