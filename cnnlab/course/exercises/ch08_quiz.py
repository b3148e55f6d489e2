"""Quiz of chapter 08, ResNet and skip connections."""

from __future__ import annotations

from cnnlab.course.quiz import Option, Question, Quiz

quiz = Quiz(
    Question(
        "A network of 56 layers with sigmoids gets skips around every two layers, and each sum "
        "goes through a sigmoid. Its first layer still gets no gradient. Why?",
        (
            Option(
                "skips help only where the layers between are ReLU layers",
                "With the same sigmoids inside the branches alone, the gradient arrives.",
            ),
            Option(
                "every way back passes all the sigmoids on the main road",
                "27 slopes of at most 1/4, whatever path it takes. Pre-activation clears the road.",
                right=True,
            ),
            Option(
                "it has too few parameters for so many layers",
                "The gradient before training does not depend on what could be learned.",
            ),
            Option(
                "the skips add up until the sigmoids are saturated",
                "A sigmoid gives at most 1, so nothing adds up; its slope is what is missing.",
            ),
        ),
    ),
    Question(
        "What do skip connections with zero padding (option A) add to plain-20?",
        (
            Option(
                "nothing that is learned, and no MACs",
                "A copy and an addition. That makes the comparison clean.",
                right=True,
            ),
            Option(
                "a 1x1 convolution per block",
                "Only projections have weights, and only where the shape changes.",
            ),
            Option(
                "one parameter per block, the strength of the shortcut",
                "The shortcut is not weighted here: it is x itself.",
            ),
            Option("as many parameters as the blocks have", "A copy has no parameters."),
        ),
    ),
    Question(
        "A trained plain-20 can be turned into a plain-56 that gives the same answers. So "
        "plain-56 fails because",
        (
            Option("it has too little capacity", "It can do everything that plain-20 can."),
            Option(
                "the digits are too small for 56 layers",
                "ResNet-56 learns them with the same layers.",
            ),
            Option("deep networks overfit", "It is the training loss that stays high."),
            Option(
                "training does not find what exists",
                "A solution is there; from a random start this training does not reach it.",
                right=True,
            ),
        ),
    ),
    Question(
        "In a bottleneck that halves the map, the stride moves from the first 1x1 (paper) to the "
        "3x3 (v1.5). What does that change?",
        (
            Option(
                "It costs nothing and changes nothing",
                "The first 1x1 now works on the large map: more MACs.",
            ),
            Option(
                "The branch reads all pixels, for more MACs",
                "A 1x1 with stride 2 skips three of four pixels; a 3x3 with stride 2 "
                "reaches them all.",
                right=True,
            ),
            Option(
                "The receptive field of ResNet-50 grows",
                "It shrinks, from 483 to 427: that 3x3 now works before the stride.",
            ),
            Option("It needs more parameters", "The kernels are the same; only the stride moves."),
        ),
    ),
    Question(
        "You delete one of the 27 blocks of ResNet-56 and half of its paths are gone. Why does "
        "its accuracy hardly change?",
        (
            Option("The deleted paths were never trained", "All of them were trained together."),
            Option(
                "The other blocks hold copies of the weights that are gone",
                "Each block has its own.",
            ),
            Option(
                "Later blocks still get nearly the input they know",
                "Deleting takes one small correction away. In a plain chain it takes away "
                "everything that block computed.",
                right=True,
            ),
            Option(
                "Batch norm repairs the missing block",
                "In evaluation batch norm uses stored statistics; it does not react.",
            ),
        ),
    ),
)
