"""Quiz of Chapter 01, convolution arithmetic: five exercises and a quiz."""

from __future__ import annotations

from cnnlab.course.quiz import Option, Question, Quiz

quiz = Quiz(
    Question(
        "A layer is run on images twice as high and twice as wide. What happens to its parameters "
        "and its MACs?",
        (
            Option(
                "Both grow four times",
                "The parameters cannot know how large the image is: the same filters slide over "
                "more places.",
            ),
            Option(
                "The parameters stay, the MACs grow four times",
                "Each weight works once per output pixel, and there are four times as many.",
                right=True,
            ),
            Option(
                "The parameters stay, the MACs double",
                "Height and width both double, so the output has four times the pixels.",
            ),
            Option(
                "Both stay as they are: it is the same kernel on more pixels",
                "The weights stay, but each of them now works at four times as many places.",
            ),
        ),
    ),
    Question(
        "Which padding keeps the size with a 3x3 kernel, stride 1 and dilation 4?",
        (
            Option(
                "1, as for every 3x3 kernel",
                "Only without dilation. Dilated by 4, three taps span 9 pixels.",
            ),
            Option(
                "8, the span without its first pixel",
                "That is both sides together; padding is counted per side.",
            ),
            Option(
                "2, half of the dilation",
                "What must be made up is span - 1 = 4 x 2 = 8 pixels, 4 on each side.",
            ),
            Option(
                "4, half of the span without its first pixel",
                "The kernel spans 9 pixels, so 8 are lost without padding: 4 on each side.",
                right=True,
            ),
        ),
    ),
    Question(
        "A 3x3 layer with stride 2 and no padding runs over an 8x8 image. What is true?",
        (
            Option(
                "The last row and column are never read",
                "The windows start at 0, 2 and 4, so the last one ends at pixel 6. Pixel 7 could "
                "be anything.",
                right=True,
            ),
            Option(
                "PyTorch raises an error, because 8 - 3 is odd",
                "It rounds down without a word. That is why such a loss goes unseen.",
            ),
            Option(
                "The last window hangs over the edge and is filled with zeros",
                "Only poolings can let a window hang over the edge (ceil mode), and even they put "
                "no zeros there.",
            ),
            Option(
                "The output is 4x4, half of the input",
                "floor((8 - 3) / 2) + 1 = 3. It would be 4 with a padding of 1.",
            ),
        ),
    ),
    Question(
        "With groups=4 instead of groups=1, and the same channels and sizes, what shrinks?",
        (
            Option(
                "The weights shrink four times, the MACs stay",
                "MACs are weights x output pixels, so they shrink together.",
            ),
            Option(
                "Weights and MACs shrink sixteen times",
                "Each filter gets four times thinner, but there are as many filters as before.",
            ),
            Option(
                "Weights and MACs shrink four times, the activations stay",
                "Each filter reads a quarter of the channels; the output has the same shape.",
                right=True,
            ),
            Option(
                "All three shrink four times: weights, MACs and activations",
                "The output has the same shape, so its activations take the same memory.",
            ),
        ),
    ),
    Question(
        "A dense 3x3 and a depthwise 3x3 have the same weights and the same MACs. Which was "
        "faster here?",
        (
            Option(
                "They are equally fast: the work is the same",
                "The multiplications are; how many values must be fetched for them is not.",
            ),
            Option(
                "The dense one, with far fewer values to fetch",
                "Time goes into fetching as well: the depthwise layer of this chapter reads 64 "
                "times as many values for the same MACs.",
                right=True,
            ),
            Option(
                "The depthwise one, since it was designed to run fast on phones",
                "It saves MACs. At equal MACs it took longer than the dense 3x3.",
            ),
            Option(
                "The one with more channels",
                "With the same weights that is the depthwise one: it has more values to fetch.",
            ),
        ),
    ),
)
