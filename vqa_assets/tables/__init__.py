"""What is on disk: column specs and their validation, tables of any format, atomic files, the data root, locks.

What is done with a row is not here (``ingest``, ``unified``, ``labels``), nor what an asset publishes (``assets``).
"""
