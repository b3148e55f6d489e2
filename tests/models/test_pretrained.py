"""Weight files, with small fakes and no network: what is loaded, refused, said and left behind."""

import hashlib
import pickle
import socket
from email.message import Message
from pathlib import Path

import pytest
import torch
from torch import nn

from cnnlab import models
from cnnlab._torchvision import import_torchvision
from cnnlab.models import WeightsError, load_pretrained, pretrained

import_torchvision()
from torchvision import models as published  # noqa: E402
from torchvision.models._api import Weights, WeightsEnum  # noqa: E402


def publish(content, folder, name="net", digits=None):
    """Put `content` on a server, here a folder; its URL, with the digits of its SHA-256."""
    folder.mkdir(exist_ok=True)
    path = folder / "content"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    digits = digits or hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    return path.rename(folder / f"{name}-{digits}.pth").as_uri()


@pytest.fixture
def server(tmp_path):
    return tmp_path / "server"


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache" / "checkpoints"


def files(folder):
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


def test_a_file_is_downloaded_once(server, cache):
    url = publish(b"weights", server)
    path = pretrained.fetch(url, cache)
    assert path.read_bytes() == b"weights" and files(cache) == [path.name]
    (server / path.name).unlink()
    assert pretrained.fetch(url, cache) == path  # found, not fetched


def test_a_missing_file_says_where_it_looked_and_how_to_get_it(server, cache):
    url = publish(b"weights", server)
    path = cache / url.rsplit("/", 1)[-1]
    (server / path.name).unlink()
    with pytest.raises(WeightsError) as caught:
        pretrained.fetch(url, cache)
    message = str(caught.value)
    assert f"{path.name} is not in {cache} and cannot be downloaded" in message
    assert f"put the file of {url} there by hand, as {path}" in message
    assert files(cache) == []


def test_a_wrong_download_leaves_nothing(server, cache):
    url = publish(b"not what was promised", server, digits="0123abcd")
    with pytest.raises(
        WeightsError,
        match=r"the download .* is damaged \(invalid hash value .expected .0123abcd., got "
        r".[0-9a-f]{64}..\): try again, or put",
    ):
        pretrained.fetch(url, cache)
    assert files(cache) == []


class Broken:
    """A connection that ends, or fails, half-way."""

    def __init__(self, error=None):
        self.error, self.sent = error, False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def info(self):
        return Message()

    def read(self, size):
        if self.sent and self.error:
            raise self.error
        self.sent, data = True, b"" if self.sent else b"half"
        return data


URL = "https://example.org/net-0123abcd.pth"


@pytest.mark.parametrize(
    "response, message",
    [
        (Broken(), "is damaged .invalid hash value"),
        (Broken(TimeoutError("timed out")), "cannot be downloaded .timed out"),
        (Broken(ConnectionResetError("reset by peer")), "cannot be downloaded .reset by peer"),
    ],
)
def test_a_broken_connection_leaves_no_half_file(monkeypatch, cache, response, message):
    monkeypatch.setattr(torch.hub, "urlopen", lambda request: response)
    with pytest.raises(WeightsError, match=message):
        pretrained.fetch(URL, cache)
    assert files(cache) == []


def test_an_interrupted_download_leaves_no_half_file(monkeypatch, cache):
    monkeypatch.setattr(torch.hub, "urlopen", lambda request: Broken(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        pretrained.fetch(URL, cache)
    assert files(cache) == []


def test_a_silent_server_is_given_up(monkeypatch, cache):
    def silent(request):
        assert socket.getdefaulttimeout() == pretrained.TIMEOUT
        raise TimeoutError("timed out")

    monkeypatch.setattr(torch.hub, "urlopen", silent)
    with pytest.raises(WeightsError, match="timed out"):
        pretrained.fetch(URL, cache)
    assert socket.getdefaulttimeout() is None


def test_a_damaged_file_is_named_and_kept(server, cache):
    url = publish(b"weights", server)
    path = pretrained.fetch(url, cache)
    path.write_bytes(b"weig")
    with pytest.raises(WeightsError, match=r"is damaged .its SHA-256 .*: delete it and try again"):
        pretrained.fetch(url, cache)
    assert path.read_bytes() == b"weig"  # the user's file is the user's to delete


def test_a_folder_that_cannot_be_made_is_a_clear_error(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match="net-.* is not in .*file.sub and cannot be downloaded"):
        pretrained.fetch(publish(b"weights", server), tmp_path / "file" / "sub")


class Trap:
    def __reduce__(self):
        return (exec, ("import builtins; builtins.trapped = True",))


def test_code_in_a_file_is_refused_and_not_run(tmp_path):
    import builtins

    path = tmp_path / "trap.pth"
    for write in (
        lambda: torch.save({"w": Trap()}, path),
        lambda: path.write_bytes(pickle.dumps({"w": Trap()}, 2)),
    ):
        write()
        with pytest.raises(WeightsError, match="weights alone .it is damaged, or holds more than"):
            pretrained.read(path)
    assert not hasattr(builtins, "trapped")


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04 cut short"])
def test_what_is_no_weight_file_is_refused(tmp_path, content):
    (tmp_path / "page.pth").write_bytes(content)
    with pytest.raises(WeightsError, match="page.pth is not a file of weights alone"):
        pretrained.read(tmp_path / "page.pth")


def test_a_file_cut_off_anywhere_is_refused_as_damaged(tmp_path):
    torch.save(nn.Linear(40, 40).state_dict(), tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    for share in (0.1, 0.5, 0.9):
        (tmp_path / "cut.pth").write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(WeightsError, match="cut.pth is not a file of weights alone") as caught:
            pretrained.read(tmp_path / "cut.pth")
        assert "Errno" not in str(caught.value)


def test_a_whole_checkpoint_is_not_a_state(tmp_path):
    torch.save({"model": {"w": torch.ones(1)}, "epoch": 3}, tmp_path / "run.pth")
    with pytest.raises(WeightsError, match=r"no table of named tensors: save model.state_dict\(\)"):
        pretrained.read(tmp_path / "run.pth")


def test_weights_of_another_architecture_are_listed():
    model, before = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)), {}
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = {"0.weight": torch.ones(3, 5), "0.bias": torch.ones(3), "head.weight": torch.ones(1, 3)}
    with pytest.raises(WeightsError) as caught:
        pretrained.load_into(model, state, "net.pth")
    message = str(caught.value)
    for part in (
        "net.pth does not fit Sequential",
        "2 missing: 1.weight, 1.bias",
        "1 unexpected: head.weight",
        "1 of another shape: 0.weight (3, 5) for (3, 2)",
    ):
        assert part in message
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def fake_weights(monkeypatch, url):
    class Fake(WeightsEnum):
        V1 = Weights(url=url, transforms=None, meta={})
        DEFAULT = V1

    monkeypatch.setattr(published, "get_model_weights", lambda name: Fake)


@pytest.mark.parametrize("name", ["mobilenet_v2", "densenet121", "googlenet"])
@torch.inference_mode()
def test_published_weights_give_the_publishers_logits(name, monkeypatch, server, cache):
    torch.manual_seed(0)
    theirs = getattr(published, name)(**({"init_weights": False} if name == "googlenet" else {}))
    state = theirs.eval().state_dict()
    if name == "googlenet":
        theirs.transform_input = True
    if name == "densenet121":  # saved in 2017: old names, no counters
        state = {
            k.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): v
            for k, v in state.items()
            if not k.endswith("num_batches_tracked")
        }
        assert "features.denseblock1.denselayer1.norm.1.weight" in state
    fake_weights(monkeypatch, publish(state, server))
    ours = load_pretrained(name, folder=cache)
    assert not ours.training
    x = torch.randn(1, 3, 64, 64)
    expected = theirs(x)
    assert (ours(x) - expected).abs().max() <= 1e-5 * expected.abs().max()
    counters = [v for k, v in ours.state_dict().items() if k.endswith("num_batches_tracked")]
    assert counters and not torch.stack(counters).any()


def test_what_is_no_file_of_named_tensors_is_refused(tmp_path):
    torch.save({3: torch.ones(1)}, tmp_path / "numbers.pth")
    with pytest.raises(WeightsError, match="holds no table of named tensors"):
        pretrained.read(tmp_path / "numbers.pth")
    for path in (tmp_path, tmp_path / "missing.pth"):
        with pytest.raises(WeightsError, match="cannot be read .*is it the path of a file"):
            pretrained.read(path)


def test_weights_of_another_model_are_refused(monkeypatch, server, cache):
    fake_weights(monkeypatch, publish({"features.0.weight": torch.ones(1)}, server))
    with pytest.raises(
        WeightsError,
        match=r"does not fit ResNet: \d+ missing: conv1.weight.*"
        "1 unexpected: features.0.weight",
    ):
        load_pretrained("resnet18", folder=cache)


def test_the_address_and_the_options_are_torchvisions(monkeypatch, tmp_path):
    asked = []

    def fetch(url, folder):
        asked.append(url)
        raise WeightsError("stop here")

    monkeypatch.setattr(pretrained, "fetch", fetch)
    available = [n for n in models.MODELS if n in published.list_models(module=published)]
    for name in available:
        with pytest.raises(WeightsError, match="stop here"):
            load_pretrained(name)
        assert asked[-1] == published.get_model_weights(name).DEFAULT.url
    with pytest.raises(WeightsError):
        load_pretrained("resnet50", weights="IMAGENET1K_V1")
    assert asked[-1].endswith("/resnet50-0676ba61.pth")


def test_a_model_or_a_set_without_weights_is_named():
    with pytest.raises(ValueError, match="no weights for 'nin'; it has alexnet, vgg11"):
        load_pretrained("nin")
    with pytest.raises(ValueError, match="resnet50 has no weights 'V3'; it has IMAGENET1K_V1"):
        load_pretrained("resnet50", weights="V3")


def test_the_folder_is_torch_hubs(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch_hub_folder = Path(torch.hub.get_dir()) / "checkpoints"
    assert pretrained.weights_folder() == torch_hub_folder
    assert pretrained.weights_folder().is_relative_to(tmp_path)
