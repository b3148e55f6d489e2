"""Quiz of chapter 03, small kernels."""

from __future__ import annotations

from cnnlab.course.quiz import Option, Question, Quiz

quiz = Quiz(
    Question(
        "Two 3x3 replace one 5x5, all widths 128. What grows?",
        (
            Option(
                "The weights, because there are two layers instead of one",
                "Two layers, but 18 instead of 25 weights per pair of channels: they shrink.",
            ),
            Option(
                "The MACs, because every pixel is visited twice",
                "Each visit is cheaper. Where the size stays the same, MACs follow the weights: "
                "0.72x.",
            ),
            Option(
                "The receptive field, because the layers are deeper",
                "Both see 5 x 5: K = 2 * (3 - 1) + 1.",
            ),
            Option(
                "The maps kept for training, by the one in between",
                "The middle map is kept for the backward pass: one more map per extra layer.",
                right=True,
            ),
        ),
    ),
    Question(
        "A stack of two 3x3 goes from 3 to 64 channels through 64. Against one 5x5 from 3 to 64 "
        "it has",
        (
            Option(
                "0.72 times the weights, like any two 3x3",
                "0.72 holds when all widths are equal. Here the middle is 21 times wider than the "
                "input.",
            ),
            Option(
                "8 times the weights: the second layer is 64 to 64",
                "38,592 against 4,800. The 5x5 never meets 64 x 64 channels.",
                right=True,
            ),
            Option(
                "exactly the same weights, since 3 is a thin input",
                "A tie would need a middle of about 8 channels.",
            ),
            Option(
                "1.08 times the weights, like VGG's second stage",
                "That stage goes from 64 channels to 128. From 3 the second layer, 64 to 64, makes "
                "nearly the whole bill.",
            ),
        ),
    ),
    Question(
        "One channel in, one hidden, one out: two 3x3 without a ReLU between, and no padding. They "
        "are",
        (
            Option(
                "exactly one 5x5, whose kernel can be written down",
                "Convolve the two kernels. Every such stack is a 5x5; not every 5x5 is such "
                "a stack.",
                right=True,
            ),
            Option(
                "close to a 5x5, up to a small error at the center",
                "There is no error at all. Only zero padding between the layers disturbs it, and "
                "only at the border.",
            ),
            Option(
                "able to learn every 5x5, since they see as far",
                "18 numbers cannot describe every set of 25. Through one channel most 5x5 kernels "
                "are out of reach.",
            ),
            Option(
                "more powerful than a 5x5, since they are deeper",
                "Depth without a non-linearity gives no new functions, it only restricts them.",
            ),
        ),
    ),
    Question(
        "By weights per pair of channels, 2x2 kernels beat 3x3 for the same view. Why are they "
        "rare?",
        (
            Option(
                "Two of them see less than one 3x3 does",
                "Two 2x2 see 3 x 3, as one 3x3 does, with 8 weights instead of 9.",
            ),
            Option("They cannot be composed into larger kernels", "They can, like any kernels."),
            Option(
                "More layers, more stored maps, no center",
                "11% fewer weights, but twice as many maps to store, and an even kernel "
                "shifts by half a pixel.",
                right=True,
            ),
            Option(
                "Frameworks do not implement even kernels",
                "They do: nn.Conv2d(8, 8, 2) works. Padding it evenly does not.",
            ),
        ),
    ),
    Question(
        "After four epochs network A leads by 3 standard errors, after twelve nothing is left of "
        "it. What may you say?",
        (
            Option(
                "A is the better network: 3 errors are no accident",
                "No accident, but of a short training. After twelve epochs the lead is gone.",
            ),
            Option(
                "Nothing, since the first weights are random",
                "Over twenty starts chance averages out: that is what the standard error says.",
            ),
            Option(
                "A learned faster, and no further",
                "The two trainings answer two questions: how fast, and how far.",
                right=True,
            ),
            Option(
                "Twelve epochs overfit, so only the four count",
                "The accuracy on the validation images rose for all three.",
            ),
        ),
    ),
)
