"""Many corpora become one: native scales onto 0–100, and each clip once. Knows shards and rows, not Dagster.

Two passes, neither of which holds the rows: ``shards`` scans every line and keeps numbers, ``index`` judges them,
``duplicates`` says which rows stand, ``unifying`` reads those again and brings them onto 0–100. ``corpus`` publishes
them, as ``table`` does for Parquet; ``description``, ``related`` and ``croissant`` say what is inside. ``feature_rows``
joins the opinion scores with their features.
"""
