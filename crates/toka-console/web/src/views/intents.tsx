// The intents: groups of events that mean the same, as a map and as a list, with examples.

import { useMemo, useRef, useState } from "preact/hooks";

import { intents as service } from "../api";
import { clip, count, time } from "../format";
import type { Intent } from "../gen/toka/vault/v1/intent_service_pb";
import { map, SIDE, type Spot } from "../map";
import { moved, useKeys } from "../parts/keys";
import { Said } from "../parts/said";
import { useCall } from "../parts/use_call";
import { ZoomSvg } from "../parts/zoom_svg";
import { show } from "../payload";
import { href, replace } from "../route";

/** The largest ones; there may be many thousands. */
const INTENTS_MAX = 200;
const PAGE = 50;
const PAGES_MAX = 12;
const EXAMPLES = 3;
const EXAMPLES_SHOWN = 8;

interface Read {
  intents: Intent[];
  total: number;
}

async function read(skipTentative: boolean, signal: AbortSignal): Promise<Read> {
  const found: Intent[] = [];
  let total = 0;
  let pageToken = "";
  for (let page = 0; page < PAGES_MAX && found.length < INTENTS_MAX; page += 1) {
    const request = { skipTentative, examples: EXAMPLES, pageSize: PAGE, pageToken, include: { embedding: true } };
    const answer = await service.listIntents(request, { signal });
    found.push(...answer.intents);
    total = answer.total;
    pageToken = answer.nextPageToken;
    if (pageToken === "") break;
  }
  return { intents: found.slice(0, INTENTS_MAX), total };
}

export function nameOf(intent: Intent): string {
  return intent.label || intent.examples[0]?.event?.kind || `intent ${intent.intent}`;
}

export function Intents({ parameters }: { parameters: URLSearchParams }) {
  const selected = parameters.get("intent") ?? "";
  const [withTentative, setWithTentative] = useState(false);
  const [turn, setTurn] = useState(0);
  const got = useCall((signal) => read(!withTentative, signal), [withTentative, turn]);
  const spots = useMemo(() => map(got.value?.intents ?? []), [got.value]);
  const select = (intent: string) => replace("intents", { intent });
  const list = useRef<HTMLDivElement>(null);
  useKeys({
    "/": () => list.current?.focus(),
    Escape: () => select(""),
  });
  const shown = got.value?.intents ?? [];
  return (
    <>
      <h1>Intents</h1>
      <div class="bar">
        <span class="muted" role="status">{got.value ? `the ${count(shown.length)} largest of ${count(got.value.total)}` : ""}</span>
        <label class="check">
          <input type="checkbox" checked={withTentative} onChange={(event) => setWithTentative(event.currentTarget.checked)} /> with those of fewer than five events
        </label>
        <button type="button" onClick={() => setTurn(turn + 1)}>Read again</button>
      </div>
      {(got.failure || (got.isBusy && !got.value)) && <Said failure={got.failure} isBusy={got.isBusy} />}
      {got.value && shown.length === 0 && <Said failure={null}>No intents yet: events with embeddings become some.</Said>}
      {shown.length > 0 && (
        <div class={selected ? "split open" : "split"}>
          <div class="map-and-list">
            <IntentMap spots={spots} selected={selected} select={select} />
            <IntentList intents={shown} selected={selected} select={select} list={list} />
          </div>
          {selected && <Examples id={selected} close={() => select("")} />}
        </div>
      )}
    </>
  );
}

interface MapProps {
  spots: Spot[];
  selected: string;
  select: (intent: string) => void;
}

function IntentMap({ spots, selected, select }: MapProps) {
  if (spots.length === 0) return null;
  return (
    <section class="graph" aria-label="Map">
      <ZoomSvg label="Map of intents: what means alike is close together" width={SIDE} height={SIDE} of={spots} at={spots.find(({ intent }) => String(intent.intent) === selected) ?? null}>
        {spots.map(({ intent, x, y, radius }) => {
          const id = String(intent.intent);
          const examples = intent.examples.flatMap(({ event }) => (event ? [`${event.sequence} ${event.kind}`] : []));
          const says = `${nameOf(intent)}: intent ${id}, ${count(intent.events)} events, coherence ${intent.coherence.toFixed(2)}\n${examples.join("\n")}`;
          return (
            <g key={id} class={id === selected ? "spot open" : "spot"} transform={`translate(${x} ${y})`} onClick={() => select(id)}>
              <title>{says}</title>
              <circle r={radius} fill-opacity={0.25 + 0.55 * Math.min(Math.max(intent.coherence, 0), 1)} />
              {radius > 12 && <text y="4">{clip(nameOf(intent), Math.max(4, Math.floor(radius / 3.2)))}</text>}
            </g>
          );
        })}
      </ZoomSvg>
      <p class="muted">Size: events. Strength of the colour: coherence. Places: the embeddings of the examples, on their two principal axes, moved apart where they would hide each other.</p>
    </section>
  );
}

interface ListProps {
  intents: Intent[];
  selected: string;
  select: (intent: string) => void;
  list: { current: HTMLDivElement | null };
}

function IntentList({ intents, selected, select, list }: ListProps) {
  const at = intents.findIndex((intent) => String(intent.intent) === selected);
  const pressed = (event: KeyboardEvent) => {
    const next = intents[moved(event.key, at, intents.length) ?? -1];
    if (!next) return;
    event.preventDefault();
    select(String(next.intent));
    list.current?.querySelector(`#intent-${next.intent}`)?.scrollIntoView({ block: "nearest" });
  };
  return (
    <div
      ref={list}
      class="rows intents"
      role="listbox"
      aria-label="Intents, the largest first"
      tabIndex={0}
      aria-activedescendant={at < 0 ? undefined : `intent-${selected}`}
      onKeyDown={pressed}
    >
      {intents.map((intent) => {
        const id = String(intent.intent);
        return (
          <div key={id} id={`intent-${id}`} class={id === selected ? "row current" : "row"} role="option" aria-selected={id === selected} onClick={() => select(id)}>
            <span class="number">{id}</span>
            <span class="kind" title={nameOf(intent)}>{clip(nameOf(intent), 60)}</span>
            <span class="number">{count(intent.events)}</span>
            <span class="muted number">{intent.coherence.toFixed(2)}</span>
          </div>
        );
      })}
    </div>
  );
}

function Examples({ id, close }: { id: string; close: () => void }) {
  const got = useCall(
    (signal) => (/^[0-9]{1,18}$/.test(id) ? service.getIntent({ intent: BigInt(id), examples: EXAMPLES_SHOWN, include: { payload: true } }, { signal }) : null),
    [id],
  );
  const intent = got.value?.intent;
  return (
    <aside class="details" aria-label="Intent">
      <div class="bar">
        <h2>Intent {id}</h2>
        <button type="button" onClick={close} title="Escape">Close</button>
      </div>
      {!intent && <Said failure={got.failure} isBusy={got.isBusy}>{`${id}: it is no intent`}</Said>}
      {intent && (
        <>
          {String(intent.intent) !== id && <p class="notice">It was retired; its events are of intent {String(intent.intent)} now.</p>}
          <dl class="list">
            <div><dt>label</dt><dd>{intent.label || "–"}</dd></div>
            <div><dt>events</dt><dd>{count(intent.events)}{intent.tentative ? ", tentative" : ""}</dd></div>
            <div><dt>micro-clusters</dt><dd>{count(intent.microClusters)}</dd></div>
            <div><dt>coherence</dt><dd>{intent.coherence.toFixed(3)}</dd></div>
            <div><dt>from, to</dt><dd>{String(intent.firstSequence)}, {String(intent.lastSequence)}</dd></div>
          </dl>
          <p><a class="button" href={href("events", { intent: String(intent.intent) })}>Its events</a></p>
          <h3>Examples</h3>
          {intent.examples.map(({ event, similarity }) => event && (
            <article key={String(event.sequence)} class="example">
              <a href={href("events", { event: String(event.sequence) })}>{String(event.sequence)} {clip(event.kind, 60)}</a>
              <span class="muted"> {time(event.unixMs)}, similarity {similarity.toFixed(2)}</span>
              {event.payload?.state.case === "stored" && <pre>{clip(show(event.payload.state.value, event.attributes?.contentType).text, 600)}</pre>}
            </article>
          ))}
        </>
      )}
    </aside>
  );
}
