"""Checked exercises and quizzes, one file per chapter, over the frame in `cnnlab.exercises.frame`."""
