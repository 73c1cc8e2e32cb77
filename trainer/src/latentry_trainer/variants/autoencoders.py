"""The one table of the autoencoders."""

from latentry_trainer.variants.autoencoder import Autoencoder
from latentry_trainer.variants.conv import Conv
from latentry_trainer.variants.conv_vae import ConvVAE
from latentry_trainer.variants.denoising import DenoiseDropout, DenoiseGaussian, DenoiseSparse
from latentry_trainer.variants.greedy import Greedy
from latentry_trainer.variants.hashing import Hashing
from latentry_trainer.variants.pca import PCA
from latentry_trainer.variants.recurrent import Recurrent
from latentry_trainer.variants.sparse import SparseKL, SparseL1
from latentry_trainer.variants.stacked import Stacked
from latentry_trainer.variants.tied import Tied
from latentry_trainer.variants.vae import VAE, BetaVAE

AUTOENCODERS: dict[str, type[Autoencoder]] = {
    "pca": PCA,
    "stacked": Stacked,
    "tied": Tied,
    "greedy": Greedy,
    "conv": Conv,
    "recurrent": Recurrent,
    "denoise-gaussian": DenoiseGaussian,
    "denoise-dropout": DenoiseDropout,
    "denoise-sparse": DenoiseSparse,
    "sparse-l1": SparseL1,
    "sparse-kl": SparseKL,
    "hashing": Hashing,
    "vae": VAE,
    "beta-vae": BetaVAE,
    "conv-vae": ConvVAE,
}
