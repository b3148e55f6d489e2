"""`python -m cnnlab predict`: what a trained network sees in image files."""

from __future__ import annotations

import argparse

from cnnlab._commands.refused import Refused, sentence

PREDICT = """Print the five likeliest classes of each image, with their probabilities.

  python -m cnnlab predict runs/resnet20-my-pictures photo.jpg other.png
  python -m cnnlab predict lenet5-letters-10 --invert scan.png

RUN is the folder of a run of `train`, or a network that comes with the course. A network that has
learned from light on dark (digits, letters, fashion-mnist) reads dark on light with --invert."""


def add(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "predict",
        help="what a trained network sees in image files",
        description=PREDICT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("trained", metavar="RUN", help="the folder of a run")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="an image file")
    parser.add_argument("--invert", action="store_true", help="turn dark into light first")
    parser.add_argument("--ground", default="white", metavar="COLOR", help="under transparency")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Load the network, then image by image."""
    import torch

    from cnnlab.data.folder import decode
    from cnnlab.training.runs import load_trained

    try:
        trained = load_trained(options.trained)
        channels, size, _ = trained.shape
        for path in options.images:
            image = decode(path, size, options.ground)
            if channels == 1:  # the eye's weights of red, green and blue (ITU-R BT.601)
                weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
                image = (image * weights).sum(0, keepdim=True).round().to(torch.uint8)
            image = 255 - image if options.invert else image
            shares, classes = trained.probabilities(image.unsqueeze(0))[0].sort(descending=True)
            found = zip(shares[:5].tolist(), classes.tolist())
            print(path, *(f"{share:6.1%} {trained.classes[i]}" for share, i in found), sep="  ")
    except (ValueError, RuntimeError, OSError) as error:
        raise Refused(sentence(error)) from error
    return 0
