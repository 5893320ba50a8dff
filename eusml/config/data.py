"""Settings of the data: where the images come from, how they are read, prepared and audited."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from eusml.config.base import Section, Seed

DicomTag = Literal[
    "PatientAge", "PatientSex", "Manufacturer", "ManufacturerModelName", "TransducerType", "TransducerFrequency"
]


def _none_or_both_classes(count: int) -> int:
    if count == 1:
        raise ValueError("1 case cannot be of both classes; 0 does without, 2 or more are drawn")
    return count


Cohort = Annotated[int, Field(ge=0), AfterValidator(_none_or_both_classes)]


class PhantomConfig(Section):
    """The synthetic cohort."""

    gist_cases: Annotated[int, Field(ge=0)] = 69
    """Number of synthetic GIST cases."""
    leiomyoma_cases: Annotated[int, Field(ge=0)] = 73
    """Number of synthetic leiomyoma cases."""
    cohort: Literal["quota", "independent"] = "quota"
    """`quota` reproduces the paper's Table 1 counts exactly; `independent` draws every case on its own."""
    view: Literal["roi", "frame"] = "roi"
    """`roi` shows the lesion; `frame` the whole radial scan with SYNTHETIC drawn in and a lesion box."""
    probe: Literal["by_size", "random"] = "by_size"
    """`by_size` chooses 7.5 or 20 MHz by lesion diameter as clinics do; `random` breaks that proxy of size."""
    seed: Seed = 0
    """Identity of the cohort; another seed is another set of synthetic patients."""
    selection_cases: Cohort = 200
    """Further independent cases on which choices between models are made (partition `val`)."""
    fresh_cases: Cohort = 400
    """Further independent cases, reported beside the small test partition (partition `fresh`)."""


class DicomConfig(Section):
    """How DICOM files are read; names, dates and numbers in them never leave the files."""

    frame: Literal["first", "middle", "last"] | Annotated[int, Field(ge=0)] = "middle"
    """Which frame of a multi-frame file is taken; a number counts from 0."""
    covariates: tuple[DicomTag, ...] = ("PatientAge", "PatientSex")
    """Tags that are carried along as covariates, of those that identify nobody; all others are dropped."""
    key_file: Path = Path("~/.config/eusml/pseudonym.key")
    """Secret key of the pseudonyms, made on first use: the same key gives a patient the same pseudonym. It must lie
    outside the images and outside `work_dir`: who has both can find out who is who."""


class AuditConfig(Section):
    """What happens to what the audit finds."""

    unreadable: Literal["stop", "drop"] = "stop"
    """Files that cannot be read as an image: `stop` names them and ends; `drop` goes on without and counts them."""
    blank: Literal["keep", "drop"] = "keep"
    """Images without content in their region of interest."""
    label_conflicts: Literal["stop", "keep", "drop", "drop_both"] = "stop"
    """The same picture under two labels: `keep` all, `drop` all but the first, or `drop_both`."""
    patient_conflicts: Literal["stop", "keep", "drop_both"] = "stop"
    """One patient under two labels: `keep` where a patient has a lesion of each kind, or `drop_both` labels' images."""
    near_duplicates: bool = True
    """Look for pictures that are the same but for compression, size, a crop, a flip or annotations, and group them.
    Without it, only pictures that are the same pixel for pixel once prepared are kept on one side, and no picture is
    found under two labels."""
    log_images: bool = False
    """Send pictures to the artifact store, too; without it they stay in `work_dir`. Synthetic ones are always sent."""


def _rising(ends: tuple[int, int]) -> tuple[int, int]:
    if not 0 <= ends[0] < ends[1] <= 65535:
        raise ValueError(f"black {ends[0]} and white {ends[1]} must be 0 to 65535, black below white")
    return ends


class DataConfig(Section):
    """Where the images come from and how they are prepared."""

    source: Literal["phantom", "folder", "dicom", "busi", "gist514"] = "phantom"
    """`phantom`: the embedded synthetic cohort. All others read `path`. `folder`: manifest.csv or one sub-folder per
    class; `dicom`: the same of DICOM files; `busi`, `gist514`: the public data sets as downloaded."""
    path: Path | None = None
    """The folder of images, or an archive (zip, tar) of it."""
    positive_class: Annotated[str, Field(min_length=1)] = "GIST"
    """The class whose probability is reported; the other class found in the data is the negative one."""
    image_size_px: Annotated[int, Field(ge=32, le=1024)] = 224
    """Side of the prepared square grey image, pixels."""
    roi_margin_frac: Annotated[float, Field(ge=0.0, le=2.0)] = 0.15
    """Margin added on each side of a lesion box, as a fraction of the box's longer side."""
    grey_range: Annotated[tuple[int, int], AfterValidator(_rising)] = (0, 65535)
    """The values of a 16-bit PNG or TIFF that are black and white; [0, 4095] for 12 bits. DICOM brings its own."""
    inpaint_overlays: bool = False
    """Paint over callipers and letters in the picture; the audit says how many there are, whether or not."""
    workers: Annotated[int, Field(ge=1)] | None = None
    """Processes that decode images; by default one per core, for a thousand images or more."""
    phantom: PhantomConfig = PhantomConfig()
    dicom: DicomConfig = DicomConfig()
    audit: AuditConfig = AuditConfig()
