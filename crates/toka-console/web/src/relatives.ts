// The relatives of an event, as far as they are asked for.

import { lineage } from "./api";
import { hex, type Name } from "./format";
import type { Event } from "./gen/toka/vault/v1/event_pb";
import { Relation } from "./gen/toka/vault/v1/lineage_service_pb";

export interface Relatives {
  /** Key of the event that was asked for. */
  root: string;
  /** By id, in hexadecimal digits. */
  events: Map<string, Event>;
  /** There are no others. */
  isComplete: boolean;
}

/** Reads at most `limit` ancestors and as many descendants, up to `depth` steps away. */
export async function read(selector: Name, depth: number, limit: number, signal: AbortSignal): Promise<Relatives> {
  const events = new Map<string, Event>();
  let root = "";
  let isComplete = true;
  for (const relation of [Relation.ANCESTORS, Relation.DESCENDANTS]) {
    // The event itself is one of them.
    const request = { event: { selector }, relation, maxDepth: depth, maxEvents: limit + 1 };
    for await (const { relatives, end } of lineage.walk(request, { signal })) {
      for (const { event, depth } of relatives) {
        if (!event) continue;
        const key = hex(event.id);
        if (depth === 0) root = key;
        events.set(key, event);
      }
      if (end && !end.complete) isComplete = false;
    }
  }
  return { root, events, isComplete };
}
