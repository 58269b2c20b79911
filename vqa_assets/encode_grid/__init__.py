"""Encodes of source clips over a grid of settings, scored by VMAF: from libvmaf reports and vmaf-tune rows to one
training table. No opinion score belongs here, and no clip is opened: what a score is worth is in ``unified`` and
``heads``.

``grid_files`` → ``libvmaf`` (one report), ``grid_rows`` (one row) → ``grid_sources`` → ``grid``.
"""
