"""One clip and what is done to it: geometry, hashing, probing, downloading, child processes, work on many clips."""
