"""The one table of the GANs."""

from latentry_trainer.variants.adversarial import Adversarial
from latentry_trainer.variants.dcgan import DCGAN
from latentry_trainer.variants.gan import GAN
from latentry_trainer.variants.progan import ProGAN
from latentry_trainer.variants.stylegan import StyleGAN

GANS: dict[str, type[Adversarial]] = {
    "gan": GAN,
    "dcgan": DCGAN,
    "progan": ProGAN,
    "stylegan": StyleGAN,
}
