"""How far the database has come, written beside it: one that has less than that was restored from a backup.

Other nodes know us by the numbers that our delivery logs have given them. After a restore the same numbers would be
given again, to something else; a node that finds itself restored begins its logs anew instead (``usecases.identity``).
The mark is not flushed and may be a second behind: a backup that is younger than that is not told from the database
itself, and `twistd microblog db restored` says it.
"""

import os
from pathlib import Path

WIDTH = 20


class Watermark:
    """The last event of the database, in a file of fixed length."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: int | None = None

    def read(self) -> int:
        """How far it had come; 0 if nobody knows."""
        try:
            return int(self._path.read_text("ascii"))
        except (OSError, ValueError):
            return 0

    def write(self, seq: int) -> None:
        """It has come so far. Raises OSError."""
        if seq == self._written:
            return
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(file, f"{seq:0{WIDTH}d}\n".encode("ascii"), 0)
        finally:
            os.close(file)
        self._written = seq
