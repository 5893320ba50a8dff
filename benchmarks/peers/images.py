"""The folder of images that all contestants train on."""

from pathlib import Path

from eusml.data.phantom import sample_cohort, write_cohort


def write_images(folder: Path, count: int, size_px: int, seed: int = 0) -> Path:
    """Synthetic lesions as grey PNG files, half of each class, in one sub-folder per class.

    Args:
        folder: must be empty, or not exist.
        count: number of images, even.
        size_px: their side.
        seed: which lesions.

    Returns:
        The folder that holds the classes' folders.
    """
    cases = sample_cohort(count // 2, count // 2, mode="independent", probe="by_size", seed=seed)
    write_cohort(folder / "cohort", cases, view="roi", size_px=size_px)
    for case in cases:
        target = folder / "classes" / case.label / f"{case.case_id}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        (folder / "cohort" / "images" / target.name).rename(target)
    return folder / "classes"
