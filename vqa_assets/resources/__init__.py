"""Injectable resources: the data root, prober, downloader, feature extractor, trainer and clip pool. Thin on purpose.

What they do is in the rooms below (``probing``, ``downloading``, ``features``, ``heads``); how a run uses them is in
``assets``. Any object that satisfies the protocol of its user can be injected instead: ``build_defs(prober=…)``.
"""
