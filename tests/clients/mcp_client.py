"""Drives `toka mcp` as an agent would, with the official MCP package, and says what came of it as JSON.

    mcp_client.py stdio TOKA ENDPOINTS
    mcp_client.py http URL [TOKEN]
"""

import asyncio
import json
import sys

from mcp import Client, StdioServerParameters, stdio_client
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client

TEXTS = [
    "wake me up at seven tomorrow morning",
    "what is the weather like in berlin today",
    "play some jazz music in the kitchen",
]


def transport(arguments):
    if arguments[0] == "stdio":
        toka, endpoints = arguments[1:]
        command = StdioServerParameters(
            command=toka, args=["mcp", "--embedder", "hashed", "--endpoint", endpoints]
        )
        return stdio_client(command)
    url, *token = arguments[1:]
    headers = {"Authorization": f"Bearer {token[0]}"} if token else None
    return streamable_http_client(url, http_client=create_mcp_http_client(headers))


async def drive(client):
    async def call(name, **arguments):
        """What a tool answers, or the error that it ends with."""
        result = await client.call_tool(name, arguments)
        answer = result.structured_content
        # The text is for clients that know nothing of structured content.
        assert json.loads(result.content[0].text) == answer, result
        assert bool(result.is_error) == ("error" in answer), result
        return answer

    tools = await client.list_tools()
    committed = [
        await call("commit_event", kind="utterance", payload={"text": text}, source="user")
        for text in TEXTS
    ]
    first = committed[0]["event"]
    again = await call("commit_event", kind="utterance", payload={"text": TEXTS[0]}, source="user")
    task = await call("commit_event", kind="task.created", payload={"do": "it"}, parents=[first["id"]])
    task = task["event"]["id"]
    claim = await call("claim_task", task=task, holder="python")
    held = await call("claim_task", task=task, holder="another")
    completed = await call(
        "complete_task",
        claim=claim["claim"],
        results=[{"kind": "task.result", "payload": {"done": True}}],
    )
    result = completed["results"][0]["id"]
    template = await client.read_resource(f"toka://event/{first['id']}")
    new = await call("read_new", cursor="python", limit=2)
    later = await call("read_new", cursor="python", done=new["next"], limit=100)
    # Of two who want another task the one keeps it and gives it back, and the other has it then.
    other = await call("commit_event", kind="task.created", payload={"do": "that"})
    other = other["event"]["id"]
    first_claim = await call("claim_task", task=other, holder="python", lease_seconds=600)
    renewed = await call("renew_task", claim=first_claim["claim"])
    released = await call("release_task", claim=renewed["claim"])
    taken = await call("claim_task", task=other, holder="another")
    lost = await call("renew_task", claim=renewed["claim"])

    async def resource(uri):
        return json.loads((await client.read_resource(uri)).contents[0].text)

    intents = (await call("list_intents", tentative=True, examples=1))["intents"]
    intent = intents[0]["intent"]
    return {
        "server": client.server_info.name,
        "tools": [tool.name for tool in tools.tools],
        "embedded": [answer["event"]["embedded"] for answer in committed],
        "again": again["event"]["deduplicated"],
        "got": (await call("get_event", event=first["id"]))["event"]["payload"],
        "found": [
            hit["payload"]["text"]
            for hit in (await call("search", text="jazz in the kitchen", limit=1))["hits"]
        ],
        "held": held["error"],
        "completed": (await call("claim_task", task=task, holder="late"))["error"]["code"],
        "causes": [
            event["kind"]
            for event in (await call("walk_lineage", event=result, direction="ancestors"))["events"]
        ],
        "consequences": [
            event["kind"]
            for event in (await call("walk_lineage", event=task, direction="descendants"))["events"]
        ],
        "new": [event["kind"] for event in new["events"]],
        "later": [event["kind"] for event in later["events"]],
        "is_released": released == {"task": other, "released": True},
        "holders": [claim["holder"] for claim in (first_claim, renewed, taken)],
        "numbers_grow": first_claim["number"] < renewed["number"] < taken["number"],
        "lost": lost["error"],
        "intents": intents,
        "centres": (await call("list_intents", tentative=True, centres=True))["intents"],
        "described": await call("describe_intent", intent=intent, examples=1),
        "no_intent": (await call("describe_intent", intent=1 << 40))["error"]["code"],
        "intent_resource": await resource(f"toka://intent/{intent}"),
        "intents_resource": await resource("toka://intents"),
        "recent_resource": await resource("toka://events/recent"),
        "taken": taken["claim"],
        "unknown": (await call("get_event", event="999999"))["error"],
        "malformed": (await call("get_event", what="1"))["error"]["code"],
        "resources": [str(resource.uri) for resource in (await client.list_resources()).resources],
        "resource": json.loads(template.contents[0].text),
    }


async def main():
    async with Client(transport(sys.argv[1:])) as client:
        print(json.dumps(await drive(client)))


asyncio.run(main())
