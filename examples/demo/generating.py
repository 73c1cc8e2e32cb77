"""Sections of new images: samples, samples by label, mixes of styles, truncation, ways, real images edited."""

import numpy as np
from latentry_client import FromSeeds
from latentry_client.results import Model

from examples.demo.page import Images, Section
from examples.demo.visit import SEED, Visit, figure, is_conditional

_ROW_SEEDS = range(4)
_COLUMN_SEEDS = range(10, 16)
_PSIS = (1.0, 0.7, 0.5, 0.0, -0.5)
_PSI = 0.7
_ROWS_OF_LABELS = 5


def samples(visit: Visit) -> Section | None:
    """Samples of every model that has some to give, the one nearest to real images first."""
    models = visit.able("sample", by="fcd")
    if not models:
        return None
    outputs = (visit.client.sample(model.name, 36, seed=SEED).outputs for model in models)
    return Section(
        title="New images",
        text="Drawn from a seed, which gives the same images on any machine. The models whose samples are nearest to "
        "real images come first: fcd is the distance.",
        code=f'client.sample("{models[0].name}", count=36, seed={SEED}).outputs',
        layout="cards",
        pictures=[
            visit.gallery.grid(images, 6, name=model.name, note=figure(model, "fcd"))
            for model, images in zip(models, outputs, strict=True)
        ],
    )


def samples_by_label(visit: Visit) -> Section | None:
    """A class in each column."""
    models = [model for model in visit.able("sample", by="fcd") if is_conditional(model)]
    if not models:
        return None
    pictures = []
    for model in models:
        labels = [*range(len(model.label_names))] * _ROWS_OF_LABELS
        images = visit.client.sample(model.name, len(labels), seed=SEED, labels=labels).outputs
        note = figure(model, "label_accuracy")
        pictures.append(visit.gallery.grid(images, len(model.label_names), name=model.name, note=note))
    return Section(
        title="Images of a class",
        text=f"A column each: {', '.join(models[0].label_names)}.",
        code=f'client.sample("{models[0].name}", count=10, seed={SEED}, labels=range(10)).outputs',
        layout="wide",
        pictures=pictures,
    )


def style_mixes(visit: Visit) -> Section | None:
    """The paper's figure 3: sources at the top and at the left, their mixes between."""
    pictures = []
    models = visit.able("style_mix", by="fcd")
    for model in models:
        for name, layers in _groups(model.num_style_layers):
            note = f"{model.name}, layers {', '.join(map(str, layers))} from the top"
            pictures.append(
                visit.gallery.grid(_mix(visit, model, layers), len(_COLUMN_SEEDS) + 1, name=name, note=note)
            )
    if not pictures:
        return None
    return Section(
        title="Mixed styles",
        text="Each image has the styles of the one at the left, and in some layers those of the one at the top: coarse "
        "layers bring the shape, fine ones the shades.",
        code=f'client.style_mix("{models[0].name}", rows=FromSeeds(range(4)), columns=FromSeeds(range(10, 16)), '
        f"layers=[0, 1], truncation_psi={_PSI}).outputs",
        layout="wide",
        pictures=pictures,
    )


def truncation(visit: Visit) -> Section | None:
    """Samples nearer to the mean style, and beyond it."""
    models = visit.able("style_mix", by="fcd")
    if not models:
        return None
    model = models[0]
    return Section(
        title="Truncation",
        text="The same samples at several ψ: less of it is safer and more alike, 0 is the mean of all, below lie the "
        "opposites.",
        code=f'client.sample("{model.name}", count=12, seed={SEED}, truncation_psi={_PSIS[1]}).outputs',
        layout="strips",
        pictures=[
            visit.gallery.grid(
                visit.client.sample(model.name, 12, seed=SEED, truncation_psi=psi).outputs, 12, name=f"ψ = {psi:g}"
            )
            for psi in _PSIS
        ],
    )


def edits(visit: Visit) -> Section | None:
    """Real images, as generators with an encoder have them, on the way to samples."""
    models = [model for model in visit.able("encode", "sample") if "reconstruct" not in model.capabilities]
    if not models:
        return None
    originals, seeds = visit.images(4), FromSeeds(range(4))
    pictures = []
    for model in models:
        labels = visit.labels(4).tolist() if is_conditional(model) else None
        ways = visit.client.interpolate(model.name, originals, seeds, steps=6, labels=labels).outputs
        rows = np.concatenate([originals[:, None], ways], axis=1)
        pictures.append(
            visit.gallery.grid(_flat(rows), rows.shape[1], name=model.name, note=figure(model, "encoder_mse"))
        )
    return Section(
        title="Real images, edited",
        text="GANs whose encoder was trained afterwards: at the left real images, beside them what the generator makes "
        "of their codings, and then the way to a sample.",
        code=f'client.interpolate("{models[0].name}", start=images, end=FromSeeds(range(4)), steps=6).outputs',
        layout="wide",
        pictures=pictures,
    )


def ways(visit: Visit) -> Section | None:
    """From one image to another, through codings."""
    models = visit.able("interpolate")
    if not models:
        return None
    start, end = visit.images(2)[:1], visit.images(2)[1:]
    pictures = []
    for model in models:
        ends = (start, end) if "reconstruct" in model.capabilities else (FromSeeds([1]), FromSeeds([2]))
        labels = [0] if is_conditional(model) else None
        outputs = visit.client.interpolate(model.name, *ends, steps=12, labels=labels).outputs
        pictures.append(visit.gallery.grid(outputs[0], 12, name=model.name))
    return Section(
        title="Ways between images",
        text="From one coding to another in even steps. Autoencoders go from a real image to another, GANs from seed "
        "1 to seed 2.",
        code=f'client.interpolate("{models[0].name}", start=image, end=other, steps=12).outputs',
        layout="strips",
        pictures=pictures,
    )


def _groups(num_layers: int) -> list[tuple[str, list[int]]]:
    """The layers in three parts."""
    parts = np.array_split(np.arange(num_layers), 3)
    names = ("coarse styles", "middle styles", "fine styles")
    return [(name, part.tolist()) for name, part in zip(names, parts, strict=True) if len(part)]


def _mix(visit: Visit, model: Model, layers: list[int]) -> Images:
    """Images in rows of one more than there are columns: an empty place, the columns' sources, then row by row."""
    rows, columns = FromSeeds(_ROW_SEEDS), FromSeeds(_COLUMN_SEEDS)
    row_labels, column_labels = (
        [i % len(model.label_names) for i in range(len(seeds))] if is_conditional(model) else None
        for seeds in (_ROW_SEEDS, _COLUMN_SEEDS)
    )
    mix = visit.client.style_mix
    grid = mix(
        model.name, rows, columns, layers=layers, noise_seed=SEED, truncation_psi=_PSI,
        row_labels=row_labels, column_labels=column_labels,
    ).outputs  # fmt: skip
    left, top = (
        mix(
            model.name, source, source, layers=[], layout="pairs", noise_seed=SEED, truncation_psi=_PSI,
            row_labels=labels, column_labels=labels,
        ).outputs
        for source, labels in ((rows, row_labels), (columns, column_labels))
    )  # fmt: skip
    first = np.concatenate([np.ones_like(top[:1]), top])
    return np.concatenate([first, _flat(np.concatenate([left[:, None], grid], axis=1))])


def _flat(rows: Images) -> Images:
    """[R, C, *image] -> [R C, *image]."""
    return rows.reshape(-1, *rows.shape[2:])
