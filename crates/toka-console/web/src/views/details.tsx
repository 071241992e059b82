// One event in full: its header, its payload, its parents and children.

import { lineage, vault } from "../api";
import { bytes, count, eventName, hex, time, uuid } from "../format";
import type { Event } from "../gen/toka/vault/v1/event_pb";
import { Relation } from "../gen/toka/vault/v1/lineage_service_pb";
import { Said } from "../parts/said";
import { useCall } from "../parts/use_call";
import { show } from "../payload";
import { href } from "../route";

const CHILDREN_MAX = 100;

interface Props {
  name: string;
  close: () => void;
  select: (event: string) => void;
}

export function Details({ name, close, select }: Props) {
  const got = useCall(
    (signal) => {
      const selector = eventName(name);
      return selector && vault.get({ selector: { selector }, include: { payload: true } }, { signal });
    },
    [name],
  );
  const event = got.value?.event;
  return (
    <aside class="details" aria-label="Event">
      <div class="bar">
        <h2>Event {event ? String(event.sequence) : ""}</h2>
        <button type="button" onClick={close} title="Escape">Close</button>
      </div>
      {event ? <Shown event={event} select={select} /> : <Said failure={got.failure} isBusy={got.isBusy}>{`${name}: it is no event's name`}</Said>}
    </aside>
  );
}

function Shown({ event, select }: { event: Event; select: (event: string) => void }) {
  const { attributes, intent } = event;
  const pairs = Object.entries(attributes?.pairs ?? {});
  const facts: [string, string][] = [
    ["kind", event.kind],
    ["time", time(event.unixMs)],
    ["id", uuid(event.id)],
    ["digest", hex(event.digest)],
    ["source", attributes?.source ?? "–"],
    ["content type", attributes?.contentType ?? "application/msgpack"],
    ...pairs.map(([key, value]): [string, string] => [`attribute ${key}`, value]),
    ["micro-cluster", event.microCluster === undefined ? "–" : String(event.microCluster)],
    ["embedding", event.embeddingInfo ? `${event.embeddingInfo.dimension} components` : "none"],
  ];
  return (
    <>
      <dl class="list">
        {facts.map(([key, value]) => <div key={key}><dt>{key}</dt><dd>{value}</dd></div>)}
        <div>
          <dt>intent</dt>
          <dd>{intent === undefined ? "–" : <a href={href("intents", { intent: String(intent) })}>{String(intent)}</a>}</dd>
        </div>
      </dl>
      <p><a class="button" href={href("lineage", { event: String(event.sequence) })}>Lineage</a></p>
      <PayloadText event={event} />
      <Parents event={event} select={select} />
      <Children event={event} select={select} />
    </>
  );
}

function PayloadText({ event }: { event: Event }) {
  const state = event.payload?.state;
  if (state?.case !== "stored") return <p class="muted">{state?.case === "erased" ? "The payload was erased." : "The payload was not sent."}</p>;
  const { form, text, isCut } = show(state.value, event.attributes?.contentType);
  return (
    <section aria-label="Payload">
      <h3>Payload <small class="muted">{form}, {bytes(event.payloadBytes)}{isCut ? ", the beginning of it" : ""}</small></h3>
      <pre class="payload" tabIndex={0}>{text}</pre>
    </section>
  );
}

interface RelativesProps {
  event: Event;
  select: (event: string) => void;
}

function Parents({ event, select }: RelativesProps) {
  const got = useCall(
    (signal) => {
      const selectors = event.parents.map(({ id }) => ({ selector: { case: "id" as const, value: id } }));
      return selectors.length === 0 ? null : vault.batchGet({ selectors }, { signal });
    },
    [event.sequence],
  );
  const parents = event.parents.map(({ id }, index) => ({ id, event: got.value?.items[index]?.event }));
  return (
    <section aria-label="Parents">
      <h3>Parents <small class="muted">{count(parents.length)}</small></h3>
      {got.failure && <Said failure={got.failure} />}
      <ul class="links">
        {parents.map((parent) => (
          <li key={uuid(parent.id)}>
            {parent.event ? <Link event={parent.event} select={select} /> : <span class="muted">{uuid(parent.id)}{got.value ? ": not shown to you" : ""}</span>}
          </li>
        ))}
      </ul>
    </section>
  );
}

function Children({ event, select }: RelativesProps) {
  const got = useCall(
    async (signal) => {
      const request = {
        event: { selector: { case: "id" as const, value: event.id } },
        relation: Relation.DESCENDANTS,
        maxDepth: 1,
        maxEvents: CHILDREN_MAX + 1,
      };
      const children: Event[] = [];
      for await (const { relatives } of lineage.walk(request, { signal })) {
        children.push(...relatives.flatMap(({ event, depth }) => (event && depth > 0 ? [event] : [])));
      }
      return children;
    },
    [event.sequence],
  );
  const children = got.value ?? [];
  return (
    <section aria-label="Children">
      <h3>Children <small class="muted">{count(children.length)}{children.length >= CHILDREN_MAX ? " or more" : ""}</small></h3>
      {(got.failure || got.isBusy) && <Said failure={got.failure} isBusy={got.isBusy} />}
      <ul class="links">
        {children.map((child) => <li key={child.sequence}><Link event={child} select={select} /></li>)}
      </ul>
    </section>
  );
}

function Link({ event, select }: RelativesProps) {
  return (
    <button type="button" class="link" onClick={() => select(String(event.sequence))}>
      <span class="number">{String(event.sequence)}</span> {event.kind}
    </button>
  );
}
