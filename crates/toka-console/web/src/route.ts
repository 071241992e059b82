// Where the reader is: `#/view?name=value`, so that a link leads back.

import { useEffect, useState } from "preact/hooks";

export const VIEWS = ["nodes", "events", "lineage", "intents", "throughput"] as const;
export type View = (typeof VIEWS)[number];

export interface Route {
  view: View;
  parameters: URLSearchParams;
}

function current(): Route {
  const [path = "", query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const view = VIEWS.find((view) => view === path) ?? "nodes";
  return { view, parameters: new URLSearchParams(query) };
}

export function href(view: View, parameters: Record<string, string> = {}): string {
  const given = Object.entries(parameters).filter(([, value]) => value !== "");
  const query = new URLSearchParams(given).toString();
  return `#/${view}${query ? `?${query}` : ""}`;
}

export function go(view: View, parameters: Record<string, string> = {}): void {
  location.hash = href(view, parameters);
}

/** Where the reader is, in place of where it was. */
export function replace(view: View, parameters: Record<string, string>): void {
  history.replaceState(null, "", href(view, parameters));
  dispatchEvent(new HashChangeEvent("hashchange"));
}

export function useRoute(): Route {
  const [route, setRoute] = useState(current);
  useEffect(() => {
    const changed = () => setRoute(current());
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return route;
}
