"""A synthetic EUS phantom: patients with the margins of the paper's Table 1, and ultrasound pictures of their lesions.

`sample_cohort` draws the patients, `render` makes a picture of one, `write_cohort` a folder of all. Nothing here is
patient data, and no clinical meaning may be claimed for what a network reaches on it.
"""

from eusml.data.phantom.cohort import CohortMode, PhantomCase, Probe, sample_cohort
from eusml.data.phantom.geometry import ViewName
from eusml.data.phantom.rendering import Rendered, render
from eusml.data.phantom.table1 import TABLE_1
from eusml.data.phantom.writing import write_cohort

__all__ = [
    "TABLE_1",
    "CohortMode",
    "PhantomCase",
    "Probe",
    "Rendered",
    "ViewName",
    "render",
    "sample_cohort",
    "write_cohort",
]
