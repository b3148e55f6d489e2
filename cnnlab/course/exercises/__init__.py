"""Checked exercises and quizzes: a file per chapter, over `cnnlab.course.exercises.exercise`."""
