"""What the unified corpus holds, read off its Parquet file: clips, labels, licences. Makes and changes no row.

``python -m vqa_assets.describe`` prints it.
"""
