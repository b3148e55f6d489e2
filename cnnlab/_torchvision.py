"""Import torchvision even where its compiled half does not fit the installed torch.

A torchvision wheel holds Python code and one compiled library. If the library was built for
another torch (typically: the CPU build of torch beside the CUDA build of torchvision, which is what
a plain `pip install` of both can leave behind), torch refuses to load it. torchvision then stops
half-way through its own import, because it attaches a shape rule to an operator, `nms`, that the
library would have declared:

    RuntimeError: operator torchvision::nms does not exist

cnnlab uses torchvision's data sets, transforms and classification networks. None of them calls a
compiled operator, so declaring the operator's signature is enough to finish the import.

This does not repair torchvision. Detection models, `torchvision.ops.nms` and decoding images with
`torchvision.io` still fail, with torch's own message. The cure is a matching pair of wheels from
the same index: https://pytorch.org/get-started/locally/
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

MISSING_OPERATOR = "operator torchvision::nms does not exist"


def import_torchvision() -> ModuleType:
    """The `torchvision` module, with or without its compiled operators.

    Where torchvision imports by itself nothing is changed. Any failure other than the one described
    above is passed on unchanged, `ModuleNotFoundError` (torchvision not installed) included.
    """
    try:
        return import_module("torchvision")
    except RuntimeError as error:
        if MISSING_OPERATOR not in str(error):
            raise
    from torch.library import Library

    library = Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):  # qnms: the quantized form, declared by some versions
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    torchvision = import_module("torchvision")
    torchvision._cnnlab_library = library  # the declarations live only as long as this object
    return torchvision
