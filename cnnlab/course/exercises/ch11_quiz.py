"""Quiz of chapter 11, Leaner and wider."""

from __future__ import annotations

from cnnlab.course.quiz import Option, Question, Quiz

quiz = Quiz(
    Question(
        "In MobileNet v1, a colleague halves the cost of all depthwise 3x3 convolutions. What do "
        "the network's MACs do?",
        (
            Option("They halve", "Only if those were all. They are about 3% of the MACs."),
            Option("They fall by a quarter", "The depthwise ones are far less than half of all."),
            Option(
                "They fall by less than 2%",
                "3% of the MACs are depthwise, 95% are in the 1x1 convolutions.",
                right=True,
            ),
            Option(
                "They stay exactly as they are",
                "Depthwise convolutions multiply too, just not often.",
            ),
        ),
    ),
    Question(
        "A layer has 1/128 of another's MACs and takes 1/15 of its time. What explains it best?",
        (
            Option(
                "It moves nearly as many values, and does little with each",
                "Reading and writing take time, and 4.5 MACs for each value moved hardly hide it.",
                right=True,
            ),
            Option("The MACs were counted wrongly", "They are exact; time is another quantity."),
            Option("Small kernels cannot use several threads", "Both ran on one thread."),
            Option(
                "ReLU, batch norm and the loading of the image were timed too",
                "Neither was there; they would add to both.",
            ),
        ),
    ),
    Question(
        "Why has the last 1x1 of an inverted residual no activation?",
        (
            Option("To save MACs", "A ReLU multiplies nothing."),
            Option(
                "Because a sum of positive numbers would explode",
                "Norms and training keep it in bounds, in ResNets too.",
            ),
            Option(
                "Because the depthwise convolution has one already",
                "So has the first 1x1; each would get its own.",
            ),
            Option(
                "Because a ReLU on few channels destroys most",
                "In many channels enough copies survive; in few they do not.",
                right=True,
            ),
        ),
    ),
    Question(
        "A ResNeXt block has 32 groups and about the weights of the ResNet block beside it. What "
        "is bought with the groups?",
        (
            Option(
                "Less time for the same number of MACs",
                "Grouped convolutions are slower for each MAC.",
            ),
            Option(
                "A middle of 128 channels, where 64 were",
                "The saving of the groups is spent on more channels.",
                right=True,
            ),
            Option(
                "Fewer parameters at the same width of the block",
                "69,632 and 70,144: they are equal on purpose.",
            ),
            Option("A wider view with the same kernel", "Both look around with one 3x3."),
        ),
    ),
    Question(
        "The shortcuts of a U-Net are cut. What suffers most?",
        (
            Option("The large shapes: they are lost", "They survive two poolings, edges apart."),
            Option("The ground", "It is the easiest class, and the largest."),
            Option(
                "The thin lines: their place is forgotten",
                "A pooling keeps that there was a line; its pixel would have to be kept in other "
                "channels.",
                right=True,
            ),
            Option(
                "Everything alike: a quarter of the weights is idle",
                "The three classes lose very different shares.",
            ),
        ),
    ),
)
