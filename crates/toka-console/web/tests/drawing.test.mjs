import assert from "node:assert/strict";
import { test } from "node:test";

import { hex } from "../src/format";
import { drawing, toward } from "../src/graph";
import { map, SIDE } from "../src/map";

const id = (number) => new Uint8Array(16).fill(number);
const key = (number) => hex(id(number));
const event = (number, ...parents) => ({ id: id(number), sequence: BigInt(number), kind: "k", parents: parents.map((parent) => ({ id: id(parent) })) });

function relatives(root, ...events) {
  return { root: key(root), events: new Map(events.map((event) => [hex(event.id), event])), isComplete: true };
}

test("parents stand on the left of their children", () => {
  const { nodes, edges } = drawing(relatives(2, event(1), event(2, 1), event(3, 2), event(4, 2)));
  assert.equal(edges.length, 3);
  for (const { from, to } of edges) assert.ok(nodes.get(from).x < nodes.get(to).x);
});

test("parents that are not drawn are counted", () => {
  const { nodes, edges } = drawing(relatives(2, event(2, 8, 9)));
  assert.equal(nodes.get(key(2)).missing, 2);
  assert.deepEqual(edges, []);
});

test("arrow keys lead along the links and to those beside", () => {
  const drawn = drawing(relatives(2, event(1), event(2, 1), event(3, 2), event(4, 2)));
  assert.equal(toward(drawn, key(2), "ArrowLeft"), key(1));
  const child = toward(drawn, key(2), "ArrowRight");
  const other = child === key(3) ? key(4) : key(3);
  const beside = [toward(drawn, child, "ArrowUp"), toward(drawn, child, "ArrowDown")];
  assert.deepEqual(beside.filter((key) => key !== null), [other]);
  assert.equal(toward(drawn, key(1), "ArrowLeft"), null);
  assert.equal(toward(drawn, key(1), "x"), undefined);
  assert.equal(toward(drawn, "none", "ArrowLeft"), undefined);
});

test("hundreds of events are drawn", () => {
  const events = Array.from({ length: 250 }, (_, at) => event(at + 1, ...(at === 0 ? [] : [1 + Math.floor(at / 2)])));
  assert.equal(drawing(relatives(1, ...events)).nodes.size, 250);
});

function intent(number, events, ...vectors) {
  const examples = vectors.map((vector) => {
    const bytes = new Uint8Array(Int16Array.from(vector, (value) => value * 16_384).buffer);
    return { event: { embedding: { state: { case: "quantized", value: bytes } } } };
  });
  return { intent: BigInt(number), events: BigInt(events), examples };
}

const apart = (one, other) => Math.hypot(one.x - other.x, one.y - other.y);

test("what means alike is close together", () => {
  const spots = map([intent(1, 9, [1, 0, 0]), intent(2, 9, [0.98, 0.1, 0]), intent(3, 9, [0, 0, 1]), intent(4, 9, [0, 1, 0])]);
  const [one, like, other] = spots;
  assert.ok(apart(one, like) < apart(one, other));
});

test("the map is the same each time, and nothing hides anything", () => {
  const intents = Array.from({ length: 60 }, (_, at) => intent(at, 1 + (at % 7) ** 3, [Math.sin(at), Math.cos(at * 3), Math.sin(at * 7)]));
  const spots = map(intents);
  assert.deepEqual(spots, map(intents));
  for (const [at, one] of spots.entries()) {
    assert.ok(Number.isFinite(one.x) && Math.abs(one.x) < 4 * SIDE);
    for (const other of spots.slice(at + 1)) assert.ok(apart(one, other) > (one.radius + other.radius) * 0.8);
  }
});

test("an intent without an example that is seen has no place", () => {
  assert.deepEqual(map([intent(1, 9)]), []);
  assert.equal(map([intent(1, 9, [1, 0])]).length, 1);
  assert.equal(map([intent(1, 9, [1, 0]), intent(2, 9, [1, 0])]).length, 2);
});
