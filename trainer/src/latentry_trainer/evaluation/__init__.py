"""What is measured after training, on which split."""

from latentry_trainer.evaluation.evaluate import Corrupting, evaluate

__all__ = ["Corrupting", "evaluate"]
