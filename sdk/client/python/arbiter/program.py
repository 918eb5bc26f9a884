"""The arbiter program: where it is, and how it is run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Optional, Sequence

from .errors import ProgramNotFound


def find_program() -> str:
    """The path of the arbiter program: ARBITER_BIN, else on PATH, else ./bin/arbiter."""
    named = os.environ.get("ARBITER_BIN")
    if named:
        found = shutil.which(named)
        if not found:
            raise ProgramNotFound("ARBITER_BIN names no program")
        return found
    found = shutil.which("arbiter")
    if found:
        return found
    built = Path("bin", "arbiter.exe" if sys.platform == "win32" else "arbiter")
    if built.is_file() and os.access(built, os.X_OK):
        return str(built.resolve())
    raise ProgramNotFound("the arbiter program is not found: set ARBITER_BIN, put it on PATH, or run make in the repository and start there")


class Finished:
    """What one run of the program printed."""

    def __init__(self, code: int, stdout: str, stderr: str):
        self.code, self.stdout, self.stderr = code, stdout, stderr

    @property
    def message(self) -> str:
        """What it said about the failure, without the word Error before it."""
        text = (self.stderr.strip() or self.stdout.strip() or f"the program ended with exit code {self.code}")
        return text[len("Error: ") :] if text.startswith("Error: ") else text


def run(args: Sequence[str], *, program: Optional[str] = None, timeout: float = 600) -> Finished:
    """Runs `arbiter ARGS`. Its failure is in the result, not an exception."""
    env = {**os.environ, "NO_COLOR": "1"}
    done = subprocess.run([program or find_program(), *args], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          encoding="utf-8", errors="replace", env=env, timeout=timeout, check=False)  # fmt: skip
    return Finished(done.returncode, done.stdout, done.stderr)
