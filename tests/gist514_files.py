"""GIST514-DB in miniature, as downloaded: JPEG files and COCO files, and what may be wrong in these."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 64, 48
IMAGES = 10
ALL = "annotations/all_anno_crop.json"
CATEGORIES = [
    {"id": 1, "name": "lmym", "supercategory": "lesion"},
    {"id": 2, "name": "GIST", "supercategory": "lesion"},
]

Coco = dict[str, Any]


def annotation(number: int, image_id: int, category_id: int, bbox: list[float]) -> Coco:
    x, y, w, h = bbox
    outline = [x, y, x + w, y, x + w, y + h, x, y + h]
    return {"id": number, "image_id": image_id, "category_id": category_id, "bbox": bbox, "area": w * h} | {
        "segmentation": [outline],
        "iscrowd": 0,
    }


def coco(numbers: list[int]) -> Coco:
    """Every file numbers its images anew, so only their names hold them together."""
    images = [
        {"id": i + 1, "file_name": f"{n}.jpg", "width": WIDTH, "height": HEIGHT, "anatomy_id": 3}
        for i, n in enumerate(numbers)
    ]
    annotations = [annotation(i, i + 1, 1 + n % 2, [10.25 + n, 5.5, 20.5, 12.25]) for i, n in enumerate(numbers)]
    return {"info": {}, "licenses": [], "categories": CATEGORIES, "images": images, "annotations": annotations}


def write_gist514(root: Path) -> None:
    """Ten images, their boxes and five folds, in a folder that does not exist yet."""
    (root / "images").mkdir(parents=True)
    (root / "annotations").mkdir()
    rng = np.random.default_rng(0)
    for n in range(IMAGES):
        pixels = rng.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"images/{n}.jpg", quality=90)
    (root / ALL).write_text(json.dumps(coco(list(range(IMAGES)))))
    for fold in range(5):
        held_out = [n for n in range(IMAGES) if n % 5 == fold]
        rest = [n for n in range(IMAGES) if n % 5 != fold]
        (root / f"annotations/val_anno_crop_split_{fold}.json").write_text(json.dumps(coco(held_out)))
        (root / f"annotations/train_anno_crop_split_{fold}.json").write_text(json.dumps(coco(rest)))


def edit(root: Path, change: Callable[[Coco], object], file: str = ALL) -> None:
    """Change one annotation file."""
    content = json.loads((root / file).read_text())
    change(content)
    (root / file).write_text(json.dumps(content))


def drop(*keys: str | int) -> Callable[[Coco], object]:
    """An edit that takes out what stands at this place."""

    def change(all_: Coco) -> None:
        place: Any = all_
        for key in keys[:-1]:
            place = place[key]
        del place[keys[-1]]

    return change


def put(value: object, *keys: str | int) -> Callable[[Coco], object]:
    """An edit that puts a value at this place."""

    def change(all_: Coco) -> None:
        place: Any = all_
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return change
