// The state of the cluster, asked for every two seconds while the page is seen, and what has become of it.

import type { GetStatusResponse } from "./gen/toka/vault/v1/cluster_service_pb";
import { cluster, type Failure, failure } from "./api";
import type { Sample } from "./rates";

const INTERVAL_MS = 2_000;
/** Half an hour. */
const SAMPLES_MAX = 900;

export class Sampler {
  samples: Sample[] = [];
  status: GetStatusResponse | null = null;
  failure: Failure | null = null;
  private history = "";
  private timer = 0;
  private stopped = true;
  private asking: AbortController | null = null;
  private readonly listeners = new Set<() => void>();

  start(): void {
    if (!this.stopped) return;
    this.stopped = false;
    document.addEventListener("visibilitychange", this.seen);
    void this.ask();
  }

  stop(): void {
    this.stopped = true;
    document.removeEventListener("visibilitychange", this.seen);
    clearTimeout(this.timer);
    this.asking?.abort();
  }

  listen(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  private readonly seen = () => {
    if (document.hidden || this.stopped || this.asking) return;
    clearTimeout(this.timer);
    void this.ask();
  };

  private async ask(): Promise<void> {
    const asking = new AbortController();
    this.asking = asking;
    try {
      const status = await cluster.getStatus({}, { signal: asking.signal });
      this.failure = null;
      this.status = status;
      this.keep(status);
    } catch (error) {
      const failed = failure(error, asking.signal);
      if (failed) this.failure = failed;
    }
    this.asking = null;
    if (this.stopped) return;
    this.listeners.forEach((listener) => listener());
    if (!document.hidden) this.timer = window.setTimeout(() => void this.ask(), INTERVAL_MS);
  }

  private keep(status: GetStatusResponse): void {
    const { header } = status;
    if (!header) return;
    const history = header.historyId.join();
    // Positions of another history cannot be compared.
    if (history !== this.history) this.samples = [];
    this.history = history;
    const nodes: Sample["nodes"] = new Map();
    for (const node of status.nodes) {
      if (node.version === "") continue;
      nodes.set(Number(node.nodeId), {
        sequence: Number(node.sequence),
        applied: Number(node.appliedLogIndex),
        lag: node.lagEntries === undefined ? null : Number(node.lagEntries),
      });
    }
    const sample = { at: Date.now() / 1000, sequence: Number(header.sequence), revision: Number(header.revision), nodes };
    this.samples = [...this.samples, sample].slice(-SAMPLES_MAX);
  }
}
