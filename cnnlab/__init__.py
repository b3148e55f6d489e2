"""cnnlab: an interactive course on CNN architectures.

A configuration becomes a model, a trace of the model becomes a table, the table becomes a picture,
the picture gets sliders, and a notebook tells the story around them. `import cnnlab` stays light:
torch and the others are imported by the modules that need them.
"""

__version__ = "0.1.0"
