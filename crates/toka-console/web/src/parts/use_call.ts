import { useEffect, useState } from "preact/hooks";

import { type Failure, failure } from "../api";

export interface Called<T> {
  value: T | null;
  failure: Failure | null;
  isBusy: boolean;
}

/** What `call` comes to, asked for anew when `inputs` change; what was asked for before is given up. */
export function useCall<T>(call: (signal: AbortSignal) => Promise<T> | null, inputs: readonly unknown[]): Called<T> {
  const [called, setCalled] = useState<Called<T>>({ value: null, failure: null, isBusy: true });
  useEffect(() => {
    const ending = new AbortController();
    const asked = call(ending.signal);
    setCalled((before) => ({ value: asked ? before.value : null, failure: null, isBusy: asked !== null }));
    asked?.then(
      (value) => {
        if (!ending.signal.aborted) setCalled({ value, failure: null, isBusy: false });
      },
      (error: unknown) => {
        const failed = failure(error, ending.signal);
        if (failed) setCalled({ value: null, failure: failed, isBusy: false });
      },
    );
    return () => ending.abort();
  }, inputs);
  return called;
}
