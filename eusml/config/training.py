"""Settings of one network's training, on-line augmentation included."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from eusml.config.base import Arch, Fraction, Section, Seed


class OnlineConfig(Section):
    """On-line augmentation while training; a pure function of (seed, epoch, sample)."""

    enabled: bool = False
    rotation_limit_deg: Annotated[float, Field(ge=0.0, le=180.0)] = 180.0
    """Angles are drawn uniformly from ± this, degrees: all there are, for the clock angle of an EUS probe is arbitrary.
    That of a probe on the skin is not, and shadows fall downwards: there a small limit keeps what they tell."""
    flip: bool = True
    """Mirror every second image, on average."""
    scale_frac: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.15
    """Zoom is drawn uniformly from 1 ± this."""
    shift_frac: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.10
    """Shift in x and y is drawn uniformly from ± this fraction of the side."""
    gamma_frac: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.25
    """Gamma is drawn log-uniformly from 1/(1 + this) to 1 + this."""
    contrast_frac: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Deviations from the image's mean are multiplied by 1 ± this, as another dynamic range would."""
    brightness: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Added or taken away everywhere, up to this (grey levels 0-1), as another gain would of a log-compressed image."""
    tilt: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Added or taken away linearly across the image, nothing in the middle and up to this at half a side from it, in
    any direction, as another time-gain compensation would."""


class TrainConfig(Section):
    """One network's training."""

    arch: Arch = "resnet34"
    """Network."""
    weights: Literal["none", "imagenet"] = "none"
    """Initial weights: random, or torchvision's ImageNet weights (downloaded by torchvision unless cached)."""
    offline: bool = True
    """Train on the off-line expanded images (the originals and one copy per operation)."""
    online: OnlineConfig = OnlineConfig()
    epochs: Annotated[int, Field(ge=1)] = 100
    """Passes over the training images; the last epoch's weights are the result, never the best on the test cases."""
    batch_size: Annotated[int, Field(ge=2)] = 32
    """Images per step; an epoch's last batches are evened out so that none is a single image."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: Annotated[float, Field(gt=0.0, le=10.0)] = 1e-3
    """Peak learning rate."""
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)] = 0.02
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    """Momentum of SGD; AdamW ignores it."""
    schedule: Literal["onecycle", "cosine"] = "onecycle"
    """`onecycle` warms up over `warmup_frac` and then falls as a cosine; `cosine` falls from the start."""
    warmup_frac: Fraction = 0.25
    """Share of all steps spent warming up; only with `onecycle`."""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of the features before the last layer that a training step blanks."""
    zero_init_residual: bool = True
    """Start every residual branch at zero, which steadies training from scratch."""
    shallow_frac: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of the epochs that train the first block of every stage only, in a third of the time. The other blocks
    start as identities and join then; the later, the lower the learning rate that is left, and the less they add."""
    recalibrate: bool = True
    """After the last epoch, measure batch normalisation's means and variances anew on the original training images:
    those of the epochs are of turned, smoothed and darkened copies, and no case to be judged is one."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto` takes bf16 where the device computes it natively, fp32 elsewhere."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    kernels: Literal["auto", "torch"] = "auto"
    """`auto` takes fused kernels for bf16 on CUDA, of Ampere or later, if Triton, a C compiler and Python's headers
    are installed; `torch` always takes torch's. The same arithmetic in another order: results differ by rounding."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """CPU threads; by default torch's choice, the number of cores, which processes that work at once share. Weights are
    reproducible for one number."""
    checkpoint_every_s: Annotated[float, Field(ge=0.0)] = 30.0
    """Least time between two saved training states, seconds; 0 saves after every epoch."""
    resident_mib: Annotated[int, Field(ge=0)] | None = None
    """Images that take more than this, MiB, are not kept on the device but carried there batch by batch; by default a
    quarter of a GPU's free memory. The CPU by default takes them from where they are. Changes no result."""
    seed: Seed = 0
    """Seed of initial weights, order and on-line augmentation."""

    @model_validator(mode="after")
    def _later_blocks_start_as_identities(self) -> "TrainConfig":
        if self.shallow_frac and (self.weights != "none" or not self.zero_init_residual):
            raise ValueError(
                f"shallow_frac is {self.shallow_frac}, but only blocks that start as identities can join later: give "
                "shallow_frac 0, or weights none and zero_init_residual true"
            )
        return self
