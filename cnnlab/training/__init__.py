"""Training loops that a reader can follow: `fit(model, train, val, epochs=3)`."""

from cnnlab._tools import lazily

__getattr__, __dir__, __all__ = lazily(
    __name__,
    {
        "curves": "progress",
        "experiment": "accuracy trained",
        "history": "Epoch History Metrics TrainingError",
        "loop": "bare_fit evaluate fit",
        "runs": "Trained load_trained",
        "schedules": "learning_rate",
    },
)
