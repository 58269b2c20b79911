"""Features joined with opinion scores. Row order and count of the feature table never change.

``labelled`` makes one table, ``batch`` several by a manifest; each is a plain function that needs no Dagster. A label
row passes through

    tables/foreign_tables (a file of any format is opened) → keys, scores → joining, coverage → labelled (published)

Nothing heavy is imported by this module: import from the modules.
"""
