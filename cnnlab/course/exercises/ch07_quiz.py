"""Quiz of chapter 07, why depth fails."""

from __future__ import annotations

from cnnlab.course.quiz import Option, Question, Quiz

quiz = Quiz(
    Question(
        "A 30-layer sigmoid network without norm does not learn. The first thing to suspect?",
        (
            Option(
                "Degradation: it is deeper than 20 layers",
                "Degradation is named only when the gradient's size is ruled out. Here it is the "
                "first suspect: sigmoid slopes are at most 1/4.",
            ),
            Option(
                "Vanishing gradients: slopes of at most 0.25",
                "Look at the gradient per layer before the first step.",
                right=True,
            ),
            Option(
                "Overfitting: 30 layers are too many weights",
                "A network that overfits has a low training loss. This one does not learn.",
            ),
            Option(
                "Nothing: sigmoid networks need thousands of epochs",
                "With a gradient of 1e-18 no number of epochs helps.",
            ),
        ),
    ),
    Question(
        "What makes degradation surprising?",
        (
            Option(
                "The deeper network is worse on validation images",
                "That alone would be ordinary overfitting.",
            ),
            Option(
                "The deeper network trains more slowly per step",
                "It has more layers, so it does; nothing surprising.",
            ),
            Option(
                "The deeper network's training loss is higher",
                "It could copy the shallower one, and does not find that.",
                right=True,
            ),
            Option(
                "The deeper network has a vanishing gradient",
                "With He's weights and batch norm it has none: it is larger in the first layers "
                "than in the last.",
            ),
        ),
    ),
    Question(
        "Why the 2 in He's Var(w) = 2 / fan-in?",
        (
            Option(
                "ReLU halves the mean square of the values",
                "Half of them become zero; the factor makes up for it.",
                right=True,
            ),
            Option(
                "There are two passes, forward and backward",
                "The backward pass is the reason for fan-out as an alternative, not for the 2.",
            ),
            Option(
                "Weights and biases both contribute to the variance",
                "Biases start at 0 and contribute nothing.",
            ),
            Option(
                "Each weight is used twice in a 3x3 kernel",
                "A weight is used at every pixel. The 2 comes from the activation.",
            ),
        ),
    ),
    Question(
        "All layers of a ReLU network without norm have gradient shares near 1e-11, first over "
        "last is 1.3. What do you say?",
        (
            Option(
                "Healthy: the ratio is close to 1",
                "The ratio says that all layers are alike. Here all are alike gone.",
            ),
            Option(
                "Degradation, since the ratio rules out vanishing",
                "It does not: look at the level. A step of 1e-11 of a layer moves nothing.",
            ),
            Option("Exploding, since the first one gets more", "1.3 times nothing is nothing."),
            Option(
                "Vanished, in all layers alike",
                "Ratio and level are two questions. Larger weights or a norm will help.",
                right=True,
            ),
        ),
    ),
    Question(
        "Every layer of plain-56 is moved by the same share of itself in each step, and it still "
        "does not learn. This shows that",
        (
            Option(
                "its training is not stopped by the size of the gradients",
                "The size was taken out, the failure stayed.",
                right=True,
            ),
            Option(
                "its gradients point in a wrong direction",
                "For steps near zero they keep their promise exactly. They are right, but only "
                "over a tiny distance.",
            ),
            Option(
                "56 layers cannot express a solution",
                "They can: from copies the same 56 layers reach a low training loss.",
            ),
            Option(
                "no plain network of 56 layers can ever be trained, by any recipe",
                "It shows something about this start, recipe and budget. From copies it learns.",
            ),
        ),
    ),
)
