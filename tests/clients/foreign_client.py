"""A foreign client: plain grpcio, with stubs made from the server's reflection.

usage: foreign_client.py ENDPOINT [TRACEPARENT]

Commits an event, commits it again, reads it back linearizably, and lists services; prints one JSON
object. Every step fails loudly. With TRACEPARENT, all calls of the vault are part of that trace.
"""

import json
import sys

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

TIMEOUT_S = 30


def main(endpoint: str, traceparent: str | None = None) -> None:
    trace = [("traceparent", traceparent)] if traceparent else []
    channel = grpc.insecure_channel(endpoint)
    database = ProtoReflectionDescriptorDatabase(channel)
    services = sorted(database.get_services())
    pool = descriptor_pool.DescriptorPool(database)
    service = pool.FindServiceByName("toka.vault.v1.VaultService")

    def call(name: str, **fields):
        method = service.FindMethodByName(name)
        request = message_factory.GetMessageClass(method.input_type)(**fields)
        rpc = channel.unary_unary(
            f"/{service.full_name}/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
        )
        reply, details = rpc.with_call(request, timeout=TIMEOUT_S, metadata=trace)
        metadata = dict(details.initial_metadata()) | dict(details.trailing_metadata())
        return reply, metadata

    event = {"kind": "python.hello", "payload": b"\x81\xa5hello\xa5world"}
    first, metadata = call("Commit", events=[event])
    again, _ = call("Commit", events=[event])
    header = first.events[0]
    read, _ = call(
        "Get",
        selector={"id": header.id},
        include={"payload": True},
        read={"linearizable": {}},
    )
    try:
        call("Commit", events=[{"kind": ""}])
        refused = None
    except grpc.RpcError as error:
        refused = error.code().name
    json.dump(
        {
            "services": services,
            "sequence": header.sequence,
            "deduplicated_first": header.deduplicated,
            "deduplicated_again": again.events[0].deduplicated,
            "same_digest": again.events[0].digest == header.digest,
            "payload": read.event.payload.stored.hex(),
            "node_id": first.header.node_id,
            "leader_id": metadata.get("toka-leader-id"),
            "leader_endpoint": metadata.get("toka-leader-endpoint"),
            "refused": refused,
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main(*sys.argv[1:3])
