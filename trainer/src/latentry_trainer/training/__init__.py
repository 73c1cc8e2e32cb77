"""The one training loop, its optimisers, averages, checkpoints and logs."""
