// What the vault of the tests has: 240 events of agents with embeddings, and one that means harm.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { toka } from "./browser.mjs";

const EVENTS = 240;
const DIMENSION = 32;
const KINDS = {
  "task.plan": "Plan the release",
  "task.code": "Write the retry loop",
  "task.review": "Review the retry loop",
  "chat.question": "Why is the build red?",
  "chat.answer": "The linker ran out of memory",
  "tool.call": "run the tests",
  "tool.result": "all tests passed",
};

export const HARM = '<img src=x onerror="alert(1)">';

/** The same numbers each time. */
function numbers(seed) {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

function lines() {
  const next = numbers(7);
  const vector = () => Array.from({ length: DIMENSION }, () => next() - 0.5);
  const kinds = Object.keys(KINDS);
  const centres = kinds.map(vector);
  const lines = [];
  for (let step = 0; step < EVENTS; step += 1) {
    const which = Math.floor(next() * kinds.length);
    const noise = vector();
    const parents = new Set();
    for (let count = step === 0 ? 0 : 1 + Math.floor(next() * 2); count > 0; count -= 1) {
      parents.add(`e${Math.max(0, step - 1 - Math.floor(next() * 6))}`);
    }
    lines.push({
      kind: kinds[which],
      ref: `e${step}`,
      parents: [...parents],
      payload: { text: KINDS[kinds[which]], step },
      embedding: centres[which].map((value, at) => value + 0.3 * noise[at]),
      embedding_model: "tests",
      source: ["planner", "coder", "critic"][step % 3],
      attributes: { prio: step % 2 === 0 ? "high" : "low" },
    });
  }
  lines.push({ kind: `harm.${HARM}`, parents: [`e${EVENTS - 1}`], payload: { text: "<script>alert(2)</script>" }, source: HARM });
  return lines;
}

/** Stores all of it; returns how many events that are. */
export async function store() {
  const directory = mkdtempSync(join(tmpdir(), "toka-console-"));
  const file = join(directory, "events.jsonl");
  const all = lines();
  writeFileSync(file, all.map((line) => JSON.stringify(line)).join("\n"));
  await toka("import", "--in-flight", "1", file);
  rmSync(directory, { recursive: true });
  return all.length;
}
