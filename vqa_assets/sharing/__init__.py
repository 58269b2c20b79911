"""What is passed on: tables and heads as the Hugging Face Hub lays them out, and lists of clips for other trainers.

A folder is put in its place as one act (``folder``); whose licences bind it, and what they forbid, is in ``licences``.
``cards`` writes the Hub's metadata, ``hub`` chooses what goes into a folder for it, ``clip_lists`` what trainers read.
Nothing here asks a network; ``hf upload`` brings a folder to the Hub.
"""
