"""Features joined with opinion scores. Row order and count of the feature table never change.

``labelled`` makes one table, ``batch`` several by a manifest; each is a plain function that needs no Dagster:

    settings → formats → reading → label_file (keys, scale, votes) → conflicts
    feature_table → coverage → joining → writing → labelled → batch

Nothing heavy is imported by this module: import from the modules.
"""
