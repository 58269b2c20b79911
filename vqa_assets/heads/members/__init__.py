"""What learns: the map of features, networks and ridge members, their training, and the ONNX that they become."""
