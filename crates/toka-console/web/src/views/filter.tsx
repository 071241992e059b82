// Which events: the fields of a form, the part of a link, and what the vault is asked for.

import type { RefObject } from "preact";
import { useEffect, useState } from "preact/hooks";

import type { Wanted } from "../feed";

const NAMES = ["kind", "attribute", "intent", "from", "until"] as const;
export type Fields = Record<(typeof NAMES)[number], string>;
const WRITTEN = /^([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[ T]([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,3})?)?(?:Z|[+-][0-9]{2}:[0-9]{2})?))?$/;
const UNITS: Record<string, number> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

export function fieldsOf(parameters: URLSearchParams): Fields {
  return Object.fromEntries(NAMES.map((name) => [name, parameters.get(name) ?? ""])) as Fields;
}

export function parametersOf(fields: Fields): Record<string, string> {
  return { ...fields };
}

/** `15m` ago, or a date, or date and time; `null`: neither. */
export function timeOf(text: string): number | null {
  const ago = /^([0-9]{1,6})([smhd])$/.exec(text);
  if (ago) return Date.now() - Number(ago[1]) * (UNITS[ago[2] ?? ""] ?? 0);
  const [, day, clock] = WRITTEN.exec(text) ?? [];
  // A day alone would be one of UTC.
  const at = Date.parse(`${day}T${clock ?? "00:00"}`);
  return Number.isNaN(at) || at < 0 ? null : at;
}

export function wantedOf(fields: Fields): Wanted | { problem: string } {
  const parts = (text: string) => text.split(",").map((part) => part.trim()).filter((part) => part !== "");
  const wanted: Wanted = { kindPrefixes: parts(fields.kind), attributes: [], intents: [], from: 0, until: 0 };
  for (const part of parts(fields.attribute)) {
    const cut = part.indexOf("=");
    if (cut < 1) return { problem: `Attribute ${part}: it is written NAME=VALUE` };
    wanted.attributes.push({ name: part.slice(0, cut), value: part.slice(cut + 1) });
  }
  for (const part of parts(fields.intent)) {
    if (!/^[0-9]{1,18}$/.test(part)) return { problem: `Intent ${part}: it is a number` };
    wanted.intents.push(BigInt(part));
  }
  for (const bound of ["from", "until"] as const) {
    if (fields[bound] === "") continue;
    const at = timeOf(fields[bound].trim());
    if (at === null) return { problem: `${fields[bound]}: a time is written 15m (ago), or 2026-11-27 09:30` };
    wanted[bound] = at;
  }
  return wanted;
}

interface Props {
  fields: Fields;
  apply: (fields: Fields) => void;
  first: RefObject<HTMLInputElement | null>;
}

const LABELS: Record<keyof Fields, [label: string, example: string]> = {
  kind: ["Kind begins with", "task., chat."],
  attribute: ["Attribute", "source=planner"],
  intent: ["Intent", "7"],
  from: ["From", "15m, or 2026-11-27"],
  until: ["Until", "now, and what comes"],
};

export function FilterForm({ fields, apply, first }: Props) {
  const [draft, setDraft] = useState(fields);
  useEffect(() => setDraft(fields), [fields]);
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    apply(draft);
  };
  const clear = () => apply(fieldsOf(new URLSearchParams()));
  const isEmpty = NAMES.every((name) => fields[name] === "");
  return (
    <form class="filter" role="search" aria-label="Filter" onSubmit={submit}>
      {NAMES.map((name) => (
        <label key={name}>
          <span>{LABELS[name][0]}</span>
          <input
            ref={name === "kind" ? first : null}
            name={name}
            value={draft[name]}
            placeholder={LABELS[name][1]}
            autocomplete="off"
            spellcheck={false}
            maxLength={1_000}
            onInput={(event) => setDraft({ ...draft, [name]: event.currentTarget.value })}
          />
        </label>
      ))}
      <div class="buttons">
        <button type="submit">Filter</button>
        {!isEmpty && <button type="button" onClick={clear}>Clear</button>}
      </div>
    </form>
  );
}
