"""A foreign consumer of a group: plain grpcio, with stubs that grpcio-tools makes of the .proto files.

usage: group_stubs.py GROUP EVENTS PROTO_DIRECTORY ENDPOINT...

Pulls and acknowledges events until it has had EVENTS different ones and the group has none outstanding. When the node
that it is connected to does not answer, it goes on with the next one. Prints a JSON object for each delivery.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import grpc

TIMEOUT_S = 10
WAIT_MS = 1_000
PAUSE_S = 0.1
# What another node, or the same one a little later, may answer otherwise.
PASSING = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNKNOWN,
}


def make_stubs(proto: Path, into: str) -> None:
    files = sorted(str(path) for path in proto.glob("toka/vault/v1/*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(proto)]
    outputs = [f"--python_out={into}", f"--grpc_python_out={into}"]
    subprocess.run([*command, *outputs, *files], check=True)


def follow(messages, service, group: str, events: int, endpoints: list[str]) -> None:
    seen = set()
    at = 0
    while True:
        endpoint = endpoints[at % len(endpoints)]
        with grpc.insecure_channel(endpoint) as channel:
            groups = service.GroupServiceStub(channel)
            try:
                while True:
                    wanted = messages.GetGroupRequest(name=group)
                    if (
                        len(seen) >= events
                        and groups.GetGroup(wanted, timeout=TIMEOUT_S).group.unacknowledged == 0
                    ):
                        return
                    pull = messages.PullRequest(
                        group=group, consumer="python", max_events=3, wait_ms=WAIT_MS
                    )
                    settlements = []
                    for delivery in groups.Pull(pull, timeout=TIMEOUT_S).deliveries:
                        seen.add(delivery.event.sequence)
                        line = {
                            "sequence": delivery.event.sequence,
                            "delivery": delivery.delivery,
                            "endpoint": endpoint,
                        }
                        print(json.dumps(line), flush=True)
                        settlements.append(
                            messages.Settlement(token=delivery.token, acknowledge={})
                        )
                    if settlements:
                        settle = messages.SettleRequest(group=group, settlements=settlements)
                        groups.Settle(settle, timeout=TIMEOUT_S)
            except grpc.RpcError as error:
                if error.code() not in PASSING:
                    raise
        at += 1
        time.sleep(PAUSE_S)


def main(group: str, events: int, proto: Path, endpoints: list[str]) -> None:
    with tempfile.TemporaryDirectory() as stubs:
        make_stubs(proto, stubs)
        sys.path.insert(0, stubs)
        from toka.vault.v1 import coordination_service_pb2 as messages
        from toka.vault.v1 import coordination_service_pb2_grpc as service

        follow(messages, service, group, events, endpoints)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
