"""Trainer of latentry: autoencoders and GANs, exported to ONNX bundles."""
