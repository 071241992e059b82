// Events as they come, those that match a filter, and one of them in full.

import { Component } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import { Feed, EVENTS_MAX, type Wanted } from "../feed";
import { clip, clock, count, time, uuid } from "../format";
import type { Event } from "../gen/toka/vault/v1/event_pb";
import { moved, useKeys } from "../parts/keys";
import { Said } from "../parts/said";
import { replace } from "../route";
import { Details } from "./details";
import { type Fields, fieldsOf, FilterForm, parametersOf, wantedOf } from "./filter";

export function Events({ parameters }: { parameters: URLSearchParams }) {
  const fields = useMemo(() => fieldsOf(parameters), [parameters]);
  const wanted = useMemo(() => wantedOf(fields), [JSON.stringify(fields)]);
  const selected = parameters.get("event") ?? "";
  const select = (event: string) => replace("events", { ...parametersOf(fields), event });
  const apply = (next: Fields) => replace("events", { ...parametersOf(next), event: selected });
  const filter = useRef<HTMLInputElement>(null);
  useKeys({
    "/": () => filter.current?.focus(),
    Escape: () => {
      // What was entered last is left first.
      if (document.activeElement instanceof HTMLInputElement) document.querySelector<HTMLElement>("[role=listbox]")?.focus();
      else if (selected) select("");
    },
  });
  return (
    <>
      <h1>Events</h1>
      <FilterForm fields={fields} apply={apply} first={filter} />
      {"problem" in wanted ? (
        <p role="alert" class="failure">{wanted.problem}</p>
      ) : (
        <div class={selected ? "split open" : "split"}>
          <Live wanted={wanted} selected={selected} select={select} />
          {selected && <Details name={selected} close={() => select("")} select={select} />}
        </div>
      )}
    </>
  );
}

interface LiveProps {
  wanted: Wanted;
  selected: string;
  select: (event: string) => void;
}

const STATES: Record<Feed["state"], string> = {
  loading: "reading…",
  live: "live",
  paused: "paused",
  ended: "all that there was until then",
  retrying: "lost; trying again",
  failed: "stopped",
};

function Live({ wanted, selected, select }: LiveProps) {
  const [, setTurn] = useState(0);
  const [isPaused, setPaused] = useState(false);
  const feed = useRef<Feed | null>(null);
  useEffect(() => {
    const opened = new Feed(wanted, () => setTurn((turn) => turn + 1));
    feed.current = opened;
    opened.pause(isPaused);
    return () => opened.end();
  }, [wanted]);
  useEffect(() => feed.current?.pause(isPaused), [isPaused]);
  const shown = feed.current;
  const events = shown?.events ?? [];
  const canFollow = wanted.until === 0;
  useKeys(canFollow ? { p: () => setPaused((paused) => !paused) } : {});
  return (
    <section class="live" aria-label="Events">
      <div class="bar">
        <span class={`badge ${shown?.state === "live" ? "good" : ""}`} role="status">{STATES[shown?.state ?? "loading"]}</span>
        <span class="muted">{count(events.length)} shown, {count(EVENTS_MAX)} at most</span>
        {canFollow && (
          <button type="button" aria-pressed={isPaused} onClick={() => setPaused(!isPaused)} title="p">
            {isPaused ? `Follow${shown?.waiting ? ` (${count(shown.waiting)} new)` : ""}` : "Pause"}
          </button>
        )}
      </div>
      {shown?.failure && <Said failure={shown.failure} />}
      {events.length === 0 && shown?.state !== "loading" && !shown?.failure && <Said failure={null}>Nothing matches yet.</Said>}
      <List events={events} selected={selected} select={select} />
      {shown?.hasOlder && (
        <button type="button" disabled={shown.isLoadingOlder || events.length >= EVENTS_MAX} onClick={() => void shown.loadOlder()}>
          {events.length >= EVENTS_MAX ? "Narrow the filter to see older ones" : "Older"}
        </button>
      )}
    </section>
  );
}

function List({ events, selected, select }: { events: Event[]; selected: string; select: (event: string) => void }) {
  const list = useRef<HTMLDivElement>(null);
  // By sequence: what comes must not move it.
  const [current, setCurrent] = useState(0n);
  const at = events.findIndex((event) => event.sequence === current);
  const pressed = (event: KeyboardEvent) => {
    const next = moved(event.key, at, events.length);
    const meant = events[event.key === "Enter" ? at : (next ?? -1)];
    if (!meant) return;
    event.preventDefault();
    setCurrent(meant.sequence);
    if (event.key === "Enter") select(String(meant.sequence));
    // Who has one open looks at the next one.
    else if (selected) select(String(meant.sequence));
    list.current?.querySelector(`#event-${meant.sequence}`)?.scrollIntoView({ block: "nearest" });
  };
  return (
    <>
      <div class="row head" aria-hidden="true">
        <span>Sequence</span><span>Time</span><span>Kind</span><span>Source</span><span>Intent</span>
      </div>
      <div
        ref={list}
        class="rows"
        role="listbox"
        aria-label="Events, newest first"
        aria-activedescendant={at < 0 ? undefined : `event-${current}`}
        tabIndex={0}
        onKeyDown={pressed}
      >
        {events.map((event) => (
          <Row
            key={event.sequence}
            event={event}
            isCurrent={event.sequence === current}
            isOpen={selected === String(event.sequence) || (selected.length === 36 && selected === uuid(event.id))}
            open={(sequence) => {
              setCurrent(sequence);
              select(String(sequence));
            }}
          />
        ))}
      </div>
    </>
  );
}

interface RowProps {
  event: Event;
  isCurrent: boolean;
  isOpen: boolean;
  open: (sequence: bigint) => void;
}

/** An event does not change: of a thousand rows only those are drawn anew that are others. */
class Row extends Component<RowProps> {
  override shouldComponentUpdate(next: RowProps): boolean {
    const { event, isCurrent, isOpen } = this.props;
    return next.event !== event || next.isCurrent !== isCurrent || next.isOpen !== isOpen;
  }

  override render({ event, isCurrent, isOpen, open }: RowProps) {
    const { attributes, intent, sequence } = event;
    return (
      <div
        id={`event-${sequence}`}
        class={isCurrent ? "row current" : "row"}
        role="option"
        aria-selected={isOpen}
        onClick={() => open(sequence)}
      >
        <span class="number">{String(sequence)}</span>
        <span title={time(event.unixMs)}>{clock(event.unixMs)}</span>
        <span class="kind" title={event.kind}>{clip(event.kind, 80)}</span>
        <span class="muted">{clip(attributes?.source ?? "", 40)}</span>
        <span class="muted">{intent === undefined ? "" : String(intent)}</span>
      </div>
    );
  }
}
