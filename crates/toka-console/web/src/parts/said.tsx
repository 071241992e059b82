import type { ComponentChildren } from "preact";

import type { Failure } from "../api";

/** What a view says in place of what it has not. */
export function Said({ failure, isBusy, children }: { failure: Failure | null; isBusy?: boolean; children?: ComponentChildren }) {
  if (failure) return <p role="alert" class="failure">{failure.text}</p>;
  if (isBusy) return <p role="status" class="muted">Reading…</p>;
  return <p role="status" class="muted">{children}</p>;
}
