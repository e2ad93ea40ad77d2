"""C3k2Focal: that it is Ultralytics' C3k2 but for the attention, what it takes over, and what is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from networks import varied
from torch import nn
from ultralytics.nn.modules import C3k2

from yolo_focal import C3k2Focal


@pytest.mark.parametrize(("c1", "c2", "n", "e"), [(24, 32, 1, 0.5), (32, 32, 2, 0.5), (16, 48, 3, 0.25)])
def test_a_new_one_is_ultralytics_c3k2_without_the_attention(c1: int, c2: int, n: int, e: float) -> None:
    torch.manual_seed(0)
    stock: Any = varied(C3k2(c1, c2, n, True, e, True))
    for stage in stock.m:
        nn.init.zeros_(stage[1].attn.proj.bn.weight)  # the attention adds nothing
        nn.init.zeros_(stage[1].attn.proj.bn.bias)
    module = C3k2Focal(c1, c2, n, e)
    missing, unused = module.load_state_dict(stock.state_dict(), strict=False)
    assert all(re.match(r"m\.\d\.1\.(norm|focal)\.", name) for name in missing)
    assert all(re.match(r"m\.\d\.1\.attn\.", name) for name in unused)
    x = torch.randn(2, c1, 9, 7)
    with torch.no_grad():
        torch.testing.assert_close(module.eval()(x), stock.eval()(x), rtol=0, atol=1e-5)


def test_every_parameter_is_trained_from_the_second_step_on() -> None:
    torch.manual_seed(0)
    module = C3k2Focal(8, 16).train()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        module(torch.randn(2, 8, 8, 8)).square().mean().backward()
        optimizer.step()
    # a bias before a BatchNorm changes nothing
    idle = {"m.0.1.focal.modulation.proj.bias"}
    assert all(p.grad is not None and p.grad.any() for name, p in module.named_parameters() if name not in idle)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"c1": 0, "c2": 16}, "c1=0: write an integer of at least 1"),
        ({"c1": 8, "c2": "16"}, "c2='16': write an integer of at least 1"),
        ({"c1": 8, "c2": 16, "n": 0}, "n=0: write an integer of at least 1"),
        ({"c1": 8, "c2": 16, "e": 0}, "e=0: write a number above 0 and up to 1, such as 0.5"),
        ({"c1": 8, "c2": 16, "e": 0.1}, "e=0.1: of 16 channels that is 1; write at least 0.125"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        C3k2Focal(**arguments)
    assert str(caught.value) == message
