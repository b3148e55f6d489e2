"""Quiz of chapter 05, VGG."""

from __future__ import annotations

from cnnlab.course.quiz import Option, Question, Quiz

quiz = Quiz(
    Question(
        "You cut the three linear layers off VGG-16 and train the rest. What falls?",
        (
            Option(
                "Parameters and kept memory, both by nine tenths",
                "The parameters do. The head keeps only a few vectors per image: 0.4% of the "
                "memory.",
            ),
            Option(
                "Parameters by nine tenths, kept memory hardly at all",
                "89% of the parameters sit in the head, and 0.4% of the kept memory.",
                right=True,
            ),
            Option(
                "Kept memory by nine tenths, parameters hardly at all",
                "The other way round: parameters late, memory early.",
            ),
            Option(
                "MACs by nine tenths, since each weight is multiplied once",
                "In the head it is. In a convolution each weight is multiplied at every pixel: "
                "the head does 0.8% of the MACs.",
            ),
        ),
    ),
    Question(
        "VGG-16 at 448 x 448 instead of 224 x 224. What holds?",
        (
            Option(
                "Everything grows four times, the parameters too",
                "A convolution has no weight per pixel, and the last map is averaged to 7 x 7: "
                "the parameters stay.",
            ),
            Option(
                "Kept memory doubles, as the side does",
                "The maps have two sides: four times the pixels.",
            ),
            Option(
                "Only memory and the convolutions' MACs grow: four times",
                "One bill depends on the images, the other does not.",
                right=True,
            ),
            Option(
                "Nothing changes, since the images are scaled to 224 first",
                "VGG does not scale its input; the data pipeline may.",
            ),
        ),
    ),
    Question(
        "73.4 MB are kept of one image, 61.1 MB of them in float32. What are the other 12.2 MB?",
        (
            Option(
                "Places of the poolings' maxima, as int64",
                "8 bytes for each pooled value, twice what the value itself takes.",
                right=True,
            ),
            Option(
                "The weights of the first convolutions",
                "Weights were not counted, and conv1_1 and conv1_2 have only 155 kB.",
            ),
            Option(
                "Copies of the maps before ReLU",
                "VGG's ReLU works in place: it writes over its input, and its output is enough for "
                "the gradient.",
            ),
            Option(
                "The masks of dropout", "There are two, of 4,096 numbers each: 33 kB, in float32."
            ),
        ),
    ),
    Question(
        "A 32 x 32 image runs through VGG-19 as published, its last map brought to 7 x 7. What "
        "does the first linear layer see?",
        (
            Option(
                "An error: nothing is left to be pooled",
                "32 can be halved exactly five times; 31 could not.",
            ),
            Option(
                "25,088 different values, as for a large image",
                "The shape is the same. But the map before it was 1 x 1.",
            ),
            Option(
                "512 values and 24,576 zeros",
                "Averaging to a larger map repeats values, it does not fill up with zeros.",
            ),
            Option(
                "512 values, each of them 49 times",
                "49 weights per output and channel always act as one, their sum.",
                right=True,
            ),
        ),
    ),
    Question(
        "Which sentence about VGG at the ImageNet challenge of 2014 is right?",
        (
            Option(
                "It won the classification with 92.7% top-5 accuracy",
                "GoogLeNet won the classification. 7.3% error is the second place.",
            ),
            Option(
                "It had 7.3% top-5 error, and in addition 92.7% top-5 accuracy",
                "These are one fact said twice: 100 - 7.3.",
            ),
            Option(
                "It came second in classification and first in localization",
                "So its authors say in the abstract.",
                right=True,
            ),
            Option(
                "It won because of its 1x1 convolutions",
                "Only its configuration C has any, and D, with 3x3 in their place, makes fewer "
                "errors (table 3 of the paper).",
            ),
        ),
    ),
)
