import base64
import io
import json
import re
import struct
import subprocess
import sys
import threading
import types
from importlib import import_module
from pathlib import Path

import nbformat
import pytest
from PIL import Image

from cnnlab.course.explorers import stored, widget
from cnnlab.course.explorers.explorer import Choice, Explorer, Slider, Toggle
from cnnlab.course.explorers.widget import ExplorerView
from cnnlab.course.pictures import svg as drawings
from tests.course.chapter import NOTEBOOKS
from tests.threads import overlap


def draw(size, kernel, shape, dotted, row):
    if kernel > size:
        raise ValueError(f"kernel {kernel} does not fit size {size}: use at most {size}")
    if shape == "broken":
        raise ZeroDivisionError("division by zero")
    svg = drawings.Svg(400, 160, f"size {size}, kernel {kernel}, {shape}, {dotted}, row {row}")
    svg.rect(10, 10, 10 * size, 10 * size, pick="input")
    return str(svg)


def pick(state, key):
    if key == "too far":
        return {"kernel": 99}
    if key == "fault":
        return state["nothing"]
    return {"row": int(key.split(",")[1]), "kernel": 1}


def explorer(**options):
    controls = [
        Slider("size", "input size", 1, 12, 7),
        Slider("kernel", "kernel", 1, 12, 3),
        Choice("shape", "shape", ["plain", ("it breaks", "broken")], "plain"),
        Toggle("dotted", "dotted"),
    ]
    return Explorer(
        "A title",
        controls,
        draw,
        ["When <is> it 3?"],
        "tiny_one",
        hidden={"row": 2},
        pick=pick,
        **options,
    )


@pytest.fixture
def tiny():
    return explorer()


def ask(tiny, *steps, n=1):
    tiny.answer({"n": n, "steps": list(steps)})


def test_it_begins_with_the_values_of_its_controls(tiny):
    assert tiny.state == {"size": 7, "kernel": 3, "shape": "plain", "dotted": False, "row": 2}
    assert "size 7, kernel 3, plain, False, row 2" in tiny.svg


def test_a_moved_control_changes_the_picture_and_the_answer_carries_its_number(tiny):
    ask(tiny, ["set", "kernel", 5], ["set", "shape", 0], ["set", "dotted", True], n=7)
    assert "size 7, kernel 5, plain, True" in tiny.svg
    values = {"size": 7, "kernel": 5, "shape": 0, "dotted": True}
    assert tiny.shown() == {"svg": tiny.svg, "error": "", "values": values, "n": 7}


def test_whole_numbers_stay_whole_whatever_the_page_sends(tiny):
    ask(tiny, ["set", "kernel", 5.0])
    assert type(tiny.state["kernel"]) is int


def test_one_change_is_one_picture(tiny):
    seen = []
    tiny.listen(lambda: seen.append(tiny.svg))
    tiny.set(size=9, kernel=4, dotted=True, row=5)
    assert len(seen) == 1 and "size 9, kernel 4, plain, True, row 5" in seen[0]
    tiny.reset()
    assert len(seen) == 2 and tiny.state["size"] == 7 and tiny.state["row"] == 2
    ask(tiny, ["set", "size", 8], ["pick", "unit,3"], ["set", "kernel", 2])
    assert len(seen) == 3 and "size 8, kernel 2, plain, False, row 3" in seen[2]


def test_the_page_can_reset(tiny):
    start = tiny.state
    ask(tiny, ["set", "size", 8], ["pick", "unit,3"], n=1)
    ask(tiny, ["reset"], n=2)
    assert tiny.state == start and tiny.shown()["n"] == 2


def test_two_threads_leave_the_picture_of_the_last_state():
    drawing, go_on = threading.Event(), threading.Event()

    def slow(size):
        if size == 2:
            drawing.set()
            go_on.wait(10)
        return str(drawings.Svg(400, 160, f"size {size}"))

    tiny = Explorer("A title", [Slider("size", "size", 1, 9, 1)], slow, [], "tiny_one")
    overlap(lambda: tiny.set(size=2), lambda: ask(tiny, ["set", "size", 3]), drawing, go_on)
    assert tiny.state == {"size": 3} and 'aria-label="size 3"' in tiny.svg


def test_an_impossible_state_gives_a_sentence_of_the_same_size_and_it_goes_on(tiny):
    tiny.set(kernel=9)
    assert tiny.error == "kernel 9 does not fit size 7: use at most 7"
    assert 'viewBox="0 0 400 160"' in tiny.svg and "does not fit size 7" in tiny.svg
    tiny.set(kernel=7)
    assert tiny.error == "" and "kernel 7, plain" in tiny.svg


def test_a_fault_of_the_course_is_named_and_it_goes_on(tiny):
    tiny.set(shape="broken")
    assert tiny.error.startswith("ZeroDivisionError: division by zero. This is a fault")
    tiny.reset()
    assert tiny.error == ""


def test_a_draw_that_gives_no_svg_is_a_fault():
    broken = Explorer("x", [], lambda: "<p>no</p>", [], "broken")
    assert "return str(svg)" in broken.error


@pytest.mark.parametrize(
    "values, message",
    [
        ({"kernl": 3}, "tiny_one has no 'kernl'. Did you mean 'kernel'\\? It has size"),
        ({"kernel": 13}, "kernel is 13, expected a number from 1 to 12"),
        ({"kernel": 2.5}, "kernel is 2.5, expected a whole number"),
        ({"kernel": "3"}, "kernel is '3', expected a number from 1 to 12"),
        ({"shape": "round"}, "shape is 'round', expected one of 'plain', 'broken'"),
        ({"dotted": 1}, "dotted is 1, expected True or False"),
    ],
)
def test_a_bad_value_is_refused_and_nothing_changes(tiny, values, message):
    before = tiny.state
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        tiny.set(size=3, **values)
    assert tiny.state == before


@pytest.mark.parametrize(
    "step, words",
    [
        (["set", "kernel", 99], "kernel is 99, expected a number from 1 to 12"),
        (["set", "nothing", 1], "tiny_one has no 'nothing'"),
        (["set", "shape", 2], "shape is 2, expected one of"),
        (["set", "row", None, 3], "too many values to unpack"),
        ([], "not enough values"),
        (["pick", "too far"], "kernel is 99, expected a number from 1 to 12"),
        (["pick", "fault"], "KeyError"),
    ],
)
def test_what_a_page_should_not_send_is_said_and_answered_and_it_goes_on(tiny, step, words):
    ask(tiny, step, n=3)
    assert words in tiny.error and tiny.shown()["n"] == 3 and "kernel 3" in tiny.svg
    ask(tiny, ["pick", "unit,4"], n=4)
    assert tiny.error == "" and tiny.state["row"] == 4


def test_a_pick_changes_what_the_course_says(tiny):
    ask(tiny, ["pick", "unit,4"])
    assert tiny.state["row"] == 4 and tiny.state["kernel"] == 1 and "row 4" in tiny.svg


def test_the_page_is_told_every_control_with_its_label_and_texts_as_html(tiny):
    page = tiny.page()
    assert [c["label"] for c in page["controls"]] == ["input size", "kernel", "shape", "dotted"]
    assert [c["kind"] for c in page["controls"]] == ["slider", "slider", "choice", "toggle"]
    assert page["controls"][0] | {"min": 1, "max": 12, "step": 1} == page["controls"][0]
    assert page["controls"][2]["options"] == ["plain", "it breaks"]
    assert page["name"] == "tiny-one" and page["find"] == ["When &lt;is&gt; it 3?"]
    assert page["width"] == 400


def test_sliders_are_whole_or_not():
    assert Slider("a", "a", 1, 5, 2).whole and not Slider("a", "a", 0, 1, 0.5, 0.1).whole
    assert Slider("a", "a", 0, 1, 0.5, 0.1).accept(0.3) is None


# In a notebook


def test_the_widget_asks_and_is_shown_in_one_message_each(tiny, monkeypatch):
    view, sent = tiny.view, []
    monkeypatch.setattr(view, "_send", lambda message, buffers=None: sent.append(message))
    view.set_state({"asked": {"n": 1, "steps": [["set", "kernel", 9]]}})
    shown = [m["state"] for m in sent if m["method"] == "update"]
    assert len(shown) == 1 and list(shown[0]) == ["shown"]
    assert shown[0]["shown"] == tiny.shown() and "does not fit" in tiny.shown()["error"]
    tiny.set(kernel=2)
    assert view.shown["svg"] == tiny.svg and "kernel 2" in tiny.svg
    assert tiny.view is view


def test_without_a_kernel_it_is_a_picture_that_says_where_it_moves(tiny):
    data, metadata = tiny._repr_mimebundle_()
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == tiny.view.model_id
    words = "Explorer A title: size 7, kernel 3, plain, False, row 2."
    assert data["text/plain"] == f"{words} Run the cell to move it."
    assert 'viewBox="0 0 400 190"' in data["image/svg+xml"]
    assert f">{widget.MOVE}</text>" in data["image/svg+xml"]
    assert tiny.svg.split("/>", 1)[1].removesuffix("</svg>") in data["image/svg+xml"]
    assert struct.unpack(">II", data["image/png"][16:24]) == (800, 380)
    assert metadata["image/png"] == {"width": 400, "height": 190, "alt": words}
    assert metadata["image/svg+xml"] == {"alt": words}
    assert "text/html" not in data  # sanitized, it would hide the PNG


def test_a_stored_picture_stays_small_and_keeps_its_colors():
    busy = drawings.Svg(720, 400, "busy")
    for i in range(400):
        color = f"#{(i * 7919) % 2**24:06x}"
        busy.text(i % 20 * 36, 20 + i // 20 * 19, i * 7919, 11, color)
    svg = widget.still(str(busy))
    for room in (90_000, 50_000, 30_000):
        png = widget.small_png(svg, room)
        drawn = Image.open(io.BytesIO(png))
        assert drawn.width in (1440, 1080, 720) and drawn.getpixel((5, 200)) is not None
        assert len(base64.b64encode(png)) < room or drawn.width == 720
    assert Image.open(io.BytesIO(png)).convert("RGB").getpixel((300, 425)) == (253, 252, 249)


def test_it_is_shown_where_there_is_colab(tiny, monkeypatch):
    asked = []
    colab, output = types.ModuleType("google.colab"), types.ModuleType("google.colab.output")
    output.enable_custom_widget_manager = lambda: asked.append(True)
    output._widgets = types.SimpleNamespace(_installed_url="where Colab keeps it")
    colab.output = output
    google = types.ModuleType("google")
    google.colab = colab
    names = {"google": google, "google.colab": colab, "google.colab.output": output}
    for name, module in names.items():
        monkeypatch.setitem(sys.modules, name, module)
    data, metadata = tiny._repr_mimebundle_()
    assert asked and "custom_widget_manager" in json.dumps(metadata)


def test_the_browser_side_has_what_the_frame_relies_on():
    script = str(ExplorerView._esm)
    for needed in ("data-pick", "stopPropagation", "save_changes", "aria-live"):
        assert needed in script


# Without libraries

ABSENT = "torch torchvision numpy ipywidgets anywidget IPython traitlets matplotlib PIL sklearn"
ALONE = f"""
import importlib, pkgutil, sys
for name in {ABSENT.split()!r}:
    sys.modules[name] = None  # an import of it raises ImportError
import cnnlab.course.explorers as rooms
from cnnlab.course.explorers.explorer import Explorer
for info in pkgutil.iter_modules(rooms.__path__):
    if not info.name.startswith("ch"):
        continue
    module = importlib.import_module(f"{{rooms.__name__}}.{{info.name}}")
    makers = [f for n, f in vars(module).items() if callable(f) and n[0] != "_"
              and getattr(f, "__annotations__", {{}}).get("return") == "Explorer"]
    (make,) = makers
    explorer = make()
    first = explorer.svg
    for control in explorer.page()["controls"]:
        last = {{"slider": control.get("max"), "choice": len(control.get("options", "")) - 1,
                "toggle": True}}[control["kind"]]
        explorer.answer({{"n": 1, "steps": [["set", control["name"], last]]}})
        assert "fault of the course" not in explorer.error, explorer.error
        explorer.answer({{"n": 2, "steps": [["reset"]]}})
    assert explorer.svg == first and not explorer.error and first.startswith("<svg"), info.name
    print(info.name)
"""


def test_every_explorer_draws_where_no_library_is():
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = sorted(p.stem for p in Path(widget.__file__).parent.glob("ch[0-9][0-9]_*.py"))
    assert done.stdout.split() == names and len(names) >= 10


def test_the_stored_numbers_are_small():
    sizes = [path.stat().st_size for path in stored.FOLDER.glob("*.bin")]
    assert len(sizes) == 4 and sum(sizes) < 1_000_000


def test_what_is_packed_comes_out_again():
    numbers = [5, 5, -1_000_000, 123_456_789, 0]
    assert stored.unpack(stored.pack(numbers)) == numbers


def test_sliders_and_verdict_share_a_window_of_900_pixels():
    """JupyterLab leaves 780 pixels to the notebook; a row of two controls takes 30."""
    for path in Path(widget.__file__).parent.glob("ch[0-9][0-9]_*.py"):
        module = import_module(f"cnnlab.course.explorers.{path.stem}")
        (make,) = (
            f
            for name, f in vars(module).items()
            if name[0] != "_" and getattr(f, "__annotations__", {}).get("return") == "Explorer"
        )
        ours = make()
        rows = (len(ours.page()["controls"]) + 1) // 2
        height = float(re.search(r'viewBox="0 0 \S+ ([\d.]+)"', ours.svg).group(1))
        assert 40 + 30 * rows + height <= 780, path.stem


# The stored page


def test_every_stored_explorer_is_small_and_says_where_it_moves():
    found = 0
    for path in NOTEBOOKS.glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", ()):
                data = output.get("data", {})
                if not data.get("text/plain", "").startswith("Explorer "):
                    continue
                found += 1
                assert len(json.dumps(data)) <= 60_000, cell.id
                assert widget.MOVE in data["image/svg+xml"] and "Run the cell" in data["text/plain"]
                assert output.metadata["image/png"]["alt"] in data["text/plain"]
    assert found >= 11
