// Where the events of a lineage are drawn.

import { Graph, type GraphLabel, layout } from "@dagrejs/dagre";

import { hex } from "./format";
import type { Event } from "./gen/toka/vault/v1/event_pb";
import type { Relatives } from "./relatives";

const WIDTH = 190;
const HEIGHT = 46;

interface Point {
  x: number;
  y: number;
}

export interface Placed {
  event: Event;
  /** Of its middle. */
  x: number;
  y: number;
  width: number;
  height: number;
  /** Parents that are not drawn. */
  missing: number;
}

export interface Edge {
  key: string;
  from: string;
  to: string;
  path: string;
}

export interface Drawing {
  root: string;
  nodes: Map<string, Placed>;
  /** From parents to children. */
  edges: Edge[];
  width: number;
  height: number;
  isComplete: boolean;
}

/** Parents on the left of their children. */
export function drawing({ root, events, isComplete }: Relatives): Drawing {
  const graph = new Graph<GraphLabel, { width: number; height: number; x?: number; y?: number }, { points?: Point[] }>();
  graph.setGraph({ rankdir: "LR", nodesep: 16, ranksep: 56, marginx: 8, marginy: 8 });
  graph.setDefaultEdgeLabel(() => ({}));
  const missing = new Map<string, number>();
  for (const key of events.keys()) graph.setNode(key, { width: WIDTH, height: HEIGHT });
  for (const [key, event] of events) {
    for (const parent of event.parents) {
      const from = hex(parent.id);
      if (events.has(from)) graph.setEdge(from, key);
      else missing.set(key, (missing.get(key) ?? 0) + 1);
    }
  }
  layout(graph);
  const nodes = new Map<string, Placed>();
  for (const [key, event] of events) {
    const { x = 0, y = 0 } = graph.node(key);
    nodes.set(key, { event, x, y, width: WIDTH, height: HEIGHT, missing: missing.get(key) ?? 0 });
  }
  const edges = graph.edges().map(({ v, w }) => {
    const between = (graph.edge(v, w)?.points ?? []).slice(1, -1);
    return { key: `${v} ${w}`, from: v, to: w, path: path(nodes.get(v), between, nodes.get(w)) };
  });
  const { width = 0, height = 0 } = graph.graph();
  return { root, nodes, edges, width, height, isComplete };
}

/** From the right side of one to the left side of the other. */
function path(from: Placed | undefined, between: Point[], to: Placed | undefined): string {
  if (!from || !to) return "";
  let before: Point = { x: from.x + from.width / 2, y: from.y };
  let drawn = `M${before.x} ${before.y}`;
  for (const point of [...between, { x: to.x - to.width / 2, y: to.y }]) {
    const middle = (before.x + point.x) / 2;
    drawn += `C${middle} ${before.y} ${middle} ${point.y} ${point.x} ${point.y}`;
    before = point;
  }
  return drawn;
}

/** The event that an arrow key leads to; `null`: there is none, `undefined`: it is no such key. */
export function toward({ nodes, edges }: Drawing, from: string, key: string): string | null | undefined {
  const at = nodes.get(from);
  if (!at) return undefined;
  const nearest = (keys: string[]): string | null => {
    const away = (key: string) => Math.abs((nodes.get(key)?.y ?? 0) - at.y);
    return keys.sort((one, other) => away(one) - away(other))[0] ?? null;
  };
  const beside = (isMeant: (y: number) => boolean) =>
    nearest([...nodes].filter(([key, node]) => key !== from && node.x === at.x && isMeant(node.y)).map(([key]) => key));
  switch (key) {
    case "ArrowLeft":
      return nearest(edges.filter((edge) => edge.to === from).map((edge) => edge.from));
    case "ArrowRight":
      return nearest(edges.filter((edge) => edge.from === from).map((edge) => edge.to));
    case "ArrowUp":
      return beside((y) => y < at.y);
    case "ArrowDown":
      return beside((y) => y > at.y);
    default:
      return undefined;
  }
}
