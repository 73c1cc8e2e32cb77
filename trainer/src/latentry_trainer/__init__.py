"""Trainer of latentry: autoencoders and GANs, exported to ONNX bundles."""

import os

# From 1.29 on onnxruntime reports to its maker, unless it is told not to before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
