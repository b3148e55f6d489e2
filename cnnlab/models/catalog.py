"""The networks of the course by name: `build("resnet50")`."""

from __future__ import annotations

import inspect

from torch import nn

from cnnlab._tools import did_you_mean
from cnnlab.models import (
    alexnet,
    convnext,
    densenet,
    googlenet,
    lenet,
    mobilenet_v1,
    mobilenet_v2,
    nin,
    resnet,
    resnext,
    unet,
    vgg,
)

MODELS = {
    "lenet5": lenet.LeNet5,
    "alexnet": alexnet.AlexNet,
    "vgg11": vgg.vgg11,
    "vgg13": vgg.vgg13,
    "vgg16": vgg.vgg16,
    "vgg16_c": vgg.vgg16_c,
    "vgg19": vgg.vgg19,
    "vgg11_bn": vgg.vgg11_bn,
    "vgg13_bn": vgg.vgg13_bn,
    "vgg16_bn": vgg.vgg16_bn,
    "vgg19_bn": vgg.vgg19_bn,
    "vgg_small": vgg.vgg_small,
    "nin": nin.NIN,
    "googlenet": googlenet.GoogLeNet,
    "resnet18": resnet.resnet18,
    "resnet34": resnet.resnet34,
    "resnet50": resnet.resnet50,
    "resnet101": resnet.resnet101,
    "resnet152": resnet.resnet152,
    "resnet20": resnet.resnet20,
    "resnet32": resnet.resnet32,
    "resnet44": resnet.resnet44,
    "resnet56": resnet.resnet56,
    "resnet110": resnet.resnet110,
    "resnext50_32x4d": resnext.resnext50_32x4d,
    "densenet121": densenet.densenet121,
    "densenet169": densenet.densenet169,
    "densenet201": densenet.densenet201,
    "densenet161": densenet.densenet161,
    "densenet40_k12": densenet.densenet40_k12,
    "densenet100_k12": densenet.densenet100_k12,
    "densenet100_k24": densenet.densenet100_k24,
    "densenet_bc100_k12": densenet.densenet_bc100_k12,
    "densenet_bc250_k24": densenet.densenet_bc250_k24,
    "mobilenet_v1": mobilenet_v1.MobileNetV1,
    "mobilenet_v2": mobilenet_v2.MobileNetV2,
    "unet": unet.UNet,
    "convnext_tiny": convnext.convnext_tiny,
}

# The images that a network was made for, where they are not ImageNet's.
IMAGES = {
    "lenet5": (1, 28, 28),
    "vgg_small": (1, 28, 28),
    "unet": (1, 572, 572),
    **dict.fromkeys(
        "nin resnet20 resnet32 resnet44 resnet56 resnet110 densenet40_k12 densenet100_k12 "
        "densenet100_k24 densenet_bc100_k12 densenet_bc250_k24".split(),
        (3, 32, 32),
    ),
}


def image_shape(name: str) -> tuple[int, int, int]:
    """(C, H, W) of the images that the model was made for. Raises ValueError on an unknown name."""
    options(name)
    return IMAGES.get(name, (3, 224, 224))


def options(name: str) -> tuple[str, ...]:
    """The options that `build(name)` takes. Raises ValueError on an unknown name."""
    if name not in MODELS:
        raise ValueError(
            f"no model is called {name!r}{_guess(name, MODELS)}; there are {', '.join(MODELS)}"
        )
    parameters = inspect.signature(MODELS[name]).parameters.values()
    return tuple(p.name for p in parameters if p.kind == p.KEYWORD_ONLY)


def build(name: str, **given: object) -> nn.Module:
    """The model `name` of `MODELS` with fresh weights; `options(name)` lists what can be given.

    `build("resnet18", num_classes=10)` is `cnnlab.models.resnet.resnet18(num_classes=10)`.
    Raises ValueError on an unknown name or option, with the nearest one that exists.
    """
    known = options(name)
    for option in given:
        if option not in known:
            raise ValueError(
                f"{name} has no option {option!r}{_guess(option, known)}; "
                f"it takes {', '.join(known)}"
            )
    return MODELS[name](**given)


def _guess(word: str, words) -> str:
    """ ", did you mean 'vgg16'?", or nothing if no word is near."""
    return did_you_mean(word, words).replace(" Did", ", did", 1)
