"""Quiz of chapter 02, Receptive fields."""

from __future__ import annotations

from cnnlab.course.quiz import Option, Question, Quiz

quiz = Quiz(
    Question(
        "Two marks are 7 pixels apart; a network's receptive field is 7. You train it for ten "
        "times as long. What happens?",
        (
            Option(
                "It learns more slowly, but in the end it gets there",
                "Slowness is not its problem: for both classes its logits are the same number.",
            ),
            Option(
                "It reaches 100% on training images, not on new ones",
                "It cannot even memorize them: left and right give the same logits there, too.",
            ),
            Option(
                "Nothing: it answers half of the images correctly",
                "No window holds both marks, so both classes look the same to it.",
                right=True,
            ),
            Option(
                "It stays at half, until it gets more channels",
                "Channels add features of the same windows. No new pixel comes into view.",
            ),
        ),
    ),
    Question(
        "A 3x3 convolution with stride 2, then one with stride 1. The receptive field is",
        (
            Option("5", "You added 3 - 1 twice. The second kernel's taps are 2 pixels apart."),
            Option(
                "7", "1 + 2 * 1 + 2 * 2: the second kernel is counted in jumps of 2.", right=True
            ),
            Option("9", "That is 3 * 3. Neighboring windows overlap, so sizes do not multiply."),
            Option("6", "Kernel sizes do not add up: only the steps between taps do."),
        ),
    ),
    Question(
        "You raise the padding of every layer from 0 to 1 and change nothing else. The "
        "receptive field of unit 0",
        (
            Option(
                "grows by 2 pixels per layer",
                "Padding adds units to the map. Each of them still reads as many as before.",
            ),
            Option(
                "shrinks, because part of it is padding now",
                "Its size stays. At the border, part of it lies outside the image.",
            ),
            Option(
                "stays where it is, only the map grows",
                "The map grows on both sides, so unit 0 is another one: its window moved.",
            ),
            Option(
                "keeps its size and starts further left",
                "Only start changes: it loses padding * jump in each layer.",
                right=True,
            ),
        ),
    ),
    Question(
        "Three layers of 3x3, each with dilation 2. How many pixels of a row does a unit see?",
        (
            Option(
                "7, every second one of its 13",
                "All its offsets are even: -6, -4, ... 6.",
                right=True,
            ),
            Option(
                "13, all of its window", "The window is 13 wide; sums of even offsets stay even."
            ),
            Option(
                "27, one for each path", "There are 27 paths, but many of them start in one pixel."
            ),
            Option("9, three for each layer", "Each layer adds one step on each side: 1, 3, 5, 7."),
        ),
    ),
    Question(
        "You make a stack of 3x3 convolutions four times as deep. Its receptive field, and "
        "the part of it that matters, become about",
        (
            Option(
                "4 times and 4 times as wide",
                "Paths to the edge are few: the bell's width grows with the root of the depth.",
            ),
            Option(
                "2 times and 2 times as wide",
                "The theoretical size, 2n + 1, grows with the depth itself.",
            ),
            Option(
                "4 times and 2 times as wide",
                "The size is linear in depth, the standard deviation goes with its square root.",
                right=True,
            ),
            Option(
                "16 times and 4 times as wide",
                "That would be areas. Along one side, size grows 4 times.",
            ),
        ),
    ),
)
