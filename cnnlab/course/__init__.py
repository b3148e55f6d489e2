"""The apparatus of a lesson: `lesson = start("01")`, pictures, explorers, exercises."""

from cnnlab._tools import lazily

__getattr__, __dir__, __all__ = lazily(
    __name__,
    {
        "errors": "CourseError",
        "lesson": "start",
    },
)
