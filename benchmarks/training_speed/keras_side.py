"""Trains one of the book's models for one epoch with Keras, and prints how long that took.

The models are those of chapter 17 of A. Géron, "Hands-On Machine Learning with Scikit-Learn, Keras & TensorFlow", 2nd
edition. Run by `make bench-training`, in an environment that has Keras and not latentry.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial

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


_autoencoders: dict[str, keras.Sequential] = {}


def fit(model: str, images: np.ndarray) -> float:
    """Trains an autoencoder for one epoch; the first call traces and compiles the step. Returns the loss."""
    if model not in _autoencoders:
        build, learning_rate = MODELS[model]
        _autoencoders[model] = build()
        optimizer = keras.optimizers.SGD(learning_rate=learning_rate)
        _autoencoders[model].compile(loss="binary_crossentropy", optimizer=optimizer)
    history = _autoencoders[model].fit(images, images, batch_size=BATCH_SIZE, verbose=0)
    loss: float = history.history["loss"][-1]
    return loss


class DCGAN:
    """The convolutional GAN and its loop, as in the book."""

    codings_size = 100

    def __init__(self) -> None:
        self.generator = keras.Sequential(
            [
                keras.Input((self.codings_size,)),
                layers.Dense(7 * 7 * 128),
                layers.Reshape((7, 7, 128)),
                layers.BatchNormalization(),
                layers.Conv2DTranspose(64, kernel_size=5, strides=2, padding="same", activation="selu"),
                layers.BatchNormalization(),
                layers.Conv2DTranspose(1, kernel_size=5, strides=2, padding="same", activation="tanh"),
            ]
        )
        self.discriminator = keras.Sequential(
            [
                keras.Input((28, 28, 1)),
                layers.Conv2D(64, kernel_size=5, strides=2, padding="same"),
                layers.LeakyReLU(negative_slope=0.2),
                layers.Dropout(0.4),
                layers.Conv2D(128, kernel_size=5, strides=2, padding="same"),
                layers.LeakyReLU(negative_slope=0.2),
                layers.Dropout(0.4),
                layers.Flatten(),
                layers.Dense(1, activation="sigmoid"),
            ]
        )
        self.discriminator.compile(loss="binary_crossentropy", optimizer="rmsprop")
        self.gan: keras.Sequential | None = None

    def fit(self, images: np.ndarray) -> float:
        """Trains for one epoch of whole batches; the first call traces and compiles the steps. Returns the loss."""
        labels = np.array([[0.0]] * BATCH_SIZE + [[1.0]] * BATCH_SIZE, np.float32)
        loss = 0.0
        for start in range(0, len(images) - BATCH_SIZE + 1, BATCH_SIZE):
            generated = self.generator(keras.random.normal((BATCH_SIZE, self.codings_size)))
            reals = images[start : start + BATCH_SIZE, ..., None] * 2 - 1
            both = keras.ops.concatenate([generated, reals], axis=0)
            loss = float(self.discriminator.train_on_batch(both, labels))
            self._combined().train_on_batch(
                keras.random.normal((BATCH_SIZE, self.codings_size)), np.ones((BATCH_SIZE, 1), np.float32)
            )
        return loss

    def _combined(self) -> keras.Sequential:
        """Generator and discriminator, whose weights it leaves alone; made when those are traced as trainable."""
        if self.gan is None:
            self.discriminator.trainable = False
            self.gan = keras.Sequential([self.generator, self.discriminator])
            self.gan.compile(loss="binary_crossentropy", optimizer="rmsprop")
        return self.gan


def main() -> None:
    """Trains, and prints one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", choices=[*MODELS, "dcgan"])
    parser.add_argument("--images", required=True, help=".npy with uint8 images [N, 28, 28]")
    parser.add_argument("--num-images", type=int, required=True)
    options = parser.parse_args()

    images = np.load(options.images)[: options.num_images].astype(np.float32) / 255
    keras.utils.set_random_seed(42)
    train = DCGAN().fit if options.model == "dcgan" else partial(fit, options.model)

    train(images[:WARM_UP_IMAGES])
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    loss = train(images)
    seconds, cpu_seconds = time.perf_counter() - start_s, time.process_time() - start_cpu_s
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "loss": loss}))


if __name__ == "__main__":
    main()
