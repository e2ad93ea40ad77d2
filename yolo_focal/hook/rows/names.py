"""The names that a row of a model YAML may use."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from yolo_focal import environment
from yolo_focal.errors import ConfigError, UnknownModuleError
from yolo_focal.hook import configs
from yolo_focal.hook.modules import plugins, registry
from yolo_focal.hook.rows import fork, stock


class Names(Mapping[str, Any]):
    """What the names of a model YAML's rows mean: Ultralytics' and the registered ones.

    A class of the same name in Ultralytics takes precedence over one of this package's: a fork may have its own, and
    checkpoints of it. Of a registered module whose rows are read as those of another class, it is that class.

    Args:
        ultralytics: The globals of Ultralytics' parser.
        config: The model YAML, parsed.
        row: The index of the row that a name is looked up for, for messages.
    """

    def __init__(self, ultralytics: dict[str, Any], config: dict[str, Any], row: Any) -> None:
        file = config.get("yaml_file") or "the model's configuration"
        self._ultralytics = ultralytics
        self._where = f"{file}, row {row}"
        self._of_package = configs.is_packaged(file)
        self._config = config

    def __getitem__(self, name: str) -> Any:
        refusal = registry.refusal_of(name)
        if refusal is not None and not self._of_package:
            raise ConfigError(f"{self._where}: {name} is not the user's own, which could not be registered: {refusal}")
        entry = registry.find(name, self._of_package)
        forks = fork.module_of(name, self._config, self._ultralytics, f"{self._where} ({name})")
        if forks is not None:
            return forks if isinstance(forks, type) else nn.Module  # restricted loading asks for a class of layers
        if entry is None and name not in self._ultralytics:
            raise UnknownModuleError(self._unknown(name))
        if entry is None or (name in self._ultralytics and registry.is_built_in(name)):
            return self._ultralytics[name]
        if name in self._ultralytics and not entry.override:
            raise registry.name_is_taken(f"register {name}")
        return stock.shown_to_parser(name, entry)

    def __iter__(self) -> Iterator[str]:
        return iter({**self._ultralytics, **registry.registered()})

    def __len__(self) -> int:
        return len({**self._ultralytics, **registry.registered()})

    def _unknown(self, name: str) -> str:
        problem = f"{self._where}: there is no module called {name}"
        if plugins.failures:
            return f"{problem}, and what may register it failed: " + "; ".join(
                f"{origin}: {reason}" for origin, reason in plugins.failures.items()
            )
        close = difflib.get_close_matches(name, [key for key, value in self.items() if isinstance(value, type)], n=1)
        registered = f"registered: {', '.join(registry.registered())}"
        return (
            f"{problem}{f'; did you mean {close[0]}?' if close else ''} ({registered}). A module of your own is "
            f"registered by a file: {environment.MODULES}=my_blocks.py"
        )
