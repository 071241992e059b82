// What is in a payload, as text. Whoever has committed it may have meant harm: it is shown, and nothing else.

import { decode } from "@msgpack/msgpack";

import { hex } from "./format";

/** Letters of a payload that are shown. */
const LETTERS_MAX = 64 * 1024;
const DUMP_BYTES_MAX = 4 * 1024;
const MSGPACK = "application/msgpack";

export interface Shown {
  form: "MessagePack" | "JSON" | "text" | "bytes";
  text: string;
  /** The end was left out. */
  isCut: boolean;
}

export function show(payload: Uint8Array, contentType: string | undefined): Shown {
  const media = (contentType ?? MSGPACK).split(";")[0]?.trim().toLowerCase() ?? "";
  try {
    if (media === MSGPACK || media === "application/x-msgpack") {
      const value = decode(payload, { useBigInt64: true, mapKeyConverter: key });
      return cut("MessagePack", JSON.stringify(value, readable, 2));
    }
    if (media === "application/json" || media.endsWith("+json")) {
      return cut("JSON", JSON.stringify(JSON.parse(utf8(payload)), null, 2));
    }
    if (media.startsWith("text/")) return cut("text", utf8(payload));
  } catch {
    // It is not what it is said to be.
  }
  return dump(payload);
}

function utf8(payload: Uint8Array): string {
  return new TextDecoder("utf-8", { fatal: true }).decode(payload);
}

function key(key: unknown): string | number {
  return typeof key === "number" || typeof key === "string" ? key : String(key);
}

function readable(_: string, value: unknown): unknown {
  if (typeof value === "bigint") {
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : String(value);
  }
  if (value instanceof Uint8Array) return `bytes ${hex(value.subarray(0, DUMP_BYTES_MAX))}`;
  return value;
}

function cut(form: Shown["form"], text: string): Shown {
  return { form, text: text.slice(0, LETTERS_MAX), isCut: text.length > LETTERS_MAX };
}

function dump(payload: Uint8Array): Shown {
  const lines = [];
  const shown = payload.subarray(0, DUMP_BYTES_MAX);
  for (let at = 0; at < shown.length; at += 16) {
    const row = shown.subarray(at, at + 16);
    const letters = [...row].map((byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : "."));
    const bytes = hex(row).replace(/../g, "$& ").padEnd(48);
    lines.push(`${at.toString(16).padStart(6, "0")}  ${bytes} ${letters.join("")}`);
  }
  return { form: "bytes", text: lines.join("\n"), isCut: payload.length > DUMP_BYTES_MAX };
}
