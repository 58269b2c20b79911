"""Software-defined assets, one module per stage with its checks; made by functions of the corpora.

An asset calls the plain function of its stage, tells a failure in words, and shows the replay manifest as metadata.
What the stages do is in the rooms below; nothing here is needed to do it.
"""
