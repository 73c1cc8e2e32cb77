"""Trains one of the book's autoencoders for one epoch with Keras, and prints how long that took.

The models are those of chapter 17 of A. Géron, "Hands-On Machine Learning with Scikit-Learn, Keras & TensorFlow", 2nd
edition. Run by `make bench-training`, in an environment that has Keras and not latentry.
"""

import argparse
import json
import time
from collections.abc import Callable

import keras
import numpy as np
from keras import layers

WARM_UP_IMAGES = 640  # traces and compiles the step
BATCH_SIZE = 32


def stacked() -> keras.Sequential:
    """784-100-30-100-784."""
    return keras.Sequential(
        [
            keras.Input((28, 28)),
            layers.Flatten(),
            layers.Dense(100, activation="selu"),
            layers.Dense(30, activation="selu"),
            layers.Dense(100, activation="selu"),
            layers.Dense(28 * 28, activation="sigmoid"),
            layers.Reshape((28, 28)),
        ]
    )


def conv() -> keras.Sequential:
    """Three convolutions with pooling, three transposed ones."""
    return keras.Sequential(
        [
            keras.Input((28, 28)),
            layers.Reshape((28, 28, 1)),
            layers.Conv2D(16, kernel_size=3, padding="same", activation="selu"),
            layers.MaxPool2D(pool_size=2),
            layers.Conv2D(32, kernel_size=3, padding="same", activation="selu"),
            layers.MaxPool2D(pool_size=2),
            layers.Conv2D(64, kernel_size=3, padding="same", activation="selu"),
            layers.MaxPool2D(pool_size=2),
            layers.Conv2DTranspose(32, kernel_size=3, strides=2, padding="valid", activation="selu"),
            layers.Conv2DTranspose(16, kernel_size=3, strides=2, padding="same", activation="selu"),
            layers.Conv2DTranspose(1, kernel_size=3, strides=2, padding="same", activation="sigmoid"),
            layers.Reshape((28, 28)),
        ]
    )


def recurrent() -> keras.Sequential:
    """An image's rows are the steps of a sequence."""
    return keras.Sequential(
        [
            keras.Input((28, 28)),
            layers.LSTM(100, return_sequences=True),
            layers.LSTM(30),
            layers.RepeatVector(28),
            layers.LSTM(100, return_sequences=True),
            layers.TimeDistributed(layers.Dense(28, activation="sigmoid")),
        ]
    )


MODELS: dict[str, tuple[Callable[[], keras.Sequential], float]] = {  # and their learning rates
    "stacked": (stacked, 1.5),
    "conv": (conv, 1.0),
    "recurrent": (recurrent, 0.1),
}


def main() -> None:
    """Trains, and prints one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--images", required=True, help=".npy with uint8 images [N, 28, 28]")
    parser.add_argument("--num-images", type=int, required=True)
    options = parser.parse_args()

    build, learning_rate = MODELS[options.model]
    images = np.load(options.images)[: options.num_images].astype(np.float32) / 255
    keras.utils.set_random_seed(42)
    model = build()
    model.compile(loss="binary_crossentropy", optimizer=keras.optimizers.SGD(learning_rate=learning_rate))

    model.fit(images[:WARM_UP_IMAGES], images[:WARM_UP_IMAGES], batch_size=BATCH_SIZE, verbose=0)
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    history = model.fit(images, images, batch_size=BATCH_SIZE, verbose=0)
    seconds, cpu_seconds = time.perf_counter() - start_s, time.process_time() - start_cpu_s
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "loss": history.history["loss"][-1]}))


if __name__ == "__main__":
    main()
