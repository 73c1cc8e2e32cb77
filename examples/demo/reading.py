"""Sections of what models make of real images: reconstructions, noise removed, scores, labels, codes, a map."""

import numpy as np
from latentry_client.hashing import hamming_distances
from latentry_trainer.report.tsne import embed, write_map

from examples.demo.page import Images, Picture, Section
from examples.demo.visit import SEED, Visit, figure

_NUM_COLUMNS = 12
_NOISE_STD = 0.2  # what denoise-gaussian is trained on
_NUM_SEARCHED = 2000
_NUM_NEAREST = 11
_NUM_QUERIES = 4


def reconstructions(visit: Visit) -> Section | None:
    """A row of originals, and what each autoencoder makes of them."""
    models = visit.able("reconstruct", by="mse")
    if not models:
        return None
    originals = visit.images(_NUM_COLUMNS)
    pictures = [visit.gallery.grid(originals, _NUM_COLUMNS, name="originals", marked=True)]
    for model in models:
        outputs = visit.client.reconstruct(model.name, originals).outputs
        pictures.append(visit.gallery.grid(outputs, _NUM_COLUMNS, name=model.name, note=figure(model, "mse")))
    return Section(
        title="Reconstructions",
        text="784 pixels become a few numbers and come back. The images are from the test set: no model has seen them.",
        code=f'client.reconstruct("{models[0].name}", images).outputs',
        layout="strips",
        pictures=pictures,
    )


def denoising(visit: Visit) -> Section | None:
    """Corrupted images, and what each denoising autoencoder makes of them."""
    models = visit.able("denoise")
    if not models:
        return None
    originals = visit.images(_NUM_COLUMNS)
    generator = np.random.default_rng(SEED)
    noisy = np.clip(originals + generator.normal(0, _NOISE_STD, originals.shape), 0, 1).astype(np.float32)
    holed = np.clip(originals * generator.integers(0, 2, originals.shape) * 2, 0, 1).astype(np.float32)
    pictures = []
    for name, corrupted, is_dropout in (("Gaussian noise", noisy, False), ("half is missing", holed, True)):
        of_kind = [model for model in models if ("dropout" in model.variant) == is_dropout]
        if of_kind:
            pictures.append(visit.gallery.grid(corrupted, _NUM_COLUMNS, name=name, marked=True))
        for model in of_kind:
            outputs = visit.client.denoise(model.name, corrupted).outputs
            pictures.append(visit.gallery.grid(outputs, _NUM_COLUMNS, name=model.name, note=figure(model)))
    return Section(
        title="Noise removed",
        text="Corrupted test images, and below them what is left when the noise is gone.",
        code=f'client.denoise("{models[0].name}", noisy).outputs',
        layout="strips",
        pictures=pictures,
    )


def anomalies(visit: Visit) -> Section | None:
    """Usual and unusual images, by their score."""
    models = [model for model in visit.able("score", "reconstruct", by="mse") if "denoise" not in model.capabilities]
    if not models:
        return None
    model = models[len(models) // 2]  # the best reconstruct even what they have never seen
    usual = visit.images(8)
    images = np.concatenate([usual, _unusual(usual)])
    result = visit.client.score(model.name, images)
    order = np.argsort(result.scores)
    is_unusual = result.is_anomaly
    threshold = f" Above {result.threshold:.3f} they are unusual." if result.threshold is not None else ""
    return Section(
        title="Unusual images",
        text=f"Scored by {model.name}: how badly an image is reconstructed.{threshold} Half of these images are from "
        "the test set, the others were turned, mixed, inverted or made up.",
        code=f'client.score("{model.name}", images).is_anomaly',
        layout="tiles",
        pictures=[
            visit.gallery.grid(
                images[i : i + 1],
                1,
                name=f"{result.scores[i]:.3f}",
                note="" if is_unusual is None else ("unusual" if is_unusual[i] else "usual"),
                marked=is_unusual is not None and bool(is_unusual[i]),
            )
            for i in order
        ],
    )


def labels(visit: Visit) -> Section | None:
    """What test images are taken for, and what they are where that is another."""
    models = visit.able("classify")
    if not models:
        return None
    model, images = models[0], visit.images(24)
    result = visit.client.classify(model.name, images)
    return Section(
        title="Labels",
        text=f"What {model.name} takes test images for, and how sure it is ({figure(model)}). Mistakes are marked.",
        code=f'client.classify("{model.name}", images).names',
        layout="tiles",
        pictures=[
            visit.gallery.grid(
                images[i : i + 1],
                1,
                name=result.names[i],
                note=f"{result.probabilities[i].max():.0%}",
                marked=bool(result.labels[i] != label),
            )
            for i, label in enumerate(visit.labels(len(images)))
        ],
    )


def like_images(visit: Visit) -> Section | None:
    """Images found by the bits of their codes."""
    models = [model for model in visit.able("encode") if model.variant == "hashing"]
    if not models:
        return None
    model, images = models[0], visit.images(_NUM_SEARCHED)
    result = visit.client.hash(model.name, images)
    pictures = []
    for query in range(_NUM_QUERIES):
        nearest = np.argsort(hamming_distances(result.codes[query], result.codes), kind="stable")
        found = nearest[nearest != query][:_NUM_NEAREST]
        pictures.append(visit.gallery.grid(images[[query, *found]], _NUM_NEAREST + 1))
    return Section(
        title="Like images",
        text=f"Each image becomes {result.num_bits} bits. At the left a query, beside it those of {_NUM_SEARCHED} "
        "images whose bits differ least: a search compares bytes, and no pixel.",
        code=f'codes = client.hash("{model.name}", images).codes\nhamming_distances(codes[0], codes).argsort()',
        layout="strips",
        pictures=pictures,
    )


def codings_map(visit: Visit) -> Section | None:
    """A t-SNE map of the codings that tell classes apart best."""
    models = visit.able("encode", "reconstruct", by="probe_accuracy")
    if not models:
        return None
    model, images = models[0], visit.images(1000)
    file = visit.gallery.file("map")
    points = embed(visit.client.encode(model.name, images).codings)
    write_map(visit.folder / file, points, visit.labels(len(images)), visit.dataset.label_names, images)
    return Section(
        title="Map of the codings",
        text=f"1 000 test images, placed by t-SNE on the codings of {model.name} alone. It has never seen a label, and "
        "yet the classes part.",
        code=f'codings = client.encode("{model.name}", images).codings\n'
        "points = sklearn.manifold.TSNE().fit_transform(codings)",
        layout="wide",
        pictures=[Picture(file=file, name=model.name, is_smooth=True)],
    )


def _unusual(usual: Images) -> Images:
    """As many images [N, 1, H, W] that are none of clothes as people wear them."""
    generator = np.random.default_rng(SEED)
    turned = np.rot90(usual[1:3], axes=(2, 3))
    inverted = 1 - usual[3:5]
    mixed = np.concatenate([usual[5:6, :, :14], usual[0:1, :, 14:]], axis=2)
    shifted = np.roll(usual[6:7], 14, axis=3)
    noise = generator.random(usual[:1].shape, dtype=np.float32)
    stripes = np.broadcast_to(np.arange(usual.shape[3]) // 3 % 2, usual[:1].shape)
    return np.concatenate([turned, inverted, mixed, shifted, noise, stripes]).astype(np.float32)
