"""The method that docs/adaptation.md adds, taken from the page, works as the others do."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_peft_inserted import config, model, output, through

from eele import peft
from eele.config.recognition import MethodConfig
from eele.errors import ConfigError
from eele.peft.base import AdapterSpec
from eele.sites import backbone_sites

PAGE = Path(__file__).parents[2] / "docs" / "adaptation.md"
SPEC = AdapterSpec("ssf", ("text_encoder",), 0)


@pytest.fixture
def _added(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The page's file is a module of the package, and its line has been run."""
    section = PAGE.read_text(encoding="utf-8").partition("## To add a method")[2]
    file, line = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert len(line.strip().splitlines()) == 1
    module = ModuleType("eele.peft.ssf")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(peft.METHODS, "_parts", dict(peft.METHODS._parts))
    exec(compile(file, "ssf.py", "exec"), vars(module))
    exec(compile(line, "__init__.py", "exec"), vars(peft))
    yield


@pytest.mark.usefixtures("_added")
def test_the_method_of_the_page_works(tmp_path: Path) -> None:
    how, sites = peft.method("ssf"), backbone_sites(config("fastspeech2"))
    net = model("fastspeech2")
    plain = output(net, "text_encoder")
    before = {key: value.clone() for key, value in net.state_dict().items()}
    how.attach(net, sites, SPEC)
    assert torch.equal(output(net, "text_encoder"), plain)
    trainable = [p for p in net.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trainable) == how.formula(net, sites, SPEC) == 2 * 2 * 16
    optimiser = torch.optim.AdamW(trainable, lr=0.05)
    (through(net, "text_encoder") - 0.5).square().mean().backward()
    optimiser.step()
    tuned = output(net, "text_encoder")
    assert not torch.equal(tuned, plain)
    assert all(torch.equal(net.state_dict()[key], value) for key, value in before.items())
    save_file(how.state(net), tmp_path / "adapter.safetensors")
    again = model("fastspeech2")
    how.attach(again, sites, SPEC, "glad")
    how.load(again, load_file(tmp_path / "adapter.safetensors"), "glad")
    assert torch.equal(output(again, "text_encoder"), tuned)
    how.scale(again, 0.0, "glad")
    assert torch.equal(output(again, "text_encoder"), plain)
    with pytest.raises(ConfigError, match="cannot merge"):
        how.merge(net)


@pytest.mark.usefixtures("_added")
def test_its_line_is_all_that_configs_need() -> None:
    MethodConfig.model_validate({"method": "ssf", "sites": ("layers",)})
    with pytest.raises(ValueError, match="ssf cannot be attached at site 'attention' of encoder"):
        MethodConfig.model_validate({"method": "ssf", "sites": ("attention",)})
    assert peft.refusal("ssf", "vits2", "flow") is None
    assert "layers of Transformers, and" in (peft.refusal("ssf", "vits2", "decoder") or "")


def test_the_example_is_not_part_of_the_package() -> None:
    assert "ssf" not in peft.METHODS
