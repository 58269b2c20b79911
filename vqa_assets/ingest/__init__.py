"""The ingest loop: annotation rows and clips become one corpus's JSONL, resumable and reconciled.

Declares the protocols it needs (``protocols``); how a clip is downloaded or probed is elsewhere.
"""
