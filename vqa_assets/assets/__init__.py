"""Software-defined assets, one module per subject with its checks; made by functions of the corpora.

An asset calls the plain function of its stage, turns a failure into Dagster's (``runs``), and publishes a file
(``published``) with what the web UI shows of it (``metadata``). What the stages do is in the rooms below; nothing here
is needed to do it.
"""
