"""What a model says of one image: the answer of the served model and of `predict` alike."""

import base64
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from eusml.data.boxes import Box
from eusml.data.images import Picture, encode_png, prepare_picture, read_picture
from eusml.data.quality import quality_warnings, region_size
from eusml.evaluation.conformal import prediction_sets
from eusml.learning.batches import Normalisation
from eusml.learning.bundle import Bundle
from eusml.learning.explain import grad_cam, overlay
from eusml.tracking.options import Options

if TYPE_CHECKING:
    from numpy.typing import NDArray

NOTICE = "Research software, not for diagnosis."
SYNTHETIC_NOTICE = "Trained on SYNTHETIC images: says nothing about patients. " + NOTICE


def _decoder() -> ThreadPoolExecutor:
    """One thread that decodes for all that ask.

    A served model answers requests in threads. Decoding silences warnings and loggers, which are the process's, and
    takes hundreds of megabytes for a large picture, which the allocator keeps for every thread that ever did it.
    """
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="decoder")


@dataclass(frozen=True)
class Asked:
    """A model that answers, and what it is called."""

    bundle: Bundle
    model: str
    """Registered name, or `unregistered`."""
    version: str
    decoder: ThreadPoolExecutor = field(default_factory=_decoder, repr=False, compare=False)

    def answer(self, content: bytes, box: Box | None, options: Options, name: str) -> dict[str, Any]:
        """Answer one image file.

        Args:
            content: the file.
            box: the lesion in pixels of the picture as a viewer shows it; without one the image counts as the region
                of interest.
            options: how.
            name: what to call the image in messages.

        Returns:
            label; probability (0-1) of positive_class; threshold; prediction_set (labels that cannot be ruled out; None
            where the model is not calibrated); refer (whether that is not exactly one, or there are warnings); quality
            (warnings); explanation (of the label: base64 PNG, or None); error (None); and the fields of `identity`.

        Raises:
            DataError: the image cannot be read, or the box does not lie inside it.
        """
        spec = self.bundle.spec
        picture, image = self.decoder.submit(self._decoded, content, box, name).result()
        probability = float(self._asked_with(options.views).scores(image[None])[0])
        labels, quality = self._prediction_set(probability, options), self._quality(image, picture, box)
        positive = probability >= spec.threshold
        return {
            "label": spec.positive_class if positive else spec.negative_class,
            "probability": probability,
            "prediction_set": labels,
            # A set rules out labels for images like the calibrating ones; of others it says nothing.
            "refer": labels is None or len(labels) != 1 or bool(quality),
            "quality": quality,
            "explanation": self._explanation(image, int(positive)) if options.explain else None,
            "error": None,
            **self.identity,
        }

    def refusal(self, error: str) -> dict[str, Any]:
        """The same fields for an image that cannot be answered, with the reason."""
        return {
            "label": None,
            "probability": None,
            "prediction_set": None,
            "refer": True,
            "quality": [],
            "explanation": None,
            "error": error,
            **self.identity,
        }

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What stands in every answer: positive_class, threshold, model, version, synthetic, notice."""
        spec = self.bundle.spec
        return {
            "positive_class": spec.positive_class,
            "threshold": spec.threshold,
            "model": self.model,
            "version": self.version,
            "synthetic": spec.synthetic,
            "notice": SYNTHETIC_NOTICE if spec.synthetic else NOTICE,
        }

    def _decoded(self, content: bytes, box: Box | None, name: str) -> "tuple[Picture, NDArray[np.uint8]]":
        how = self.bundle.spec.preparation
        picture = read_picture(content, name, grey_range=how.grey_range, frame=how.frame)
        return picture, prepare_picture(picture, box, how, name)

    def _asked_with(self, views: int) -> Bundle:
        spec = self.bundle.spec
        return self.bundle if views in (0, spec.views) else replace(self.bundle, spec=replace(spec, views=views))

    def _prediction_set(self, probability: float, options: Options) -> list[str] | None:
        spec = self.bundle.spec
        if spec.calibration is None:
            return None
        y_true, y_score = (np.array(values) for values in (spec.calibration.y_true, spec.calibration.y_score))
        (held,) = prediction_sets(y_true, y_score, np.array([probability]), options.error_rate)
        return [label for label, holds in zip((spec.negative_class, spec.positive_class), held, strict=True) if holds]

    def _quality(self, image: "NDArray[np.uint8]", picture: Picture, box: Box | None) -> list[str]:
        reference = self.bundle.spec.quality
        if reference is None:
            return []
        height, width = picture.grey.shape
        return list(quality_warnings(image, region_size(box, width, height), reference))

    def _explanation(self, image: "NDArray[np.uint8]", target: int) -> str:
        spec = self.bundle.spec
        heat = grad_cam(self.bundle.network, image, Normalisation(spec.mean, spec.std), target)
        return base64.b64encode(encode_png(overlay(image, heat, "SYNTHETIC MODEL" if spec.synthetic else ""))).decode()
