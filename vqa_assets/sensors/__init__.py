"""What starts a run: a changed annotation file, and a weekly re-ingest. Both are off until somebody switches them on.

What a run does is in ``assets``.
"""
