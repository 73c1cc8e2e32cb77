"""gRPC: services of a few lines a method, pure converters, one wrapper of all calls, one table of statuses."""
