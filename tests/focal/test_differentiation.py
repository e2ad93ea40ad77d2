"""FocalModulation under every kind of differentiation: its derivatives are those of the equations with parts called."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from called_parts import DIM, by_calls
from torch import Tensor
from torch.autograd import forward_ad

from yolo_focal import FocalModulation

Function = Callable[[Tensor], Tensor]


def dual(function: Function, x: Tensor, _: list[Tensor]) -> Any:
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(function(forward_ad.make_dual(x, torch.ones_like(x))))


def dual_gradient(function: Function, x: Tensor, parameters: list[Tensor]) -> Any:
    """Begin forward-mode differentiation when the forward pass is over."""
    out = function(x)
    with forward_ad.dual_level():
        gradient = forward_ad.make_dual(torch.ones_like(out), torch.full_like(out, 2))
        return [forward_ad.unpack_dual(g).tangent for g in torch.autograd.grad(out, [x, *parameters], gradient)]


def batched(function: Function, x: Tensor, parameters: list[Tensor], create_graph: bool = False) -> Any:
    gradients = torch.randn(4, *x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(0))
    return torch.autograd.grad(
        function(x), [x, *parameters], gradients, is_grads_batched=True, create_graph=create_graph
    )


def energy(function: Function) -> Function:
    return lambda x: function(x).square().sum()


AUTOMATIC: dict[str, Callable[[Function, Tensor, list[Tensor]], Any]] = {
    "is_grads_batched": batched,
    "is_grads_batched, create_graph": functools.partial(batched, create_graph=True),
    "jacobian, vectorize": lambda f, x, _: torch.autograd.functional.jacobian(f, x, vectorize=True),
    "jacobian, forward mode": lambda f, x, _: torch.autograd.functional.jacobian(
        f, x, vectorize=True, strategy="forward-mode"
    ),
    "hessian": lambda f, x, _: torch.autograd.functional.hessian(energy(f), x),
    "hessian, vectorize": lambda f, x, _: torch.autograd.functional.hessian(energy(f), x, vectorize=True),
    "func.jvp": lambda f, x, _: torch.func.jvp(f, (x.detach(),), (torch.ones_like(x),)),
    "func.linearize": lambda f, x, _: torch.func.linearize(f, x.detach())[1](torch.ones_like(x)),
    "func.jacrev": lambda f, x, _: torch.func.jacrev(f)(x.detach()),
    "func.hessian": lambda f, x, _: torch.func.hessian(energy(f))(x.detach()),
    "vmap around it": lambda f, x, _: torch.func.vmap(lambda scale: scale * f(x))(torch.ones(3, dtype=x.dtype)),
    "dual numbers": dual,
    "dual numbers in the backward pass": dual_gradient,
}


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
@pytest.mark.parametrize("name", AUTOMATIC)
def test_every_kind_of_differentiation(name: str) -> None:
    torch.manual_seed(0)
    module = FocalModulation(DIM, focal_window=5, use_postln=True).double()
    x = torch.randn(1, DIM, 4, 3, dtype=torch.float64, requires_grad=True)
    ours, theirs = (
        AUTOMATIC[name](function, x, [*module.parameters()]) for function in (module, lambda x: by_calls(module, x))
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)
