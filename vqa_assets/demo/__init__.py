"""The demo: a small made-up corpus, served on this machine, so that every stage can be watched in a minute or two."""
