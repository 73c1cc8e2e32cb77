"""The one table of the GANs."""

from latentry_trainer.variants.adversarial import Adversarial
from latentry_trainer.variants.dcgan import DCGAN
from latentry_trainer.variants.gan import GAN

GANS: dict[str, type[Adversarial]] = {
    "gan": GAN,
    "dcgan": DCGAN,
}
