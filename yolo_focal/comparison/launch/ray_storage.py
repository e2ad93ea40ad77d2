"""Where the checkpoints of runs on a cluster lie: a shared folder, or what else pyarrow opens, such as a bucket."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from pyarrow import fs

from yolo_focal.errors import ConfigError, one_line

_CHECKPOINT = "checkpoint_"  # Ray Tune's name of each, followed by its number


class Storage(NamedTuple):
    """A folder for the checkpoints of one comparison.

    In it each call of `compare` has a folder, in which each run has one by its key, in which its checkpoints are.

    Attributes:
        filesystem: pyarrow's file system.
        path: The folder's path in it.
    """

    filesystem: Any
    path: str

    def checkpoints(self, key: str) -> list[str]:
        """Return the paths of a run's checkpoints, the newest first; the last one may not be whole."""
        return [path for call in self._folders(self.path) for path in self._folders(f"{call}/{key}", _CHECKPOINT)]

    def remove(self) -> None:
        """Remove everything."""
        if self.filesystem.get_file_info(self.path).type == fs.FileType.Directory:
            self.filesystem.delete_dir(self.path)

    def _folders(self, path: str, prefix: str = "") -> list[str]:
        """Return the folders in a folder whose names begin with something, those of the last names first."""
        found = self.filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True))
        names = [info.base_name for info in found if info.type == fs.FileType.Directory]
        return [f"{path}/{name}" for name in sorted(names, reverse=True) if name.startswith(prefix)]


def open_storage(place: str, name: str) -> Storage:
    """Open a folder for a comparison's checkpoints.

    Args:
        place: A folder, or a URI that pyarrow opens.
        name: What the comparison's own folder in it is called.

    Raises:
        ConfigError: It cannot be opened, or nothing can be written there.
    """
    try:
        local = (fs.LocalFileSystem(), str(Path(place).absolute()))
        filesystem, path = fs.FileSystem.from_uri(place) if "://" in place else local
        path = f"{path.rstrip('/')}/{name}"
        filesystem.create_dir(path, recursive=True)
        with filesystem.open_output_stream(f"{path}/.writable"):
            pass
        filesystem.delete_file(f"{path}/.writable")
    except (OSError, ValueError, NotImplementedError) as error:
        raise ConfigError(
            f"storage={place}: {one_line(error)}; write a folder that every node of the cluster sees, or "
            "a URI such as s3://bucket/folder"
        ) from None
    return Storage(filesystem, path)
