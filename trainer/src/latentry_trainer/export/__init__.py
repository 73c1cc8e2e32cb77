"""From a trained variant to a published bundle: ONNX graphs, the parity check, the manifest, atomic publishing."""
