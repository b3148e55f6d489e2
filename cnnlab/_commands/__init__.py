"""The commands of `python -m cnnlab`, a file each: `add` describes one to argparse, `run` does it.

Nothing heavy is imported before a command runs: `--help` answers at once.
"""
