"""gRPC: services of a few lines a method, pure converters, one interceptor, one table of statuses."""
