"""A fork's own heads as those of the installed release.

A head of Ultralytics 8.3 returns lists of maps. From 8.4 on a head returns a mapping by names, and is recognised by its
class. A fork's head keeps its own layers and its own computation; what it returns is given the release's form.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import nn

# What a task's head returns beside its maps, in order, by the names that 8.4 has for it.
_BESIDE = {"Detect": (), "Segment": ("mask_coefficient", "proto"), "Pose": ("kpts",), "OBB": ("angle",)}


def of_release(cls: type) -> type:
    """Return the class that stands for one of the fork's: a subclass of the release's head, if it is a head.

    A head is what has the method `bias_init`, which Ultralytics calls of heads alone; that of a task is named after it,
    and all others detect.
    """
    if not issubclass(cls, nn.Module) or not hasattr(cls, "bias_init"):
        return cls
    task = next((name for name in _BESIDE if name.lower() in cls.__name__.lower()), "Detect")
    return _of_release(cls, task)  # type: ignore[arg-type]


@functools.cache
def _of_release(cls: type, task: str) -> type:
    from ultralytics.nn.modules import head  # by now it is imported

    stock = getattr(head, task)
    # The fork's `super().__init__()` means nn.Module's, which is the next class there.
    base = type(task, (stock,), {"__init__": lambda self: nn.Module.__init__(self)})
    body: dict[str, Any] = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    if hasattr(stock, "forward_head"):  # 8.4 and later

        def forward(self: Any, x: Any) -> Any:
            out = cls.forward(self, x)  # type: ignore[attr-defined]
            if self.training:
                return _by_name(self, out, task)
            return out if self.export else (_decoded(out, task), _by_name(self, out[1], task))

        body["forward"] = forward
    return type(cls.__name__, (cls, base), body)


def _decoded(out: Any, task: str) -> Any:
    """Return what a validation reads: the boxes, in a Segment head beside the masks' prototypes."""
    return (out[0], out[1][-1]) if task == "Segment" else out[0]


def _by_name(head: Any, raw: Any, task: str) -> dict[str, Any]:
    """Return what a head of 8.3 gives to the loss as one of 8.4 does.

    Args:
        head: The head.
        raw: Its maps, alone or first in a tuple of what its task has beside them; or two of that by name, in a head
            that needs no NMS.
        task: The name of the release's head.
    """
    if isinstance(raw, dict):
        return {name: _by_name(head, maps, task) for name, maps in raw.items()}
    maps, *beside = raw if isinstance(raw, tuple) else (raw,)
    flat = torch.cat([x.flatten(2) for x in maps], 2)
    boxes = 4 * head.reg_max
    return {
        "boxes": flat[:, :boxes],
        "scores": flat[:, boxes:],
        "feats": maps,
        **dict(zip(_BESIDE[task], beside, strict=True)),
    }
