"""Labeled images, in batches: `load("digits")`, `train_val(splits, 64)`."""

from cnnlab._tools import lazily

__getattr__, __dir__, __all__ = lazily(
    __name__,
    {
        "augment": "Augment",
        "batches": "Batches evaluation train_val",
        "folder": "Files image_folder",
        "images": "DataError Images Splits",
        "published": "data_folder",
        "segmentation": "scenes",
        "sets": "load scattered two_marks",
    },
)
