"""What is measured, on which split."""

from latentry_trainer.evaluation.evaluate import evaluate, validate
from latentry_trainer.evaluation.subject import Subject

__all__ = ["Subject", "evaluate", "validate"]
