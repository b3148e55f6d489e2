"""The one error of the course's own rooms."""


class CourseError(ValueError):
    """What a lesson, an exercise, a quiz or a picture was asked for cannot be: what was got, what
    was expected, what to do next."""
