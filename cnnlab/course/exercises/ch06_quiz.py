"""Quiz of chapter 06, Inception and GoogLeNet."""

from __future__ import annotations

from cnnlab.course.quiz import Option, Question, Quiz

quiz = Quiz(
    Question(
        "A 1x1 convolution from 64 to 64 channels on a 28 x 28 map does the same as",
        (
            Option(
                "multiplying each channel by one number",
                "That would be 64 numbers. It has 64 x 64: every output channel mixes all inputs.",
            ),
            Option(
                "one linear layer from 64 x 28 x 28 values to as many",
                "That one would connect different pixels. A 1x1 never looks at a neighbor.",
            ),
            Option(
                "the same linear layer, 64 to 64, at each pixel",
                "4,096 weights without bias, used 784 times.",
                right=True,
            ),
            Option(
                "a blur over the channels",
                "A blur would weigh neighbors in a fixed way. Here all weights are learned, and "
                "channels have no neighbors.",
            ),
        ),
    ),
    Question(
        "Why does a stack of naive modules get wider and wider?",
        (
            Option(
                "Because padding adds a channel on each side",
                "Padding adds rows and columns, never channels.",
            ),
            Option(
                "Because its pooling passes all input channels on",
                "The output is everything that came in, plus what the convolutions add.",
                right=True,
            ),
            Option(
                "Because a 5x5 makes more channels than a 3x3",
                "The number of output channels is chosen freely, for any kernel.",
            ),
            Option(
                "Because its 1x1 widens the input",
                "The 1x1 gives the 64 channels it was asked for, no more.",
            ),
        ),
    ),
    Question(
        "A 3x3 from 128 to 128 is replaced by 1x1 to 32, ReLU, 3x3 to 128. What is lost?",
        (
            Option(
                "Nothing: channels and receptive field are the same",
                "They are. But 96 directions of the input's 128 no longer reach the output.",
            ),
            Option(
                "The receptive field: it is smaller by 2",
                "A 1x1 sees one pixel and the 3x3 nine: still 3 x 3.",
            ),
            Option("Output channels: only 32 are left", "The 3x3 makes 128 of them again."),
            Option(
                "Directions that the 1x1 throws away",
                "Two inputs with the same 32 mixtures give the same output.",
                right=True,
            ),
        ),
    ),
    Question(
        "torchvision's GoogLeNet has a 3x3 where the paper has a 5x5. In the whole network this",
        (
            Option(
                "takes 320 of 715 pixels off the receptive field",
                "The longest path goes through the largest kernel of each module, and nine "
                "modules add up.",
                right=True,
            ),
            Option(
                "changes nothing, since every module has a 3x3 in it anyway",
                "The module's longest path was the 5x5. Now it is the 3x3.",
            ),
            Option(
                "saves half of the parameters", "The 5x5 branches are thin: it saves a few percent."
            ),
            Option("changes the number of channels", "The widths are the paper's."),
        ),
    ),
    Question(
        "A network ends in global average pooling and one linear layer. It takes images of other "
        "sizes because",
        (
            Option(
                "it crops every image to the size it was trained on", "It does not touch the image."
            ),
            Option(
                "the linear layer grows with the image", "Its size is fixed. That is the point."
            ),
            Option(
                "the pooling leaves one number per channel",
                "1,024 numbers reach the linear layer, whether the map is 7 x 7 or 12 x 3.",
                right=True,
            ),
            Option("average pooling has a stride", "It has none: it averages the whole map."),
        ),
    ),
)
