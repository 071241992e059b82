// What an event comes from, and what came of it, as a graph.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import { clip, clock, count, eventName } from "../format";
import { drawing, type Drawing, type Placed, toward } from "../graph";
import { useKeys } from "../parts/keys";
import { Said } from "../parts/said";
import { useCall } from "../parts/use_call";
import { ZoomSvg } from "../parts/zoom_svg";
import { read } from "../relatives";
import { replace } from "../route";
import { Details } from "./details";

const DEPTHS = ["1", "2", "3", "5", "10"];
const LIMITS = ["50", "100", "200"];
const COLORS = 6;

export function Lineage({ parameters }: { parameters: URLSearchParams }) {
  const name = parameters.get("event") ?? "";
  const depth = DEPTHS.find((depth) => depth === parameters.get("depth")) ?? "3";
  const limit = LIMITS.find((limit) => limit === parameters.get("limit")) ?? "50";
  const open = parameters.get("open") ?? "";
  const set = (changed: Record<string, string>) => replace("lineage", { event: name, depth, limit, open, ...changed });
  const input = useRef<HTMLInputElement>(null);
  const selector = eventName(name);
  const got = useCall(
    (signal) => (selector ? read(selector, Number(depth), Number(limit), signal) : null),
    [name, depth, limit],
  );
  useEffect(() => {
    if (input.current) input.current.value = name;
  }, [name]);
  useKeys({
    "/": () => input.current?.focus(),
    Escape: () => {
      if (document.activeElement instanceof HTMLInputElement) document.activeElement.blur();
      else if (open) set({ open: "" });
    },
  });
  const drawn = useMemo(() => (got.value ? drawing(got.value) : null), [got.value]);
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    set({ event: input.current?.value.trim() ?? "", open: "" });
  };
  return (
    <>
      <h1>Lineage</h1>
      <form class="filter" onSubmit={submit}>
        <label class="wide">
          <span>Event: its sequence, id or digest</span>
          <input ref={input} placeholder="4711" autocomplete="off" spellcheck={false} maxLength={100} />
        </label>
        <Choice label="Steps" values={DEPTHS} value={depth} choose={(depth) => set({ depth })} />
        <Choice label="Events each way" values={LIMITS} value={limit} choose={(limit) => set({ limit })} />
        <div class="buttons"><button type="submit">Show</button></div>
      </form>
      {!drawn && (
        <Said failure={got.failure} isBusy={got.isBusy}>
          {name && !selector ? `${name}: it is no event's name.` : "Which event? Every event in the list of events leads here, too."}
        </Said>
      )}
      {drawn && (
        <div class={open ? "split open" : "split"}>
          <Graph drawn={drawn} open={open} select={(open) => set({ open })} />
          {open && <Details name={open} close={() => set({ open: "" })} select={(open) => set({ open })} />}
        </div>
      )}
    </>
  );
}

interface ChoiceProps {
  label: string;
  values: string[];
  value: string;
  choose: (value: string) => void;
}

function Choice({ label, values, value, choose }: ChoiceProps) {
  return (
    <label>
      <span>{label}</span>
      <select value={value} onChange={(event) => choose(event.currentTarget.value)}>
        {values.map((value) => <option key={value} value={value}>{value}</option>)}
      </select>
    </label>
  );
}

interface GraphProps {
  drawn: Drawing;
  open: string;
  select: (event: string) => void;
}

function Graph({ drawn, open, select }: GraphProps) {
  const { nodes, edges, root, isComplete } = drawn;
  const [current, setCurrent] = useState(root);
  useEffect(() => setCurrent(root), [drawn]);
  const at = nodes.get(current);
  const group = useRef<SVGGElement>(null);
  const focus = (key: string) => {
    setCurrent(key);
    group.current?.querySelector<SVGGElement>(`[data-key="${key}"]`)?.focus({ preventScroll: true });
  };
  const pressed = (event: KeyboardEvent) => {
    if (event.key === "Enter" && at) {
      event.preventDefault();
      return select(String(at.event.sequence));
    }
    const next = toward(drawn, current, event.key);
    if (next === undefined) return;
    event.preventDefault();
    if (next !== null) focus(next);
  };
  return (
    <section class="graph" aria-label="Graph">
      <p class="muted" role="status">
        {count(nodes.size)} events, {count(edges.length)} links{isComplete ? "" : "; there are more than are shown"}. Arrow keys walk along them, Enter opens one.
      </p>
      <ZoomSvg label="Ancestors on the left, descendants on the right" width={drawn.width} height={drawn.height} of={drawn} at={at ?? null} isText onKeyDown={pressed}>
        {edges.map((edge) => (
          <path key={edge.key} class={edge.from === current || edge.to === current ? "edge near" : "edge"} d={edge.path} />
        ))}
        <g ref={group}>
          {[...nodes].map(([key, node]) => (
            <Box
              key={key}
              name={key}
              node={node}
              isRoot={key === root}
              isCurrent={key === current}
              isOpen={open === String(node.event.sequence)}
              choose={() => {
                focus(key);
                select(String(node.event.sequence));
              }}
            />
          ))}
        </g>
      </ZoomSvg>
    </section>
  );
}

interface BoxProps {
  name: string;
  node: Placed;
  isRoot: boolean;
  isCurrent: boolean;
  isOpen: boolean;
  choose: () => void;
}

function Box({ name, node, isRoot, isCurrent, isOpen, choose }: BoxProps) {
  const { event, x, y, width, height, missing } = node;
  const below = `${event.sequence} · ${clock(event.unixMs)}${missing ? ` · +${missing}` : ""}`;
  const says = `${event.kind} ${below}${missing ? " parents that are not drawn" : ""}`;
  const classes = ["box", isRoot ? "root" : "", isOpen ? "open" : ""].join(" ");
  return (
    <g
      class={classes}
      data-key={name}
      role="button"
      aria-label={says}
      tabindex={isCurrent ? 0 : -1}
      transform={`translate(${x - width / 2} ${y - height / 2})`}
      onClick={choose}
    >
      <title>{says}</title>
      <rect width={width} height={height} rx="6" />
      <rect class={`stripe stripe-${color(event.kind)}`} width="5" height={height} rx="2" />
      <text x="14" y="18">{clip(event.kind, 24)}</text>
      <text x="14" y="35" class="small">{below}</text>
    </g>
  );
}

/** Kinds of one family look alike. */
function color(kind: string): number {
  let sum = 0;
  for (const letter of kind.split(".", 1)[0] ?? "") sum = (sum * 31 + (letter.codePointAt(0) ?? 0)) % 9_973;
  return (sum % COLORS) + 1;
}
