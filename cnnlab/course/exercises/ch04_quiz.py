"""Quiz of chapter 04, AlexNet."""

from __future__ import annotations

from cnnlab.course.quiz import Option, Question, Quiz

quiz = Quiz(
    Question(
        "Grouping halves three of AlexNet's five convolutions, and only 2% of the parameters are "
        "gone. Why?",
        (
            Option(
                "Grouping halves the MACs, not the weights",
                "It halves both, in those layers: half of each filter's kernels are gone.",
            ),
            Option(
                "The two towers hold copies of the same weights",
                "Each tower has weights of its own.",
            ),
            Option(
                "The linear layers hold 96% of them",
                "Whatever you do to the convolutions, the total hardly notices.",
                right=True,
            ),
            Option(
                "conv1, with the largest kernels, was not cut",
                "conv1 has 34,848 weights, the fewest of all eight layers.",
            ),
        ),
    ),
    Question(
        "A colleague's AlexNet has 61,100,840 parameters. It is",
        (
            Option(
                "torchvision's: one narrower tower, without groups",
                "64, 192, 384, 256, 256 channels, and no local response normalization.",
                right=True,
            ),
            Option(
                "the paper's: two towers, groups=2 in convolutions 2, 4 and 5",
                "That one has 60,965,224.",
            ),
            Option("the paper's without the cut", "That one has 62,378,344."),
            Option(
                "wrong, since the paper says 60 million",
                "All three round to about 60 million. Only a count tells them apart.",
            ),
        ),
    ),
    Question(
        "Two convolutions in a row, both with groups=2. An output channel of the first half "
        "depends on",
        (
            Option(
                "all inputs, since a second layer sees further",
                "Further in the image, not among the channels.",
            ),
            Option(
                "the first half of the inputs only",
                "A product of block-diagonal matrices is block-diagonal. It takes a layer "
                "that sees both, as conv3 does.",
                right=True,
            ),
            Option(
                "a quarter of the inputs, half of a half",
                "Both cuts are in the same place, so the second one takes nothing more away.",
            ),
            Option(
                "no input at all, since the halves do not meet",
                "Inside its own half every connection is there.",
            ),
        ),
    ),
    Question(
        "The same image through the same trained network gives different logits each time. Most "
        "likely",
        (
            Option(
                "the weights are drawn anew in each pass",
                "They are drawn once, when the module is made.",
            ),
            Option(
                "floating point numbers are random",
                "Rounding moves the last digits, not the answer.",
            ),
            Option(
                "max pooling picks one of its inputs by chance",
                "It picks the largest, the same each time.",
            ),
            Option(
                "dropout is still active, in train mode",
                "Or F.dropout was called without training=self.training.",
                right=True,
            ),
        ),
    ),
    Question(
        "Replace conv1's 11x11 by a 3x3, everything else as it was. AlexNet loses",
        (
            Option(
                "a third of its weights: 11 x 11 is so much larger",
                "Of conv1's weights it loses 93%. But those are 0.06% of the network.",
            ),
            Option(
                "next to no weights, but 13% of its MACs",
                "34,848 weights are 0.06% of the network, but each is used 3,025 times.",
                right=True,
            ),
            Option(
                "no MACs, since the stride stays the same",
                "The map stays the same; the kernel's area falls from 121 to 9.",
            ),
            Option(
                "nothing at all: two towers share conv1", "conv1 has 96 filters, 48 on each card."
            ),
        ),
    ),
)
