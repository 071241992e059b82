// How values are shown, and read back.

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));
const UUID = /^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/i;

export function hex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += HEX[byte];
  return text;
}

export function unhex(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length / 2);
  for (let index = 0; index < bytes.length; index += 1) {
    bytes[index] = Number.parseInt(text.slice(index * 2, index * 2 + 2), 16);
  }
  return bytes;
}

/** An id of 16 bytes as a UUID. */
export function uuid(bytes: Uint8Array): string {
  const text = hex(bytes);
  const cuts = [0, 8, 12, 16, 20, 32];
  return cuts.slice(1).map((end, index) => text.slice(cuts[index], end)).join("-");
}

export type Name = { case: "id"; value: Uint8Array } | { case: "digest"; value: Uint8Array } | { case: "sequence"; value: bigint };

/** What people write for an event: its id, digest, or sequence. `null`: none of these. */
export function eventName(text: string): Name | null {
  const name = text.trim();
  if (/^[1-9][0-9]{0,18}$/.test(name)) return { case: "sequence", value: BigInt(name) };
  if (UUID.test(name)) return { case: "id", value: unhex(name.replaceAll("-", "")) };
  if (/^[0-9a-f]{64}$/i.test(name)) return { case: "digest", value: unhex(name) };
  return null;
}

const INTEGER = new Intl.NumberFormat("en");
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export function count(value: number | bigint): string {
  return INTEGER.format(value);
}

export function short(value: number): string {
  return SHORT.format(value);
}

export function bytes(value: number | bigint): string {
  let size = Number(value);
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (size < 1024) return `${unit === "B" ? size : size.toFixed(1)} ${unit}`;
    size /= 1024;
  }
  return `${size.toFixed(1)} TiB`;
}

/** A time of the vault, in the time zone of whoever looks. */
export function time(unixMs: number | bigint): string {
  if (Number(unixMs) === 0) return "–";
  const date = new Date(Number(unixMs));
  if (Number.isNaN(date.getTime())) return String(unixMs);
  const two = (value: number) => String(value).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${clock(unixMs)}`;
}

/** The time of day alone. */
export function clock(unixMs: number | bigint): string {
  const date = new Date(Number(unixMs));
  const two = (value: number) => String(value).padStart(2, "0");
  const seconds = `${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, "0")}`;
  return `${two(date.getHours())}:${two(date.getMinutes())}:${seconds}`;
}

export function clip(text: string, length: number): string {
  const letters = [...text.slice(0, length * 2 + 2)];
  return letters.length > length ? `${letters.slice(0, length - 1).join("")}…` : text;
}
