"""Quiz of chapter 09, DenseNet."""

from __future__ import annotations

from cnnlab.course.quiz import Option, Question, Quiz

quiz = Quiz(
    Question(
        "A dense block reads 64 channels and has 24 layers with k = 32. It gives",
        (
            Option(
                "64 times 2 to the power 24 channels: each layer doubles",
                "Only the number of paths through the block doubles with each layer.",
            ),
            Option(
                "832 channels: 64 and 24 times 32",
                "k more with each layer, so linear.",
                right=True,
            ),
            Option("768 channels: 24 times 32", "The input is in the concatenation too."),
            Option("32 channels: the growth rate", "That is what each single layer adds."),
        ),
    ),
    Question(
        "DenseNet-121 has a third of ResNet-50's parameters and keeps more memory in training. "
        "Why?",
        (
            Option(
                "Its weights are stored several times, once per reader",
                "Weights are stored once, and are a small part of the bill.",
            ),
            Option(
                "It has more channels in every layer than ResNet-50",
                "Its layers make 32 channels each, far fewer than ResNet-50's.",
            ),
            Option(
                "Each layer keeps its own copy of all it reads",
                "Concatenated once and normalized once, for each layer anew, so that the "
                "kept values grow quadratically.",
                right=True,
            ),
            Option(
                "It cannot do without the optimizer's averages",
                "The optimizer needs as many as for any network of so many weights.",
            ),
        ),
    ),
    Question(
        "Recomputing the concatenations in the backward pass",
        (
            Option(
                "changes the gradients a little, which is the price of the memory",
                "The same operations on the same numbers: the gradients are equal.",
            ),
            Option(
                "saves time as well, since less is written",
                "It does part of the forward pass twice.",
            ),
            Option("needs fewer parameters", "The network is the same."),
            Option(
                "costs time, and lets batch norm count each batch twice",
                "Cat, norm, ReLU and 1x1 run twice, and the first norm of each layer "
                "updates its running statistics twice.",
                right=True,
            ),
        ),
    ),
    Question(
        "A 1x1 convolution reads the concatenation of x and y. When does it compute the same as "
        "a 1x1 on x + y?",
        (
            Option(
                "When its weights for x and for y are equal",
                "Addition is a concatenation whose reader treats old and new alike.",
                right=True,
            ),
            Option(
                "Always: both see the same numbers",
                "From a sum the two can no longer be told apart.",
            ),
            Option(
                "Never: the shapes differ",
                "The concatenation has twice the channels and its reader twice the weights, but "
                "both outputs have the same shape.",
            ),
            Option("When x and y are positive", "A 1x1 is linear; the signs play no role."),
        ),
    ),
    Question(
        "Which of these won the ILSVRC classification task?",
        (
            Option("VGG, in 2014", "It came second, behind GoogLeNet, and first in localization."),
            Option(
                "DenseNet, in 2017",
                "It won a best paper award of CVPR 2017. The task went to SENet.",
            ),
            Option("ResNet, in 2015", "3.57% top-5 error, with an ensemble.", right=True),
            Option(
                "Network in Network, in 2013",
                "That year Clarifai won. Network in Network inspired the winner of the next.",
            ),
        ),
    ),
)
