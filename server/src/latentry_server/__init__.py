"""Inference server of latentry: ONNX bundles over gRPC."""

import os

# From 1.29 on onnxruntime reports to its maker, unless it is told not to before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
