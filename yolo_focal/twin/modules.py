"""The modules that a twin may have in the place of another, or behind it."""

from __future__ import annotations

import difflib
import logging

from yolo_focal import environment
from yolo_focal.errors import ConfigError
from yolo_focal.hook.modules import plugins, registry
from yolo_focal.hook.modules.channels import KEEPING_CHANNELS
from yolo_focal.hook.rows import stock
from yolo_focal.twin.config import FOCAL

_LOGGER = logging.getLogger("yolo_focal")


def check(name: str, beside: str = "") -> None:
    """Check that a module is registered and has as many output channels as input channels, by its channel rule.

    Args:
        name: Its name in rows.
        beside: The model YAML; the user's files are looked for in the working directory, then beside it.

    Raises:
        ConfigError: There is no such module, or its rows name their output channels.
    """
    plugins.load(beside)
    own = registry.registered()[FOCAL].cls
    if name == FOCAL and registry.restore(FOCAL):
        _LOGGER.warning(
            f"yolo-focal: with={FOCAL} is this package's. With {environment.MODULES} set as it is, a training reads "
            f"the rows that are written as {own.__module__}.{own.__qualname__}: unset it there"
        )
    modules = registry.registered()
    suitable = sorted(key for key, entry in modules.items() if stock.rule_of(key, entry) in KEEPING_CHANNELS)
    if name not in modules:
        close = difflib.get_close_matches(name, suitable, n=1) or [k for k in suitable if k.lower() == name.lower()]
        expected = f"did you mean {close[0]}?" if close else f"write one of {', '.join(suitable)}."
        failed = "".join(f"; {origin} failed: {reason}" for origin, reason in plugins.failures.items())
        raise ConfigError(
            f"with={name}: no module is registered by that name; {expected} One of your own is registered by a file: "
            f"{environment.MODULES}=my_blocks.py{failed}"
        )
    if name not in suitable:
        raise ConfigError(
            f"with={name}: its output channels are for its row to say, as it is registered with another rule than "
            f'channels="same"; write with= a module that keeps the shape: {", ".join(suitable)}'
        )
