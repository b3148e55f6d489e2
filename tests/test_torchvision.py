"""torchvision must import on every machine, and no other failure may be hidden."""

import subprocess
import sys

import pytest

from cnnlab import _torchvision as torchvision_compat
from cnnlab._torchvision import import_torchvision


def test_what_the_course_uses_can_be_imported_and_run():
    torchvision = import_torchvision()
    import torch
    from torchvision import datasets, models
    from torchvision.transforms import v2

    assert torchvision.models is models
    assert issubclass(datasets.FashionMNIST, torch.utils.data.Dataset)
    assert v2.functional.resize(torch.zeros(3, 8, 8), [4, 4]).shape == (3, 4, 4)
    with torch.device("meta"):
        assert models.resnet18()(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)
    assert models.get_model_weights("vgg16").DEFAULT.meta["num_params"] == 138_357_544


def test_the_second_call_returns_the_same_module():
    assert import_torchvision() is import_torchvision() is sys.modules["torchvision"]


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA driver too old"), ModuleNotFoundError("No module torchvision")]
)
def test_any_other_failure_is_passed_on(monkeypatch, error):
    def fail(name):
        raise error

    monkeypatch.setattr(torchvision_compat, "import_module", fail)
    with pytest.raises(type(error)) as caught:
        import_torchvision()
    assert caught.value is error


def test_importing_the_helper_imports_neither_torch_nor_torchvision():
    code = (
        "import sys, cnnlab._torchvision;"
        "sys.exit(bool({'torch', 'torchvision'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_missing_operator_is_declared_and_the_import_repeated(monkeypatch):
    """The repair itself, also on machines whose torchvision is sound."""
    calls, declared = [], []

    class Library:
        def __init__(self, namespace, kind):
            assert namespace == "torchvision"

        def define(self, schema):
            declared.append(schema.split("(")[0])

    class Module:
        pass

    def import_module(name):
        calls.append(name)
        if len(calls) == 1:
            raise RuntimeError("operator torchvision::nms does not exist")
        return Module

    import torch.library

    monkeypatch.setattr(torch.library, "Library", Library)
    monkeypatch.setattr(torchvision_compat, "import_module", import_module)
    assert import_torchvision() is Module
    assert calls == ["torchvision", "torchvision"] and declared == ["nms", "qnms"]
    assert isinstance(Module._cnnlab_library, Library)
