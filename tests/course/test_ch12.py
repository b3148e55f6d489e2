"""Chapter 12: claims have their cells, walks are what the weights say, exercises tell."""

from __future__ import annotations

import hashlib
import http.server
import threading

import pytest
import torch

from cnnlab._torchvision import import_torchvision
from cnnlab.course.exercises import ch12
from cnnlab.course.explorers.ch12_walk import Walked, draw, stored, walk
from cnnlab.course.explorers.walking import walked
from cnnlab.training import load_trained
from tests.course.chapter import stored_cells, texts

import_torchvision()
from torchvision import models as published  # noqa: E402
from torchvision.models._api import Weights, WeightsEnum  # noqa: E402

# Every claim of the chapter: the cell that shows it, and what that cell's output must say.
CLAIMS = {
    "the record is reproduced": ("12-repro", "top-1, here above 4,936 and below 4,942 \u2713"),
    "served wrongly it answers worse": ("12-serve", "dark on light below 94.5 \u2713"),
    "one label: pretraining pays": (
        "12-curve-verdict",
        "fine-tuned, 1 label of each on average above 1 \u2713",
    ),
    "ten labels: it does not": (
        "12-curve-verdict",
        "fine-tuned, 10 of each on average below 2 \u2713",
    ),
    "frozen features lose": (
        "12-curve-verdict",
        "features, 30 of each on average below -3 \u2713",
    ),
    "the smallest walk is the projection": ("12-small", "by hand 0.4 -0.2 0"),
    "more than half of the way": ("12-walk", "way above 50 \u2713"),
    "no score moves": ("12-walk", "largest change of a score below 1 \u2713"),
    "another network says the start, not the goal": ("12-far", "LeNet-5 87 55 83 5"),
    "a second network": ("12-table", "small VGG: Ankle boot toward Trouser"),
    "more numbers held, less way": ("12-rank", "84 numbers of F6 held below 60 \u2713"),
    "one place of S4 sees its window": (
        "12-field",
        "outside its window below 0.05 \u2713",
    ),
}
WALKS = stored()


@pytest.mark.parametrize("place", range(len(WALKS)), ids=lambda place: WALKS[place].name)
def test_a_stored_walk_is_what_the_weights_say(place):
    """The pictures are whole gray values, and each has the scores that stand beside it."""
    from json import loads

    from cnnlab.course.explorers.stored import read

    shown, trained = WALKS[place], load_trained(loads(read("walks"))[place]["weights"])
    pixels = torch.tensor(shown.pixels, dtype=torch.float64)[:, None] / 255
    mean, std = (torch.tensor(x).view(-1, 1, 1) for x in (trained.mean, trained.std))
    with torch.no_grad():
        scores = trained.model.double()((pixels - mean) / std)
    torch.testing.assert_close(scores, torch.tensor(shown.scores).double(), atol=1e-3, rtol=0)
    spread = scores[0].max() - scores[0].min()
    assert (scores - scores[0]).abs().max() < 0.01 * spread  # the floor that the issue sets
    assert (scores.argmax(1) == scores[0].argmax()).all()
    far = (pixels[:, 0] * 255 - torch.tensor(shown.toward)).flatten(1).norm(dim=1)
    assert shown.way(-1) == pytest.approx(1 - float(far[-1] / far[0]))
    assert shown.way(-1) > 0.5 and shown.change(-1) < 0.01


def small():
    """Two classes, two pixels: the scores are a row apart."""
    pixels = [[[0, 0]], [[30, 40]]]
    return Walked("tiny", ("x", "y"), pixels, [[2.0, 0.0], [2.01, 0.0]], [[60, 80]])


def test_way_change_and_answer_by_hand():
    tiny = small()
    assert tiny.way(0) == 0 and tiny.way(1) == pytest.approx(0.5)
    assert tiny.change(1) == pytest.approx(0.005)
    name, sure = tiny.answer(0)
    assert name == "x" and sure == pytest.approx(1 / (1 + 2.718281828**-2))


def test_the_picture_says_where_it_is_and_what_is_read():
    words = " ".join(texts(draw([small()], which=0, along=99)))
    assert "50% of the way" in words and "Read as x, 88.2% sure" in words
    assert "largest change of a score: 0.50%" in words
    for which, along in ((0, 0), (len(WALKS) - 1, 23), (1, 9)):
        assert "Read as" in " ".join(texts(draw(WALKS, which=which, along=along)))
    assert {"Ankle boot", "T-shirt/top"} <= set(texts(draw(WALKS, which=3, along=0)))


def test_every_step_along_a_walk_shows_another_picture():
    along = walk().page()["controls"][1]
    steps = range(along["min"], along["max"] + 1)
    for which, walked_there in enumerate(WALKS):
        drawn = {draw(WALKS, which=which, along=step) for step in steps}
        assert len(drawn) == len(walked_there.pixels) == len(steps)


def test_a_learners_own_network_is_walked_and_shown():
    trained = load_trained("lenet5-letters-10")
    first, goal = (torch.randint(256, (1, 28, 28), dtype=torch.uint8) for _ in range(2))
    own = walked(trained, first, goal, "mine", steps=5)
    assert own.pixels[0] == first[0].tolist() and own.way(-1) > 0 and own.change(-1) < 0.01
    assert "mine: 0% of the way" in draw([own], which=0, along=0)
    assert "One answer" in walk().title


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A publisher on this machine: a small file of weights, handed out over HTTP once."""
    torch.manual_seed(0)
    torch.save(published.mobilenet_v2().state_dict(), tmp_path / "net.pth")
    data = (tmp_path / "net.pth").read_bytes()
    asked = []

    class Publisher(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Publisher)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    name = f"net-{hashlib.sha256(data).hexdigest()[:8]}.pth"
    url = f"http://127.0.0.1:{server.server_address[1]}/{name}"
    words = [f"word {number}" for number in range(1000)]

    class Fake(WeightsEnum):
        IMAGENET1K_V1 = Weights(url=url, transforms=None, meta={"categories": words})

    monkeypatch.setattr(published, "get_model_weights", lambda name: Fake)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    yield asked
    server.shutdown()
    server.server_close()
    thread.join()


def page(*names):
    """What the page knows after these cells."""
    cells, space = stored_cells("12"), {}
    exec("import torch\nimport torch.nn.functional as F\nfrom torch import nn", space)
    exec("from cnnlab.course.look import measured", space)
    exec("from cnnlab.course.results import result, show_results, show_table", space)
    for name in names:
        exec(cells[name].source, space)
    return space


def test_published_weights_are_fetched_and_the_photographs_served(served, capsys):
    space = page("12-photographs", "12-published")
    space["classify"]("mobilenet_v2")
    said = capsys.readouterr().out
    assert said.count("word ") == 10 and "upside down" in said
    assert "below 0.0001\u00a0\u2713" in said
    assert len(served) == 1
    space["classify"]("mobilenet_v2")
    assert len(served) == 1  # found, not fetched again


def test_without_a_network_one_sentence_says_what_is_left_out(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def nothing(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", nothing)
    space = page("12-photographs", "12-published")
    space["name"] = "mobilenet_v2"
    exec(stored_cells("12")["12-published-run"].source, space)
    said = capsys.readouterr().out
    assert said.startswith("Left out: mobilenet_v2-b0353104.pth is not in") and "by hand" in said


def test_the_cells_hold_the_code_with_their_faults():
    space = {"torch": torch, "F": torch.nn.functional}
    for name, words in (("freeze", "change without a gradient"), ("prepare", "Two faults")):
        source = stored_cells("12")[f"12-ex-{name}"].source
        exec(source[: source.index(f"ex.{name}.check")], space)
        function = space["train_head" if name == "freeze" else "prepare"]
        assert words in getattr(ch12.exercises, name).judge(function).message


@pytest.mark.parametrize("answer, right", [(3062, True), (3062.0, False), (3072 - 9, False)])
def test_directions(answer, right):
    assert ch12.exercises.blind.judge(answer).passed is right
