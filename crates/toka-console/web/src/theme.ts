// Light or dark: as the system has it, or as the reader has chosen.

import { useEffect, useState } from "preact/hooks";

const KEY = "toka-theme";
const DARK = matchMedia("(prefers-color-scheme: dark)");
export type Theme = "light" | "dark";

function system(): Theme {
  return DARK.matches ? "dark" : "light";
}

function chosen(): Theme | null {
  const theme = localStorage.getItem(KEY);
  return theme === "light" || theme === "dark" ? theme : null;
}

/** The theme that holds, and what changes it. */
export function useTheme(): [Theme, () => void] {
  const [theme, setTheme] = useState<Theme>(() => chosen() ?? system());
  useEffect(() => {
    const changed = () => setTheme(chosen() ?? system());
    DARK.addEventListener("change", changed);
    return () => DARK.removeEventListener("change", changed);
  }, []);
  useEffect(() => {
    document.documentElement.dataset["theme"] = theme;
  }, [theme]);
  const toggle = () => {
    const next = theme === "dark" ? "light" : "dark";
    // Who chooses what the system has anyway follows it again.
    if (next === system()) localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, next);
    setTheme(next);
  };
  return [theme, toggle];
}

export function color(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
