"""The devices of these tests: each body runs on the CPU at small sizes too, so that it works when a GPU is at hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

CUDA = pytest.param(
    "cuda",
    marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")],
)


@pytest.fixture(params=["cpu", CUDA])
def device(request: pytest.FixtureRequest) -> str:
    """The CPU, among the fast tests, and the GPU."""
    return str(request.param)


@pytest.fixture(params=[pytest.param("cpu", marks=pytest.mark.slow), CUDA])
def slow_device(request: pytest.FixtureRequest) -> str:
    """The CPU, among the slow tests, and the GPU."""
    return str(request.param)


@pytest.fixture(params=[CUDA])
def cuda(request: pytest.FixtureRequest) -> str:
    """The GPU alone, for what a CPU has not."""
    return str(request.param)


@pytest.fixture(autouse=True)
def without_tf32() -> Iterator[None]:
    """By default a GPU multiplies float32 values with 10 bits of mantissa; equality is tested without that."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
