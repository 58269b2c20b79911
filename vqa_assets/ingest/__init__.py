"""The ingest loop: annotation rows and clips become one corpus's JSONL, resumable and reconciled.

Declares the protocols of what it needs (``tools``); how a clip is downloaded or probed is in ``clips``.
"""
