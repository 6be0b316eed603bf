"""Detectors that others trained, as ONNX files: what their manifest says, what is refused, and how they score.

A stored file is the ONNX model as it was given, followed by one metadata entry that holds the manifest: protobuf reads
two messages, one after the other, as one.  So a version is one file with one hash, and another manifest is another
version.
"""
