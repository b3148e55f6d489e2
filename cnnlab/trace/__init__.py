"""One forward pass of any module, layer by layer: `trace(model, (3, 224, 224))`."""

from cnnlab._tools import lazily

__getattr__, __dir__, __all__ = lazily(
    __name__,
    {
        "call": "TraceError",
        "run": "trace",
        "show": "compare",
        "table": "Layer LayerTable",
    },
)
