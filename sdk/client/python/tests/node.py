"""A real node for the tests: `arbiter dev --no-demo` on free loopback ports, ended with the tests."""

import atexit
import os
import socket
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

import arbiter as ab

REPOSITORY = Path(__file__).resolve().parents[4]
EXAMPLES = REPOSITORY / "examples"


def use_program() -> None:
    """ARBITER_BIN, else what make built in this repository."""
    os.environ.setdefault("ARBITER_BIN", str(REPOSITORY / "bin" / "arbiter"))


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class _Node:
    process = None
    log = None
    addr = ""


def connect() -> ab.Client:
    """A client of the one node that all tests share; each uses subjects and models of its own."""
    if _Node.process is None:
        use_program()
        api, admin = free_port(), free_port()
        log = _Node.log = tempfile.TemporaryFile()
        command = [os.environ["ARBITER_BIN"], "dev", "--no-demo", "--subscribers", "50",
                   "--addr", f"127.0.0.1:{api}", "--admin-addr", f"127.0.0.1:{admin}"]  # fmt: skip
        _Node.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        atexit.register(_stop)
        _Node.addr = f"http://127.0.0.1:{api}"
        client = ab.connect(_Node.addr)
        deadline = time.monotonic() + 60
        while not (client.ready() and _loaded(client)):
            if _Node.process.poll() is not None or time.monotonic() > deadline:
                log.seek(0)
                raise RuntimeError("the node did not start:\n" + log.read().decode(errors="replace"))
            time.sleep(0.05)
    return ab.connect(_Node.addr)


def _loaded(client: ab.Client) -> bool:
    """The demo is loaded after the node is ready; its catalog comes last but for its activation."""
    try:
        client.decide("S-000001", "web", simulate=True)
    except ab.ArbiterError:
        return False
    return True


def _stop() -> None:
    _Node.process.terminate()
    try:
        _Node.process.wait(20)
    except subprocess.TimeoutExpired:
        _Node.process.kill()
        _Node.process.wait()
    _Node.log.close()


class NodeTest(unittest.TestCase):
    """A test with a client of a running node: self.c."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.c = connect()
