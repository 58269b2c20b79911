"""What each stage does with a data root: where its inputs lie, what its settings mean there, and the room that works.

A Dagster asset and a call of ``vqa_assets.api`` are the same function of this room: the one brings a run config and
shows metadata, the other brings arguments and hands back a record. Nothing here knows who asks.
"""
