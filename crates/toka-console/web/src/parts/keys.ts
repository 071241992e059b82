import { useEffect } from "preact/hooks";

/** Where somebody writes, keys are letters. */
function isWriting(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && target.matches("input, select, textarea");
}

/** Does what a key is for, wherever the focus is but in a field; `Escape` counts there, too. */
export function useKeys(keys: Record<string, () => void>): void {
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      const act = keys[event.key];
      const isMeant = !event.ctrlKey && !event.metaKey && !event.altKey && !event.defaultPrevented;
      if (!act || !isMeant || (isWriting(event.target) && event.key !== "Escape")) return;
      event.preventDefault();
      act();
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  });
}

const PAGE = 10;

/** Where a key of a list leads from `at`, of `length` entries; `null`: it is no such key. */
export function moved(key: string, at: number, length: number): number | null {
  const last = length - 1;
  const to: Record<string, number> = {
    ArrowDown: at + 1,
    ArrowUp: at - 1,
    PageDown: at + PAGE,
    PageUp: at - PAGE,
    Home: 0,
    End: last,
  };
  const next = to[key];
  return next === undefined || length === 0 ? null : Math.min(Math.max(next, 0), last);
}
