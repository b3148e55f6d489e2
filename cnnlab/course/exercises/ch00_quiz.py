"""Quiz of chapter 00, Start here."""

from __future__ import annotations

from cnnlab.course.quiz import Option, Question, Quiz

quiz = Quiz(
    Question(
        "The pixels of all images, training and test, are shuffled in the same way. Which "
        "network's task becomes harder?",
        (
            Option(
                "The dense network, because it has no filters to help it",
                "It gives every pixel its own weights, so a renamed pixel is just as good. The "
                "measurement showed hardly any loss.",
            ),
            Option(
                "LeNet-5, because its filters expect neighbors",
                "Shuffling breaks up the neighborhoods that a 5x5 filter looks at.",
                right=True,
            ),
            Option(
                "Both, because no digit is left to be seen",
                "You cannot see it, but no information is lost: the shuffle can be undone. "
                "The dense network never noticed.",
            ),
        ),
    ),
    Question(
        "Where do most of LeNet-5's 61,706 parameters sit?",
        (
            Option(
                "In C5, its first linear layer",
                "48,120, or 78%. The convolutions hold 4%.",
                right=True,
            ),
            Option(
                "In C3, its second convolution",
                "C3 holds 2,416. It does the most work (240,000 MACs) with few parameters.",
            ),
            Option(
                "Spread evenly over all five layers",
                "The table says otherwise: from 156 in C1 to 48,120 in C5.",
            ),
        ),
    ),
    Question(
        "Why do we look at the test images only once, at the end?",
        (
            Option(
                "Because evaluating on them takes too long",
                "It takes a blink. The reason is not time.",
            ),
            Option(
                "Because the network would learn them while being evaluated",
                "Evaluation changes no weight. It is we who would learn from them.",
            ),
            Option(
                "Because choosing by them spoils the test",
                "Choose epochs, rates and networks by the validation images.",
                right=True,
            ),
        ),
    ),
    Question(
        "`backward()` says that the slope of one weight is 3. What does a step of learning do to "
        "this weight?",
        (
            Option(
                "It makes the weight smaller",
                "More of this weight means more loss, so the step goes the other way.",
                right=True,
            ),
            Option(
                "It makes the weight larger",
                "That would raise the loss: a slope above zero says that the loss grows with it.",
            ),
            Option(
                "It sets the weight to 3",
                "The slope is no value for the weight. It says how fast the loss changes with it.",
            ),
        ),
    ),
    Question(
        "A paper says 60,000 parameters, your table says 61,706. What do you do first?",
        (
            Option(
                "Trust the paper, and look for the bug in the table",
                "Both numbers were right. They count two different networks.",
            ),
            Option(
                "Count layer by layer, and see where the two differ",
                "Here the difference came apart into three exact pieces.",
                right=True,
            ),
            Option(
                "Call it rounding, since 3% hardly matters",
                "It was no rounding: 60,000 is exact, for another network.",
            ),
        ),
    ),
)
