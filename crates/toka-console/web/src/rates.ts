// What the cluster was like at some moments, and what it has done in between.

/** Longest time between two samples that are compared, seconds: a page that was not seen has asked nobody. */
const APART_MAX = 10;

export interface Sample {
  /** Seconds since the Unix epoch, by the browser's clock. */
  at: number;
  /** Of the node that answered. */
  sequence: number;
  revision: number;
  /** What each node has and lacks; a node that did not answer has none. */
  nodes: Map<number, { sequence: number; applied: number; lag: number | null }>;
}

/** What came in a second between two samples; `null` where nobody knows. */
export function rates(samples: readonly Sample[], of: (sample: Sample) => number): (number | null)[] {
  return samples.map((sample, index) => {
    const before = samples[index - 1];
    if (!before) return null;
    const [seconds, grown] = [sample.at - before.at, of(sample) - of(before)];
    // Another node may have answered, which is behind.
    return seconds <= 0 || seconds > APART_MAX || grown < 0 ? null : grown / seconds;
  });
}
