import struct
import threading

import pytest

from cnnlab.course.explorers.explorer import Choice, Explorer, Picture, Slider, Toggle
from cnnlab.course.pictures import svg as drawings
from cnnlab.course.quiz import Option, Question, Quiz
from cnnlab.course.quiz_widget import quiz_view
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


def press(tiny, key, times=1):
    tiny.picture.picked = {"key": key, "n": times}


def test_it_begins_with_the_values_of_its_controls(tiny):
    assert tiny.state == {"size": 7, "kernel": 3, "shape": "plain", "dotted": False, "row": 2}
    assert "size 7, kernel 3, plain, False, row 2" in tiny.svg


def test_a_moved_control_changes_the_picture(tiny):
    tiny._widgets["kernel"].value = 5
    assert "kernel 5" in tiny.svg


def test_one_change_is_one_message_with_a_finished_picture(tiny):
    seen = []
    tiny.picture.observe(lambda change: seen.append(change["new"]), "svg")
    tiny.set(size=9, kernel=4, dotted=True, row=5)
    assert len(seen) == 1 and "size 9, kernel 4, plain, True, row 5" in seen[0]
    tiny.reset()
    assert len(seen) == 2 and tiny.state["size"] == 7 and tiny.state["row"] == 2


def test_two_threads_leave_the_picture_of_the_last_state():
    drawing, go_on = threading.Event(), threading.Event()

    def slow(size):
        if size == 2:
            drawing.set()
            go_on.wait(10)
        return str(drawings.Svg(400, 160, f"size {size}"))

    tiny = Explorer("A title", [Slider("size", "size", 1, 9, 1)], slow, [], "tiny_one")
    slider = tiny._widgets["size"]
    overlap(lambda: tiny.set(size=2), lambda: setattr(slider, "value", 3), drawing, go_on)
    assert tiny.state == {"size": 3} and 'aria-label="size 3"' in tiny.svg


def test_picture_and_error_line_travel_together(tiny, monkeypatch):
    sent = []
    monkeypatch.setattr(tiny.picture, "_send", lambda message, buffers=None: sent.append(message))
    tiny.set(kernel=9)
    assert len(sent) == 1 and set(sent[0]["state"]) == {"svg", "error"}


def test_an_impossible_state_gives_a_sentence_of_the_same_size_and_it_goes_on(tiny):
    tiny.set(kernel=9)
    assert tiny.picture.error == "kernel 9 does not fit size 7: use at most 7"
    assert 'viewBox="0 0 400 160"' in tiny.svg and "does not fit size 7" in tiny.svg
    tiny.set(kernel=7)
    assert tiny.picture.error == "" and "kernel 7, plain" in tiny.svg


def test_a_fault_of_the_course_is_named_and_it_goes_on(tiny):
    tiny.set(shape="broken")
    assert tiny.picture.error.startswith("ZeroDivisionError: division by zero. This is a fault")
    tiny.reset()
    assert tiny.picture.error == ""


def test_a_draw_that_gives_no_svg_is_a_fault():
    broken = Explorer("x", [], lambda: "<p>no</p>", [], "broken")
    assert "return str(svg)" in broken.picture.error


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


def test_a_pick_changes_what_the_course_says(tiny):
    press(tiny, "unit,4")
    assert tiny.state["row"] == 4 and tiny.state["kernel"] == 1 and "row 4" in tiny.svg


def test_the_same_pick_twice_is_two_events(tiny):
    press(tiny, "unit,4", 1)
    tiny.reset()
    press(tiny, "unit,4", 2)
    assert tiny.state["row"] == 4


def test_a_pick_that_fails_is_said_and_it_goes_on(tiny):
    press(tiny, "too far", 1)
    assert tiny.picture.error == "kernel is 99, expected a number from 1 to 12"
    press(tiny, "fault", 2)
    assert tiny.picture.error.startswith("KeyError")
    press(tiny, "unit,4", 3)
    assert tiny.picture.error == "" and tiny.state["row"] == 4


def test_every_control_is_labeled(tiny):
    assert [w.description for w in tiny._widgets.values()] == [
        "input size",
        "kernel",
        "shape",
        "dotted",
    ]
    assert all(w.tooltip for w in tiny._widgets.values())


def test_sliders_are_whole_or_not():
    assert Slider("a", "a", 1, 5, 2).widget().__class__.__name__ == "IntSlider"
    assert Slider("a", "a", 0, 1, 0.5, 0.1).widget().__class__.__name__ == "FloatSlider"
    assert Slider("a", "a", 0, 1, 0.5, 0.1).accept(0.3) is None


def test_the_classes_that_a_browser_test_finds_it_by(tiny):
    assert {"cnnlab-explorer", "cnnlab-tiny-one"} <= set(tiny.view._dom_classes)


def test_things_to_find_are_escaped(tiny):
    texts = [child.value for child in tiny.view.children if hasattr(child, "value")]
    assert any("When &lt;is&gt; it 3?" in text for text in texts)


def test_without_a_kernel_it_is_a_picture(tiny):
    data, metadata = tiny._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert data["image/svg+xml"] == tiny.svg
    assert data["text/plain"] == ("Explorer A title: size 7, kernel 3, plain, False, row 2")
    assert struct.unpack(">II", data["image/png"][16:24]) == (800, 320)
    assert metadata["image/png"] == {"width": 400, "height": 160}
    assert "text/html" not in data  # sanitized, it would hide the picture


def test_the_browser_side_has_what_the_frame_relies_on():
    script = Picture._esm if isinstance(Picture._esm, str) else str(Picture._esm)
    for needed in ("data-pick", "stopPropagation", "save_changes", "aria-live"):
        assert needed in script


QUIZ = Quiz(
    Question("Which `k`?", (Option("three", "Yes, 3 < 4.", right=True), Option("four", "No."))),
    Question("And now?", (Option("a", "No, b."), Option("b", "Yes.", right=True))),
)


def test_quiz_answers_at_once_and_counts():
    kept = []
    view = quiz_view(QUIZ.bound(lambda right, total: kept.append((right, total))))
    assert view.score == "0 of 2 answered, 0 right" and view.feedback == ["", ""]
    view.chosen = [1, None]
    assert "Not quite." in view.feedback[0] and "No." in view.feedback[0]
    view.chosen = [0, None]
    assert "Right." in view.feedback[0] and "Yes, 3 &lt; 4." in view.feedback[0]
    assert view.score == "1 of 2 answered, 1 right" and kept == []
    view.chosen = [0, 0]
    assert view.score == "2 of 2 answered, 1 right" and kept == [(1, 2)]
    view.chosen = [0, 1]
    assert kept[-1] == (2, 2)


def test_quiz_sends_no_answers_to_the_page():
    state = str(quiz_view(QUIZ).get_state())
    assert "Which <code>k</code>?" in state and "three" in state
    assert "Yes" not in state and "right': " not in state


def test_quiz_gives_nothing_away_without_a_kernel():
    data = QUIZ._repr_mimebundle_()
    assert data["text/plain"] == "Quiz with 2 questions"
    assert "three" in data["text/markdown"] and "Yes" not in data["text/markdown"]
    assert "application/vnd.jupyter.widget-view+json" in data
    assert "text/html" not in data
