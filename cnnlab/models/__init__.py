"""The networks of the course: one paper per file; `build("resnet50")` by name."""

from cnnlab._tools import lazily

__getattr__, __dir__, __all__ = lazily(
    __name__,
    {
        "blocks": "count",
        "catalog": "MODELS build image_shape options",
        "pretrained": "WeightsError load_pretrained",
    },
)
