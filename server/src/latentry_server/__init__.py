"""Inference server of latentry: ONNX bundles over gRPC."""
