"""Trains one of the presets with latentry's training loop, and prints what that took.

Run by `make bench-training`.
"""

import argparse
import io
import json
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from latentry_trainer.config import RunConfig
from latentry_trainer.data import Dataset, load_dataset
from latentry_trainer.parallel import ALONE
from latentry_trainer.presets import PRESETS
from latentry_trainer.training.device import prepare_cpu
from latentry_trainer.training.log import RunLog, read_metrics
from latentry_trainer.training.loop import train
from latentry_trainer.variants import Variant, build_variant
from rich.console import Console

WARM_UP_IMAGES = 640


def train_epochs(variant: Variant, dataset: Dataset, config: RunConfig, num_epochs: int, folder: Path) -> None:
    """All that the loop does in a run: the average of the weights, metrics and the last checkpoint's content."""
    folder.mkdir()
    num_images = len(dataset.images_of("train")) * num_epochs
    with RunLog(folder, Console(file=io.StringIO()), config.preset, num_images, 0) as log:
        train(
            variant,
            dataset,
            replace(config.training, num_epochs=num_epochs),
            state=None,
            save=lambda _state: None,
            log=log,
            world=ALONE,
            after_epoch=lambda _average, _images_seen: None,
            after_training=lambda _average: None,
            should_stop=lambda: False,
        )


def first_images(dataset: Dataset, num_images: int) -> Dataset:
    """The first images for training, and next to nothing to validate on: Keras' side does not validate either."""
    return replace(dataset, splits={**dataset.splits, "train": slice(0, num_images), "validation": slice(-10, None)})


def main() -> None:
    """Trains, and prints one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("preset", choices=PRESETS)
    parser.add_argument("--num-images", type=int, required=True)
    parser.add_argument("--num-epochs", type=int, default=1)
    options = parser.parse_args()

    config = PRESETS[options.preset].config
    dataset = load_dataset(config.data)
    prepare_cpu(config.training.num_cpu_threads)
    variant = build_variant(config, dataset.input_shape, len(dataset.label_names))
    timed = first_images(dataset, options.num_images)

    with tempfile.TemporaryDirectory() as folder:
        train_epochs(variant, first_images(dataset, WARM_UP_IMAGES), config, 1, Path(folder, "warm-up"))
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        train_epochs(variant, timed, config, options.num_epochs, Path(folder, "timed"))
        seconds, cpu_seconds = time.perf_counter() - start_s, time.process_time() - start_cpu_s
        metrics = [line for line in read_metrics(Path(folder, "timed")) if line.split == "train"]
    name, *_ = metrics[0].values  # of the first phase's loss
    losses = [line.values[name] for line in metrics if line.epoch == options.num_epochs]
    result = {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "loss": sum(losses) / len(losses),  # the last epoch's: its lines are of about as many images
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,  # Linux gives KiB
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
