import assert from "node:assert/strict";
import { test } from "node:test";

import { bytes, clip, eventName, hex, unhex, uuid } from "../src/format";
import { rates } from "../src/rates";
import { fieldsOf, timeOf, wantedOf } from "../src/views/filter";

const ID = "01a21fb1-1ea8-7000-8000-012cc13a1bc7";

test("an event is named by sequence, id or digest, and by nothing else", () => {
  assert.deepEqual(eventName(" 12 "), { case: "sequence", value: 12n });
  assert.equal(uuid(eventName(ID).value), ID);
  assert.equal(eventName(ID.replaceAll("-", "").toUpperCase()).case, "id");
  assert.equal(hex(eventName("ab".repeat(32)).value), "ab".repeat(32));
  for (const text of ["", "0", "-1", "1.5", "x", "ab", `${ID}0`, "9".repeat(20)]) assert.equal(eventName(text), null, text);
});

test("bytes are written and read back", () => {
  assert.deepEqual([...unhex("00ff10")], [0, 255, 16]);
  assert.equal(bytes(1_536), "1.5 KiB");
  assert.equal(bytes(2n ** 41n), "2.0 TiB");
});

test("texts are cut between letters", () => {
  assert.equal(clip("short", 5), "short");
  assert.equal(clip("longer", 5), "long…");
  assert.equal(clip("😀😀😀", 2), "😀…");
});

test("a filter is what its fields say", () => {
  const fields = fieldsOf(new URLSearchParams("kind=task.,+chat.&attribute=a=b=c&intent=7&other=x"));
  const wanted = wantedOf(fields);
  assert.deepEqual(wanted.kindPrefixes, ["task.", "chat."]);
  assert.deepEqual(wanted.attributes, [{ name: "a", value: "b=c" }]);
  assert.deepEqual(wanted.intents, [7n]);
  assert.equal(wanted.until, 0);
});

test("what is no filter is said", () => {
  for (const query of ["attribute=x", "intent=-1", "from=soon", "until=99"]) {
    const { problem } = wantedOf(fieldsOf(new URLSearchParams(query)));
    assert.equal(typeof problem, "string", query);
  }
});

test("times are ago, dates, or dates with times", () => {
  const ago = Date.now() - timeOf("15m");
  assert.ok(ago >= 900_000 && ago < 960_000);
  assert.equal(timeOf("2026-11-27"), new Date(2026, 10, 27).getTime());
  assert.equal(timeOf("2026-11-27 09:30"), new Date(2026, 10, 27, 9, 30).getTime());
  assert.equal(timeOf("yesterday"), null);
});

test("rates are between samples that can be compared", () => {
  const sample = (at, sequence) => ({ at, sequence, revision: 0, nodes: new Map() });
  const samples = [sample(0, 0), sample(2, 10), sample(4, 8), sample(60, 100), sample(62, 100)];
  assert.deepEqual(rates(samples, ({ sequence }) => sequence), [null, 5, null, null, 0]);
});
