"""Dynamic batching: the queue, merge and split, one batcher a graph."""
