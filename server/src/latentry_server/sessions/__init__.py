"""The runtime behind a small protocol; devices, threads."""
