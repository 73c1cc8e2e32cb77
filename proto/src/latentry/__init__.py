"""The messages and service stubs of the latentry API, generated from `proto/latentry/v1`."""
