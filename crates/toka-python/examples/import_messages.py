"""Imports the history of a conversation: plain messages, or those of LangChain and LangGraph.

    python import_messages.py --data ./vault-data --thread t1 messages.json

A message is an event of kind `message.ROLE`, caused by the one before it; the result of a tool is caused by the message
that has called the tool. So `ancestors` of an answer is what led to it, and importing the same history again, or
a longer one of the same thread, stores only what is new.

Of a LangGraph agent: `import_messages(vault, thread, graph.get_state(config).values["messages"])`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from toka_vault import Embedder, Event, Vault

#: What LangChain calls them, and everybody else.
ROLES = {"human": "user", "ai": "assistant"}


def plain(message: Any) -> dict[str, Any]:
    """A message as a dictionary with `role` and `content`, whichever sort it is of."""
    if not isinstance(message, dict):
        # An object of LangChain.
        message = {"type": message.type, "data": message.model_dump()}
    if "data" in message:
        # As `messages_to_dict` of LangChain writes it.
        message = {"role": message["type"], **message["data"]}
    role = message.get("role") or message["type"]
    kept = {name: value for name, value in message.items() if value and name not in ["type", "response_metadata"]}
    return {**kept, "role": ROLES.get(role, role), "content": message.get("content")}


def import_messages(
    vault: Vault, thread: str, messages: Iterable[Any], embedder: Embedder | None = None
) -> list[Event]:
    """Stores messages as events, and returns them in their order."""
    events: list[Event] = []
    callers: dict[str, Event] = {}
    for message in map(plain, messages):
        role, content = message["role"], message["content"]
        before = events[-1:]
        caller = callers.get(message.get("tool_call_id", ""))
        event = vault.commit(
            f"message.{role}",
            message,
            parents=[caller] if caller else before,
            embedding=embedder.embed_text(str(content)) if embedder and content else None,
            model=embedder.model if embedder and content else None,
            source=message.get("name") or role,
            attributes={"thread": thread},
            # The first message of two threads may be the same.
            salt=b"" if before else thread.encode()[:32],
        )
        for call in message.get("tool_calls", []):
            callers[call["id"]] = event
        events.append(event)
    return events


def main() -> None:
    """Imports a file into a vault in a directory, or in a cluster."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="a JSON array of messages")
    parser.add_argument("--thread", required=True, help="name of the conversation")
    vault_of = parser.add_mutually_exclusive_group(required=True)
    vault_of.add_argument("--data", type=Path, help="directory of a vault in this process")
    vault_of.add_argument("--endpoints", nargs="+", metavar="HOST:PORT")
    flags = parser.parse_args()
    messages = json.loads(flags.file.read_text())
    with Vault.open(flags.data) if flags.data else Vault.connect(flags.endpoints) as vault:
        events = import_messages(vault, flags.thread, messages, Embedder.open())
        there = sum(event.deduplicated for event in events)
        print(f"{len(events)} messages of {flags.thread}; {there} of them were there already")
        for event, depth in vault.ancestors(events[-1]):
            print(f"{'  ' * depth}{event.kind} {event.id}")


if __name__ == "__main__":
    main()
