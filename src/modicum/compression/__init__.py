"""Fitted recommenders made cheaper to run: export to ONNX."""
