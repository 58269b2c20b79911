"""What a head is worth: folds and protocol, baselines, intervals, and any head beside opinion scores."""
