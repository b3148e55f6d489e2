"""Quiz of chapter 13, Capstone."""

from __future__ import annotations

from cnnlab.course.quiz import Option, Question, Quiz

quiz = Quiz(
    Question(
        "A design breaks only its parameter limit. Which change cannot help?",
        (
            Option("Narrower last stages", "They hold most of the parameters."),
            Option(
                "An earlier stride",
                "Strides change the size of the maps; a kernel has the same weights on any map.",
                right=True,
            ),
            Option("Fewer convolutions in the last stage", "Each of them is a large kernel less."),
            Option("Depthwise separable convolutions", "They need a fraction of the weights."),
        ),
    ),
    Question(
        "Two networks of 3x3 convolutions, with the same stages and proportions, have equal "
        "parameters, one of them twice as deep. What follows?",
        (
            Option("The deeper one is better", "Not as such; at some depth it is far worse."),
            Option("The deeper one is wider, too", "Then it would have many more parameters."),
            Option(
                "The deeper one is narrower",
                "A convolution's weights grow with the width squared: twice the depth at equal "
                "parameters is about 0.7 times the width.",
                right=True,
            ),
            Option(
                "Both need the same memory in training",
                "Kept memory grows with the number of maps and their width, not with the weights.",
            ),
        ),
    ),
    Question(
        "From 2012 to 2017, which of these fell with every one of the famous networks?",
        (
            Option("Their parameters", "61.0, 138.4, 7.0, 25.6, 8.0 million: down and up."),
            Option("The MACs of an image", "0.7, 15.5, 1.6, 4.1, 2.8 billion."),
            Option("The number of layers", "It rose each time."),
            Option(
                "None of these",
                "Depth rose each time; the other two went up and down.",
                right=True,
            ),
        ),
    ),
    Question(
        "Your change wins 0.4 points with one start. The same design differs by 1.5 points "
        "between starts. What do you write?",
        (
            Option("It helps, by 0.4 points of accuracy", "A second start may say the opposite."),
            Option("It does not help, the spread is larger", "You did not show that either."),
            Option(
                "Nothing yet: more starts, in pairs",
                "Pairs with the same start cancel part of the luck; the spread says what is left.",
                right=True,
            ),
            Option("The better of several starts for each", "That measures luck twice."),
        ),
    ),
    Question(
        "An audit before training tells you all of these but one. Which?",
        (
            Option("Whether one unit can see the whole image", "The receptive field: yes."),
            Option("How many bytes a step keeps", "Per image, exactly."),
            Option(
                "Whether the network will learn",
                "Our 24 convolutions keep all four limits, and learn badly. That is measured.",
                right=True,
            ),
            Option("How many multiplications an image costs", "Yes; how many milliseconds, no."),
        ),
    ),
)
