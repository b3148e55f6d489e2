"""The chapters that exist, in order. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Chapter:
    """number: two digits; notebook: its file in notebooks/."""

    number: str
    title: str
    notebook: str


CHAPTERS = (
    Chapter("00", "Start here", "00-start-here.ipynb"),
    Chapter("01", "Convolution arithmetic", "01-convolution-arithmetic.ipynb"),
    Chapter("02", "Receptive fields", "02-receptive-fields.ipynb"),
    Chapter("03", "Small kernels", "03-small-kernels.ipynb"),
    Chapter("04", "AlexNet", "04-alexnet.ipynb"),
    Chapter("05", "VGG", "05-vgg.ipynb"),
    Chapter("06", "Inception and GoogLeNet", "06-inception.ipynb"),
    Chapter("07", "Why depth fails", "07-why-depth-fails.ipynb"),
    Chapter("08", "ResNet", "08-resnet.ipynb"),
    Chapter("09", "DenseNet", "09-densenet.ipynb"),
    Chapter("10", "Training", "10-training.ipynb"),
    Chapter("11", "Leaner and wider", "11-leaner-and-wider.ipynb"),
    Chapter("12", "Pretrained networks", "12-pretrained.ipynb"),
    Chapter("13", "Capstone", "13-capstone.ipynb"),
)
