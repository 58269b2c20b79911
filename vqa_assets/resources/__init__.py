"""Injectable resources: the data root, prober, downloader, feature extractor, trainer, clip pool and notifier.

Thin on purpose.

What they do is in the rooms below (``clips``, ``features``, ``heads``); how a run uses them is in
``assets``. Any object that satisfies the protocol of its user can be injected instead: ``build_defs(prober=…)``.
"""
