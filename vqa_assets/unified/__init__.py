"""Many corpora become one: native scales onto 0–100, and each clip once. Knows shards and rows, not Dagster.

Two passes, neither of which holds the rows: ``scanning`` reads every line and keeps numbers, ``index`` judges them,
``duplicates`` says which rows stand, ``rows`` reads those again and writes them unified. ``corpus`` publishes.
"""
