"""The Open Inference Protocol: its messages and stubs, generated from `third_party/open_inference`."""
