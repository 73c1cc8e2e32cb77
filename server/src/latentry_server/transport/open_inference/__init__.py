"""The Open Inference Protocol: every graph as the model `<model>.<role>`, for the clients and tools that speak it."""
