"""Backbones: pretrained networks that embed pictures, each a folder with an ONNX file and a declaration.

What a backbone is and what its file may leave out is in ``declaration``, what an ONNX file says of itself in ``graph``,
how it is run in ``network``; how a clip becomes its pictures is ``features``'.
"""
