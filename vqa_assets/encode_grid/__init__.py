"""Encodes of source clips over a grid of settings, scored by VMAF: from libvmaf reports and vmaf-tune rows to one
training table. No opinion score belongs here, and no clip is opened: what a score is worth is in ``unified`` and
``heads``.

``grid_files`` → ``libvmaf_report``, ``grid_rows`` → ``grid_sources`` → ``grid``.
"""
