"""Help from other corpora: when it is advised, who gives it, and what it adds to a head of few labels."""
