import assert from "node:assert/strict";
import { test } from "node:test";

import { encode } from "@msgpack/msgpack";

import { show } from "../src/payload";

const text = (value) => new TextEncoder().encode(value);

test("a payload is MessagePack unless it says otherwise", () => {
  const shown = show(encode({ text: "<b>", list: [1, null, true] }), undefined);
  assert.equal(shown.form, "MessagePack");
  assert.deepEqual(JSON.parse(shown.text), { text: "<b>", list: [1, null, true] });
  assert.equal(show(encode(7), "application/msgpack; x=y").text, "7");
});

test("numbers that JSON has no room for, bytes and other keys are shown", () => {
  const large = show(encode({ large: 2n ** 63n, small: 5n }, { useBigInt64: true }), undefined);
  assert.deepEqual(JSON.parse(large.text), { large: "9223372036854775808", small: 5 });
  assert.match(show(encode({ raw: new Uint8Array([1, 255]) }), undefined).text, /bytes 01ff/);
  // {true: 1}
  assert.deepEqual(JSON.parse(show(new Uint8Array([0x81, 0xc3, 0x01]), undefined).text), { true: 1 });
});

test("JSON and text are shown as they are", () => {
  assert.equal(show(text('{"a":1}'), "application/json").text, '{\n  "a": 1\n}');
  assert.equal(show(text("plain"), "text/plain").text, "plain");
});

test("what is not what it says is shown as bytes", () => {
  for (const [payload, kind] of [
    [new Uint8Array([0xc1]), undefined],
    [text("{"), "application/json"],
    [new Uint8Array([0xff, 0xfe]), "text/plain"],
    [text("abc"), "image/png"],
    // {"__proto__": 1}
    [new Uint8Array([0x81, 0xa9, ...text("__proto__"), 1]), undefined],
    // So deep that it cannot be written out.
    [new Uint8Array(100_000).fill(0x91), undefined],
  ]) {
    assert.equal(show(payload, kind).form, "bytes");
  }
  assert.match(show(text("abc"), "image/png").text, /^000000 {2}61 62 63 +abc$/);
});

test("what is long is cut", () => {
  assert.equal(show(text("x".repeat(70_000)), "text/plain").text.length, 65_536);
  assert.ok(show(text("x".repeat(70_000)), "text/plain").isCut);
  assert.ok(show(new Uint8Array(5_000), "image/png").isCut);
});
