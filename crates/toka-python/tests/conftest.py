"""Clusters of real nodes for the tests of the wheel."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

#: Longest wait for an election or a start on a busy machine, seconds.
PATIENCE = 60.0


def eventually(what: str, holds: Callable[[], bool]) -> None:
    """Waits until something holds."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}"
        time.sleep(0.02)


class Cluster:
    """Nodes 1 to n, each a process of `toka serve`, on a loopback address of their own."""

    def __init__(self, size: int, directory: Path) -> None:
        self.directory = directory
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        host = f"127.{random.randint(1, 254)}.{random.randint(0, 255)}.{random.randint(1, 254)}"
        # All are held at once, so that no two are the same.
        sockets = [socket.create_server((host, 0)) for _ in range(3 * size)]
        addresses = [f"{host}:{held.getsockname()[1]}" for held in sockets]
        for held in sockets:
            held.close()
        triples = zip(addresses[0::3], addresses[1::3], addresses[2::3], strict=True)
        self.addresses = dict(enumerate(triples, start=1))

    @property
    def endpoints(self) -> list[str]:
        """Of all nodes, for clients."""
        return [client for client, _, _ in self.addresses.values()]

    def start(self, node: int) -> None:
        """Starts the process of a node."""
        client, raft, http = self.addresses[node]
        arguments = [os.environ["TOKA_BIN"], "serve", "--node-id", str(node)]
        arguments += ["--data", str(self.directory / f"node-{node}")]
        arguments += ["--listen", client, "--raft-listen", raft, "--http-listen", http]
        for other, (client, raft, _) in self.addresses.items():
            arguments += ["--initial-member", f"{other}={raft},{client}"]
        with (self.directory / f"node-{node}.log").open("ab") as log:
            self.processes[node] = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def wait_ready(self) -> None:
        """Waits until every node that runs is ready."""
        for node in self.processes:
            eventually(f"node {node} is ready", lambda node=node: self.is_ready(node))  # type: ignore[misc]

    def is_ready(self, node: int) -> bool:
        """Whether `/readyz` says so."""
        status = self.processes[node].poll()
        assert status is None, f"node {node} ended with {status}:\n{self.log(node)}"
        try:
            with urllib.request.urlopen(f"http://{self.addresses[node][2]}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def log(self, node: int) -> str:
        """The end of what a node has written."""
        text = (self.directory / f"node-{node}.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-40:])

    def kill(self, node: int) -> None:
        """SIGKILL."""
        process = self.processes.pop(node)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def node_at(self, endpoint: str | None) -> int:
        """The node that clients reach there."""
        return next(node for node, (client, _, _) in self.addresses.items() if client == endpoint)

    def stop(self) -> None:
        """Stops what runs still."""
        for node in list(self.processes):
            self.kill(node)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Three nodes that are ready."""
    nodes = Cluster(3, tmp_path)
    try:
        for node in nodes.addresses:
            nodes.start(node)
        nodes.wait_ready()
        yield nodes
    finally:
        nodes.stop()
