"""The embedded synthetic cohort, written to the work folder as a user's folder would look."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

from eusml.config import DataConfig
from eusml.data.manifest import TEXT_COLUMNS, Cases, check_table
from eusml.data.phantom import sample_cohort, write_cohort
from eusml.data.sources.table import MANIFEST
from eusml.digests import fingerprint
from eusml.errors import DataError
from eusml.tables import read_csv

Which = Literal["study", "selection", "fresh"]
_COHORTS: dict[Which, tuple[str, int]] = {"study": ("P", 0), "selection": ("V", 1), "fresh": ("F", 2)}
"""Prefix of the case names, and which seed in three: cohorts of one seed and of different seeds share no patient."""

_ROI_SIZE_PX = 224
_FRAME_SIZE_PX = 512


def read_phantom(settings: DataConfig, work_dir: Path, progress: Callable[[Iterable[Any]], Iterable[Any]]) -> Cases:
    """The study's own synthetic cohort."""
    return phantom_cohort(settings, work_dir, "study", progress)


def phantom_cohort(
    settings: DataConfig,
    work_dir: Path,
    which: Which,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> Cases:
    """One synthetic cohort, rendered unless it lies in the work folder already.

    Args:
        settings: the phantom's settings stand in `settings.phantom`.
        work_dir: rendered cohorts are kept in its `phantom` folder.
        which: `study` is split into train and test; `selection` and `fresh` are independent cases beside it.
        progress: wraps the cases as they are rendered.

    Raises:
        DataError: the cohort would hold no case of a class.
    """
    phantom = settings.phantom
    prefix, offset = _COHORTS[which]
    if which == "study":
        gist, leiomyoma, mode = phantom.gist_cases, phantom.leiomyoma_cases, phantom.cohort
    else:
        total = phantom.selection_cases if which == "selection" else phantom.fresh_cases
        # The paper's mixture of classes, every case drawn on its own.
        gist, mode = round(total * 69 / 142), "independent"
        leiomyoma = total - gist
    if min(gist, leiomyoma) < 1:
        raise DataError(f"the {which} cohort would hold {gist} GIST and {leiomyoma} leiomyoma cases; each needs one")
    size_px = _ROI_SIZE_PX if phantom.view == "roi" else _FRAME_SIZE_PX
    seed = 3 * phantom.seed + offset
    inputs = {"counts": [gist, leiomyoma], "mode": mode, "seed": seed, "probe": phantom.probe, "view": phantom.view}
    folder = work_dir / "phantom" / f"{which}-{fingerprint('phantom', inputs, ('data/phantom',))[:16]}"
    if not folder.is_dir():
        cases = sample_cohort(gist, leiomyoma, mode=mode, probe=phantom.probe, seed=seed, prefix=prefix)
        write_cohort(folder, cases, view=phantom.view, size_px=size_px, progress=progress)
    table = read_csv(folder / MANIFEST, TEXT_COLUMNS)
    return Cases(folder, check_table(table, str(folder / MANIFEST)), f"phantom {which}", synthetic=True)
