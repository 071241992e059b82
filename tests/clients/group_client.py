"""A foreign consumer of a group: plain grpcio, with stubs made from the server's reflection.

usage: group_client.py GROUP EVENTS ENDPOINT...

Pulls and acknowledges events until it has had EVENTS different ones and the group has none outstanding. When the node
that it is connected to does not answer, it goes on with the next one. Prints a JSON object for each delivery.
"""

import json
import sys
import time

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

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


class Groups:
    """The service, at whichever node answers."""

    def __init__(self, endpoints: list[str]) -> None:
        self.endpoints = endpoints
        self.at = 0
        self.channel = grpc.insecure_channel(endpoints[0])
        pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(self.channel))
        self.service = pool.FindServiceByName("toka.vault.v1.GroupService")
        # All at once: the node that describes them may be gone later.
        self.messages = {
            method.name: (
                message_factory.GetMessageClass(method.input_type),
                message_factory.GetMessageClass(method.output_type),
            )
            for method in self.service.methods
        }
        settlement = pool.FindMessageTypeByName("toka.vault.v1.Settlement")
        self.settlement = message_factory.GetMessageClass(settlement)

    def endpoint(self) -> str:
        return self.endpoints[self.at]

    def go_on(self) -> None:
        self.channel.close()
        self.at = (self.at + 1) % len(self.endpoints)
        self.channel = grpc.insecure_channel(self.endpoint())
        time.sleep(PAUSE_S)

    def call(self, name: str, /, **fields):
        request, reply = self.messages[name]
        rpc = self.channel.unary_unary(
            f"/{self.service.full_name}/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=reply.FromString,
        )
        return rpc(request(**fields), timeout=TIMEOUT_S)


def main(group: str, events: int, endpoints: list[str]) -> None:
    groups = Groups(endpoints)
    seen = set()
    while True:
        try:
            if len(seen) >= events and groups.call("GetGroup", name=group).group.unacknowledged == 0:
                return
            pulled = groups.call(
                "Pull", group=group, consumer="python", max_events=3, wait_ms=WAIT_MS
            )
            settlements = []
            for delivery in pulled.deliveries:
                seen.add(delivery.event.sequence)
                line = {
                    "sequence": delivery.event.sequence,
                    "delivery": delivery.delivery,
                    "endpoint": groups.endpoint(),
                }
                print(json.dumps(line), flush=True)
                settlement = groups.settlement(token=delivery.token)
                settlement.acknowledge.SetInParent()
                settlements.append(settlement)
            if settlements:
                groups.call("Settle", group=group, settlements=settlements)
        except grpc.RpcError as error:
            if error.code() not in PASSING:
                raise
            groups.go_on()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
