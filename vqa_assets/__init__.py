"""Video-quality corpora as Dagster assets: from score files and clips to gated ONNX heads. Imports nothing."""

__version__ = "0.1.0"
