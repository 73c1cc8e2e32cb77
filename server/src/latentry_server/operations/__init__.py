"""What the server can do with a model, on numpy arrays: one module an operation, and the pure functions they share."""
