"""Alarms: what a GAN's figures say goes wrong while its losses look as always."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, log

# Our classifier's classes: only where it knows the data are there figures of classes.
_NUM_CLASSES = 10

# Half of the classes, were they as frequent: fewer is no matter of rare classes.
_MIN_EFFECTIVE_CLASSES = 5

# A hundredth of a fair share, and not 0: one odd sample that is taken for the class would end that alarm.
_MIN_CLASS_SHARE = 0.01 / _NUM_CLASSES

# Of pairs of an image and a sample: good critics win 80 to 98 of 100. Those of a Wasserstein loss win all of them from
# the first epoch to the last, and are meant to; they alone have losses below 0, minus the distance that they measure.
_MAX_CRITIC_ACCURACY = 0.999
_MIN_CRITIC_ACCURACY = 1 - _MAX_CRITIC_ACCURACY

_MORE_VARIETY = (
    "try a critic that sees whole batches (gan-minibatch), a buffer of earlier samples (gan-replay), "
    "another loss (wgan-gp), or a smaller learning rate"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Something that goes wrong."""

    kind: str
    """In two words, the same each time."""
    message: str
    """What the figures say, and what to try."""


def find_alarms(figures: Mapping[str, float]) -> tuple[Alarm, ...]:
    """What is wrong by an epoch's validation figures and last training losses; those not there raise no alarm.

    - mode collapse: `class_entropy_nats` H is that of fewer than five classes, exp(H) < 5;
    - missing class: no collapse, but `smallest_class_share` is below a hundredth of a fair one;
    - critic ahead: `critic_accuracy` at 1, but for Wasserstein losses;
    - critic astray: `critic_accuracy` at 0.
    """
    return (*_alarms_of_classes(figures), *_alarms_of_critic(figures))


def _alarms_of_classes(figures: Mapping[str, float]) -> tuple[Alarm, ...]:
    entropy_nats = figures.get("class_entropy_nats", log(_NUM_CLASSES))
    if exp(entropy_nats) < _MIN_EFFECTIVE_CLASSES:
        message = (
            f"samples fall into few classes: their entropy is {entropy_nats:.2f} nats, that of {exp(entropy_nats):.1f} "
            f"classes, of ln {_NUM_CLASSES} = {log(_NUM_CLASSES):.2f}; {_MORE_VARIETY}"
        )
        return (Alarm(kind="mode collapse", message=message),)
    share = figures.get("smallest_class_share", 1.0)
    if share < _MIN_CLASS_SHARE:
        message = f"the rarest class has {_percent(share)} of the samples; {_MORE_VARIETY}"
        return (Alarm(kind="missing class", message=message),)
    return ()


def _alarms_of_critic(figures: Mapping[str, float]) -> tuple[Alarm, ...]:
    accuracy = figures.get("critic_accuracy", 0.5)
    if accuracy >= _MAX_CRITIC_ACCURACY and figures.get("critic_loss", 0.0) >= 0:
        message = (
            f"the critic tells images from samples in {_percent(accuracy)} of pairs, and a generator may learn nothing "
            "from it; no harm while fcd falls; else try a gradient penalty, instance noise, label smoothing, or a "
            "smaller learning rate of the critic"
        )
        return (Alarm(kind="critic ahead", message=message),)
    if accuracy <= _MIN_CRITIC_ACCURACY:
        message = (
            f"the critic takes samples for images in {_percent(1 - accuracy)} of pairs, and leads the generator "
            "astray; try more steps of the critic for each of the generator, or a larger learning rate of the critic"
        )
        return (Alarm(kind="critic astray", message=message),)
    return ()


def _percent(part: float) -> str:
    return f"{100 * part:.2f} %"
