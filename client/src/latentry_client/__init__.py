"""Python SDK and command line of latentry."""
