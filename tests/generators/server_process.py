"""The server of `openai_server.py`, run as a process of its own, told and asked by tests."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

SERVER = Path(__file__).parent / "openai_server.py"


class Server:
    """The server process, and what a test tells it and asks of it."""

    def __init__(self, port: int) -> None:
        self.root = f"http://127.0.0.1:{port}"
        self.url = f"{self.root}/v1"

    def plan(self, **plan: Any) -> None:
        self._ask(urllib.request.Request(f"{self.root}/plan", json.dumps(plan).encode(), method="POST"))

    def seen(self) -> list[dict[str, Any]]:
        return cast(list[dict[str, Any]], self._ask(urllib.request.Request(f"{self.root}/seen")))

    def bodies(self) -> list[dict[str, Any]]:
        return [one["body"] for one in self.seen()]

    def _ask(self, request: urllib.request.Request) -> Any:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as reply:
            return json.load(reply)


@contextmanager
def running_server() -> Iterator[Server]:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, str(SERVER)], stdin=pipe, stdout=pipe, text=True) as running:
        assert running.stdout is not None
        yield Server(int(running.stdout.readline()))
        running.communicate()  # closes its stdin, upon which it ends
