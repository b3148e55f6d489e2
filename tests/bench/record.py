"""`python -m tests.bench.record NAME`: train a recipe once per seed, and write what was measured.

Each run keeps a folder in --work, with checkpoints: a record that was stopped goes on. The record
lands in cnnlab/training/records, beside the runs of other seeds that it holds already, if recipe,
machine and versions are the same; date and commit are those of the last run. Test images are
looked at once per run: choose recipes before, on validation images, with `python -m cnnlab train`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import torch

from cnnlab.__main__ import main as command
from cnnlab.data.batches import evaluation
from cnnlab.data.sets import load
from cnnlab.training.loop import evaluate
from cnnlab.training.records import FOLDER
from cnnlab.training.runs import WEIGHTS, load_trained
from tests.bench.recipes import RECIPES, flags


def measure(name: str, seeds: list[int], work: Path, into: Path = FOLDER) -> Path:
    """Train recipe `name` for each seed in a folder below `work`; returns the record's file."""
    recipe, runs = RECIPES[name], []
    for seed in seeds:
        folder = work / f"{name}-{seed}"
        cpu, began = folder / "cpu_seconds", time.process_time()
        if not (folder / "config.json").is_file() or not read(folder / "config.json").get("test"):
            resume = ["--resume"] if folder.is_dir() else []
            status = command(
                ["train", *flags(recipe), "--seed", str(seed), "--out", str(folder), *resume]
            )
            if status:
                sys.exit(status)
            cpu.write_text(str(time.process_time() - began if not resume else None))
        rows = read(folder / "history.json")["epochs"]
        best = max(rows, key=lambda row: (row["val_accuracy"], -row["val_loss"]))
        runs.append(
            {
                "seed": seed,
                "best_epoch": best["epoch"],
                "val_accuracy": best["val_accuracy"],
                "test_accuracy": read(folder / "config.json")["test"]["accuracy"],
                "val_accuracies": [row["val_accuracy"] for row in rows],
                "train_losses": [row["train_loss"] for row in rows],
                "seconds": sum(row["seconds"] for row in rows),
                "cpu_seconds": json.loads(cpu.read_text().replace("None", "null")),
            }
        )
    record = {
        "name": name,
        "model": recipe.model,
        "build": dict(recipe.build),
        "data": recipe.train["data"],
        "recipe": {"precision": "float32", **recipe.train},
        "source": recipe.source,
        "runs": runs,
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "date": date.today().isoformat(),
        "commit": commit(),
    }
    into.mkdir(parents=True, exist_ok=True)
    path = into / f"{name}.json"
    record["runs"] = sorted(earlier(path, record) + runs, key=lambda run: run["seed"])
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return path


def earlier(path: Path, record: dict) -> list[dict]:
    """Runs that a record's file holds of other seeds; none if they were measured otherwise."""
    if not path.is_file():
        return []
    old, own = read(path), {"runs", "date", "commit"}
    seeds = {run["seed"] for run in record["runs"]}
    if any(old[key] != record[key] for key in record.keys() - own):
        return []
    return [run for run in old["runs"] if run["seed"] not in seeds]


def ship(name: str, run: Path, into: Path = WEIGHTS) -> Path:
    """The best weights of a run in half precision, as a network that comes with the course; what
    they reach on the test images, in half precision, is written down beside them."""
    trained = load_trained(run)
    config = read(run / "config.json")
    weights = {
        key: value.half() if value.is_floating_point() else value
        for key, value in trained.model.state_dict().items()
    }
    trained.model.load_state_dict(weights)  # rounded now, and in float32 again
    splits = load(config["data"], size=trained.shape[-1])
    test = evaluate(trained.model, evaluation(splits, splits.test))
    kept = {key: config[key] for key in ("model", "build", "data", "trained on", "versions")}
    (into / name).mkdir(parents=True, exist_ok=True)
    torch.save(weights, into / name / "weights.pt")
    text = json.dumps({**kept, "record": name, "test": test._asdict()}, indent=1)
    (into / name / "config.json").write_text(text + "\n", encoding="utf-8")
    return into / name


def read(path: Path) -> dict:
    """A JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def machine() -> str:
    """The card, or the processor; never the name of the host."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()} ({os.cpu_count()} cores)"


def commit() -> str:
    """Of the checkout that this file is in."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=RECIPES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--work", type=Path, default=Path("runs/records"))
    parser.add_argument("--threads", type=int)
    parser.add_argument("--ship", action="store_true", help="weights of the first seed, for all")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    print(measure(options.name, options.seeds, options.work))
    if options.ship:
        print(ship(options.name, options.work / f"{options.name}-{options.seeds[0]}"))
