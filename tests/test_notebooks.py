"""The stored notebooks are fit to be committed, most of them are compared, and the tools tell."""

from __future__ import annotations

import base64
import io
import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from tests.tools import learner
from tests.tools import notebooks as tools

LEAST_SHARE = 0.80


@pytest.mark.parametrize("path", tools.notebooks(), ids=lambda path: path.stem)
def test_stored_notebook_is_normalized(path):
    assert tools.problems(path) == []


def test_most_printing_cells_are_compared(record_property):
    paths = tools.notebooks()
    assert paths, "no notebooks found in notebooks/"
    strict, printing = tools.compared(paths)
    record_property(
        "note",
        f"{strict} of {printing} printing cells in {len(paths)} notebooks are "
        f"compared by nbval: {strict / printing:.0%}",
    )
    assert strict / printing >= LEAST_SHARE, [(path.stem, tools.compared([path])) for path in paths]


def test_every_stored_number_keeps_the_claim_beside_it(record_property):
    """nbval masks what was measured, so a stored number is held against its claim here."""
    held = 0
    for path in tools.notebooks():
        for cell_id, text in stored_texts(path):
            for line in text.splitlines():
                claim = tools.claimed(line)
                assert claim is not False, f"{path.stem}, cell {cell_id}: {line}"
                held += claim is True
    record_property("note", f"{held} stored results keep their claims")


@pytest.mark.parametrize("path", tools.notebooks(), ids=lambda path: path.stem)
def test_every_stored_picture_is_the_one_its_text_tells_of(path):
    """The PNG carries its words: one that was exchanged, or drawn by other code, is noticed."""
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                png = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"])))
                words = png.info.get("Description", "no text chunk")
                told = output.data["text/plain"].removesuffix(" Run the cell to move it.")
                assert told.rstrip(".").endswith(words.rstrip(".")), (cell.id, words)
                assert output.metadata["image/png"].get("alt"), f"{cell.id}: no alt text"


def stored_texts(path):
    """(cell id, text) of every output of a stored notebook that nbval reads as text."""
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            yield cell.id, output.get("text") or output.get("data", {}).get("text/plain", "")


@pytest.mark.parametrize(
    "line, answer",
    [
        ("plain-56  each above 1.5\u00a0\u2713  \u20392.03 (1.9 to 2.2) nats\u203a", True),
        ("plain-56  each above 1.5\u00a0\u2713  \u20392.03 (1.4 to 2.2) nats\u203a", False),
        ("plain-56  each above 1.5\u00a0\u2713  \u20399.03 (1.9 to 2.2) nats\u203a", False),
        ("plain-56  each above 1.5\u00a0\u2717  \u20392.03 (1.4 to 2.2) nats\u203a", False),
        ("plain-56  on average above 1.5\u00a0\u2713  \u20392.03 (1.4 to 2.2)\u203a", True),
        ("dense  above 1,000 and below 2e+09\u00a0\u2713  \u20391,234\u203a", True),
        ("dense  above 1,000 and below 1,200\u00a0\u2713  \u20391,234\u203a", False),
        ("dense  \u20391,234\u203a", None),
        ("a sentence with \u20391,234\u203a and above 3", None),
    ],
)
def test_a_number_is_held_against_its_claim(line, answer):
    assert tools.claimed(line) is answer


# The tools themselves


def untidy():
    """A notebook with every kind of noise that editors and kernels leave."""
    widget = {tools.WIDGET_VIEW: {"model_id": "f00"}}
    cells = [
        new_markdown_cell("# Small kernels, big depth", id="0123abcd"),
        new_code_cell(
            "print(1)  \nprint(2)",
            execution_count=7,
            outputs=[
                new_output("stream", name="stdout", text="1\n"),
                new_output("stream", name="stdout", text="2\n"),
                new_output("stream", name="stderr", text="[IPKernelApp] WARNING | noise\nkept\n"),
            ],
        ),
        new_code_cell(
            "explorer",
            id="03-mine",
            execution_count=9,
            outputs=[
                new_output(
                    "execute_result",
                    execution_count=9,
                    data={**widget, "text/plain": "Explorer", "image/svg+xml": "<svg/>"},
                )
            ],
        ),
        new_code_cell(
            "slider",
            id="03-again",
            execution_count=10,
            outputs=[new_output("display_data", data=widget)],
        ),
        new_code_cell(
            "1 / 0",
            id="03-raises",
            execution_count=11,
            outputs=[
                new_output(
                    "error",
                    ename="ZeroDivisionError",
                    evalue="division by zero",
                    traceback=["\x1b[31m/home/someone/x.py\x1b[0m", "more"],
                )
            ],
        ),
    ]
    cells[1].metadata = {
        "execution": {"iopub.execute_input": "2026"},
        "scrolled": True,
        "tags": ["b", "a"],
    }
    cells[1].id = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
    cells[4].metadata = {"tags": ["raises-exception"]}
    return new_notebook(
        cells=cells,
        metadata={
            "widgets": {"state": {}},
            "language_info": {"name": "python", "version": "3.11.7"},
            "kernelspec": {"name": "mine", "display_name": "Mine"},
        },
    )


def normal(notebook):
    return tools.normalize(nbformat.writes(notebook), "03-small-kernels")


def test_normalize_removes_noise_and_nothing_else():
    notebook = json.loads(normal(untidy()))
    assert notebook["metadata"] == tools.METADATA
    title, printing, explorer, slider, raises = notebook["cells"]
    assert title["id"] == "03-small-kernels-big-depth"
    assert printing["id"] == "03-print-1-print-2"
    assert [explorer["id"], slider["id"], raises["id"]] == ["03-mine", "03-again", "03-raises"]
    assert printing["metadata"] == {"tags": ["a", "b"]}
    assert printing["source"] == ["print(1)\n", "print(2)"]
    assert [output["text"] for output in printing["outputs"]] == [["1\n", "2\n"], ["kept\n"]]
    assert [cell["execution_count"] for cell in notebook["cells"][1:]] == [1, 2, 3, 4]
    assert explorer["outputs"][0]["execution_count"] == 2
    assert set(explorer["outputs"][0]["data"]) == {"text/plain", "image/svg+xml"}
    assert slider["outputs"] == []
    assert raises["outputs"][0]["traceback"] == ["ZeroDivisionError: division by zero"]


def test_normalize_twice_gives_the_same_bytes():
    once = normal(untidy())
    assert tools.normalize(once, "03-small-kernels") == once
    assert once.endswith("}\n") and '\n "cells"' in once


@pytest.mark.filterwarnings("ignore:Non-unique cell id")
def test_ids_stay_unique():
    notebook = untidy()
    for cell in notebook.cells:
        cell.id = "same"
    ids = [cell["id"] for cell in json.loads(normal(notebook))["cells"]]
    assert ids[0] == "same" and len(set(ids)) == len(ids)


@pytest.fixture
def stored(tmp_path):
    """A normalized notebook on the disk, and a function that changes it and asks for problems."""
    path = tmp_path / "03-small-kernels.ipynb"
    path.write_text(normal(untidy()))

    def problems_after(change=None, again=False):
        notebook = nbformat.read(path, as_version=4)
        if change:
            change(notebook)
        text = nbformat.writes(notebook) + "\n"
        path.write_text(tools.normalize(text, path.stem) if again else text)
        return "\n".join(tools.problems(path))

    return problems_after


def set_output(cell, **changes):
    cell.outputs[0].update(changes)


def test_a_normalized_notebook_has_no_problems(stored):
    assert stored() == ""


@pytest.mark.parametrize(
    "change, expected",
    [
        (lambda n: n.metadata.update(widgets={}), "not normalized"),
        (lambda n: n.cells[2].update(execution_count=5), "not normalized"),
        (lambda n: n.cells[2].metadata.update(execution={"x": 1}), "not normalized"),
        (lambda n: n.cells[1].update(execution_count=None), "03-print-1-print-2: it was never run"),
        (
            lambda n: n.cells[1].outputs[0].update(text="at 0x7f3aa0b1c2d0\n"),
            "a memory address: 0x7f",
        ),
        (lambda n: n.cells[1].outputs[0].update(text="/home/me/x\n"), "a machine's path: /home/me"),
        (lambda n: n.cells[4].metadata.update(tags=[]), "it stores an error, ZeroDivisionError"),
        (
            lambda n: (
                n.cells[2]
                .outputs[0]
                .data.update({"image/png": base64.b64encode(bytes(tools.IMAGE_BYTES + 1)).decode()})
            ),
            "its image/png has 400,001 bytes",
        ),
        (
            lambda n: n.cells[1].outputs[0].update(text="x" * tools.NOTEBOOK_BYTES),
            "smaller or fewer",
        ),
    ],
)
def test_check_tells_what_is_wrong(stored, change, expected):
    assert expected in stored(change)


def test_refresh_runs_at_quick_scale_in_a_copy_with_empty_progress(tmp_path):
    source = (
        "import os\nfrom pathlib import Path\nfrom cnnlab.course.logbook import progress_folder\n"
        "Path('made.txt').write_text('x')\n"
        "print(os.environ['CNNLAB_SCALE'], progress_folder(), progress_folder().exists())"
    )
    path = tmp_path / "09-tiny.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(source, id="09-environment")]), path)
    assert tools.main(["refresh", str(path)]) == 0
    assert nbformat.read(path, as_version=4).cells[0].outputs[0].text == "quick my-progress False\n"
    assert sorted(item.name for item in tmp_path.iterdir()) == ["09-tiny.ipynb"]
    assert tools.main(["check", str(path)]) == 0


def test_refresh_leaves_a_notebook_with_an_error_as_it_was(tmp_path, capsys):
    path = tmp_path / "09-wrong.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("1 / 0", id="09-wrong")]), path)
    before = path.read_bytes()
    assert tools.main(["refresh", str(path)]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_compared_counts_only_printing_cells(tmp_path):
    printed = [new_output("stream", name="stdout", text="1\n")]
    cells = [
        new_code_cell("a = 1"),
        new_code_cell("1", outputs=printed),
        new_code_cell("2", outputs=printed, metadata={"tags": ["nbval-ignore-output"]}),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "x.ipynb")
    assert tools.compared([tmp_path / "x.ipynb"]) == (1, 2)


# The simulated learner


def test_the_learner_types_guesses_answers_and_the_quiz():
    cells = [
        new_code_cell('guess = lesson.predict(\n    "a", 5,  # yours\n    "How many?", default=5)'),
        new_code_cell('best = lesson.predict("b", "C", default="C")\nbest'),
        new_code_cell("def f():\n    ...\n\nex.stack.check(f)\n# ex.stack.hint()"),
        new_code_cell("quiz"),
    ]
    learner.answer(new_notebook(cells=cells))
    sources = [cell.source for cell in cells]
    assert sources[0] == "guess = lesson.predict('a', 15, 'How many?', default=5)"
    assert "'something else', default='C'" in sources[1]
    assert "assert ex.stack.check(ex.stack.answer).passed" in sources[2]
    assert sources[3].startswith("quiz") and "quiz.record(" in sources[3]
    for source in sources:
        compile(source, "cell", "exec")


def test_the_learner_tells_what_the_report_misses():
    guess = {"question": "How many?", "default": False, "measured": 3}
    row = {"open": [], "quiz": {"right": 5, "total": 5}, "predictions": [guess]}
    assert learner.missing(row, {"a": {"tries": 3}}) == []
    bad = {"open": ["b"], "quiz": None, "predictions": [{**guess, "measured": None}]}
    found = " ".join(learner.missing(bad, {"a": {"tries": 1}}))
    for words in ("b is open", "quiz: None", "prediction 'How many?'", "a was tried once only"):
        assert words in found
