"""Quiz of chapter 10, Training."""

from __future__ import annotations

from cnnlab.course.quiz import Option, Question, Quiz

quiz = Quiz(
    Question(
        "A network is tested on the test images after each of 100 epochs, and the best result is "
        "reported. What is it?",
        (
            Option(
                "An honest result: the weights never saw the test images",
                "They did not, but the choice among 100 networks did.",
            ),
            Option(
                "Too good: the luckiest of 100 draws",
                "The test set chose the epoch, so it is no test any more. Choose by validation.",
                right=True,
            ),
            Option(
                "Too bad, since later epochs overfit and pull it down",
                "The best of 100 is reported, not the last.",
            ),
            Option(
                "Exactly what 100 networks would reach on average",
                "The average is lower: the maximum of noisy numbers lies above their mean.",
            ),
        ),
    ),
    Question(
        "Cross-entropy on a batch of labels: what does the labels' one-hot form add?",
        (
            Option(
                "Nothing: an index picks the same term",
                "Of a one-hot target only one term is not zero, the one the index names.",
                right=True,
            ),
            Option(
                "Precision: it compares all classes",
                "All terms but one are multiplied by zero.",
            ),
            Option(
                "Speed, because no index has to be looked up",
                "It makes classes times as many numbers to hold and to multiply by zero.",
            ),
            Option(
                "Gradients for the classes that are wrong",
                "They get theirs through the softmax, with an index as well.",
            ),
        ),
    ),
    Question(
        "Other processes load and copy while the device computes, and still it computes only 40% "
        "of the time. Which change surely wins nothing?",
        (
            Option("More loading processes", "If loading is the slowest part, they help."),
            Option(
                "Keeping all data on the device",
                "Then there is nothing to wait for.",
            ),
            Option(
                "A network that needs half the time",
                "It waits already; it will wait more. The steps stay as long as the loading.",
                right=True,
            ),
            Option("Smaller images to load", "Less to load and less to copy."),
        ),
    ),
    Question(
        "You time a layer: the first call takes 80 ms, the next ones 2 ms. What is its time?",
        (
            Option("80 ms, that is what a user waits for", "Once. A training makes thousands."),
            Option(
                "About 2 ms, and the first call is told apart",
                "The first one also prepares memory, threads, kernels. Warm up, then measure.",
                right=True,
            ),
            Option("The mean, 41 ms, which is fair to both", "It depends on how often you call."),
            Option("The median of one cold call each on ten days", "Ten cold calls are all cold."),
        ),
    ),
    Question(
        "A run was killed in epoch 7 of 20 and goes on from its checkpoint. When are the final "
        "weights the same to the bit as those of a run that was not killed?",
        (
            Option(
                "Never: a killed process loses its random numbers",
                "Not if order, augmentation and dropout follow from seed and epoch.",
            ),
            Option(
                "If only the weights were saved",
                "Then momentum, rate and random numbers begin anew.",
            ),
            Option(
                "If order follows from seed and epoch, and all state is saved",
                "Weights, optimizer, history, random state; the order follows from seed and epoch.",
                right=True,
            ),
            Option(
                "If it was killed between two batches",
                "The epoch begins again in any case: only whole epochs are kept.",
            ),
        ),
    ),
)
