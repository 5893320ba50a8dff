"""eusml: tells gastrointestinal stromal tumour from leiomyoma on endoscopic-ultrasound images."""

__version__ = "0.1.0"
