"""Quiz of chapter 12, Pretrained networks."""

from __future__ import annotations

from cnnlab.course.quiz import Option, Question, Quiz

quiz = Quiz(
    Question(
        "A file of weights loads with strict=False and no error. What do you know?",
        (
            Option("All tensors are in their place", "Only strict loading says so."),
            Option(
                "Only that equal names had equal shapes",
                "What had another name stays as it was drawn: random numbers in a trained network.",
                right=True,
            ),
            Option(
                "The architectures are equal",
                "Names may be missing on either side; nothing is said.",
            ),
            Option(
                "The accuracy will be a little lower",
                "It can be anything, a guess included.",
            ),
        ),
    ),
    Question(
        "You freeze all weights of a network with batch norm and train a new last layer in train "
        "mode. What moves in the frozen part?",
        (
            Option(
                "The running means and variances",
                "They are buffers and follow each batch in train mode, gradient or not.",
                right=True,
            ),
            Option("Nothing: requires_grad is False", "Buffers need no gradient to move."),
            Option("The scale and shift of batch norm", "Those are weights, and they are frozen."),
            Option("The first layer only", "It has no buffers."),
        ),
    ),
    Question(
        "A network maps 3 x 224 x 224 numbers to 1,000 scores. In how many independent "
        "directions can you move an image, to first order, without any score changing?",
        (
            Option("In none: it is trained to see differences", "It sees 1,000 of them at most."),
            Option("In 1,000", "So many it can see, at most."),
            Option(
                "Only in those that a person does not see, either",
                "Nothing in the training says so, and the chapter's walk shows the contrary.",
            ),
            Option(
                "In at least 149,528",
                "150,528 numbers in, at most 1,000 seen.",
                right=True,
            ),
        ),
    ),
    Question(
        "The scores of two images agree to within a hundredth of their range. What follows?",
        (
            Option(
                "The images look alike to a person", "An a and a picture you read as h had them."
            ),
            Option(
                "The network treats them alike, whatever they show",
                "Equal scores are all there is: same answer, same confidence.",
                right=True,
            ),
            Option("One of them was made to deceive", "Both may be ordinary pictures."),
            Option(
                "The network is badly trained",
                "Every network with fewer scores than pixels has such pairs.",
            ),
        ),
    ),
    Question(
        "A published network gives nonsense on your photograph. What do you look at first?",
        (
            Option("Its weights: the file may be damaged", "Its hash would have told."),
            Option("The number of its layers", "Strict loading compared them."),
            Option(
                "How its images were made ready",
                "Size, color order, range, mean and deviation: nothing raises when they differ.",
                right=True,
            ),
            Option("Whether your machine has a GPU", "The scores are the same without."),
        ),
    ),
)
