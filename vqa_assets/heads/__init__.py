"""Labelled tables become gated, traceable ONNX heads: recipe, rows, splits, training, evaluation, export, card.

Where artefacts are stored and what Dagster sees of them is not here. ``recipe`` and ``method`` import nothing
heavy, so that definitions may; the other modules are imported when a head is built.
"""
