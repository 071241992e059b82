// Events that match a filter: the last ones, and then those that come.

import { Code, ConnectError } from "@connectrpc/connect";

import { type Failure, FOLLOWING, failure, vault } from "./api";
import type { Event } from "./gen/toka/vault/v1/event_pb";
import { Order } from "./gen/toka/vault/v1/vault_service_pb";

/** Events that are kept; older ones are let go. */
export const EVENTS_MAX = 1_000;
const PAGE = 100;
/** What came in this time is shown together. */
const SHOW_MS = 150;
const SILENCE_MS = 10_000;
/** After which nobody looks any more: browsers have few connections to a node, and nodes have others to serve. */
const UNSEEN_MS = 30_000;
/** Events that have come meanwhile, matching or not, above which the last ones are read anew. */
const GAP_MAX = 10_000n;
const RETRY_MS = 1_000;
const RETRY_MS_MAX = 30_000;
/** What was shown is too old to be gone on with. */
class Outdated extends Error {}

/** Waits until somebody looks, or nobody will. */
function seen(ended: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const changed = () => {
      if (document.hidden && !ended.aborted) return;
      document.removeEventListener("visibilitychange", changed);
      resolve();
    };
    document.addEventListener("visibilitychange", changed);
    ended.addEventListener("abort", changed, { once: true });
    changed();
  });
}

/** Pages that are looked at for a first match: each is the result of a bounded search. */
const EMPTY_PAGES_MAX = 20;

export interface Wanted {
  kindPrefixes: string[];
  attributes: { name: string; value: string }[];
  intents: bigint[];
  /** Milliseconds since the Unix epoch; 0: no bound. */
  from: number;
  until: number;
}

export type FeedState = "loading" | "live" | "paused" | "ended" | "retrying" | "failed";

export class Feed {
  /** Newest first. */
  events: Event[] = [];
  state: FeedState = "loading";
  failure: Failure | null = null;
  /** What has come while it is paused. */
  waiting = 0;
  hasOlder = false;
  isLoadingOlder = false;

  private held: Event[] = [];
  private after = 0n;
  private historyId: Uint8Array = new Uint8Array();
  private olderToken = "";
  private isPaused = false;
  private shownAt = 0;
  private readonly ending = new AbortController();

  constructor(
    private readonly wanted: Wanted,
    private readonly changed: () => void,
  ) {
    void this.run();
  }

  end(): void {
    this.ending.abort();
    clearTimeout(this.shownAt);
  }

  pause(isPaused: boolean): void {
    this.isPaused = isPaused;
    if (!isPaused) this.release();
    if (this.isFollowing) this.state = isPaused ? "paused" : "live";
    this.changed();
  }

  async loadOlder(): Promise<void> {
    if (!this.hasOlder || this.isLoadingOlder || this.events.length >= EVENTS_MAX) return;
    this.isLoadingOlder = true;
    this.changed();
    try {
      await this.page();
    } catch (error) {
      this.failure = failure(error, this.ending.signal);
    }
    this.isLoadingOlder = false;
    this.changed();
  }

  private get isFollowing(): boolean {
    return this.state === "live" || this.state === "paused";
  }

  private forget(): void {
    [this.events, this.held, this.waiting, this.after] = [[], [], 0, 0n];
    [this.olderToken, this.hasOlder] = ["", false];
  }

  private get filter() {
    const { kindPrefixes, attributes, intents } = this.wanted;
    return { kindPrefixes, attributes, intents };
  }

  /** Reads pages, backwards, until something was found. */
  private async page(): Promise<void> {
    for (let pages = 0; pages < EMPTY_PAGES_MAX; pages += 1) {
      const request = {
        filter: this.filter,
        order: Order.DESCENDING,
        pageSize: PAGE,
        pageToken: this.olderToken,
        fromUnixMs: BigInt(this.wanted.from),
        untilUnixMs: BigInt(this.wanted.until),
      };
      const answer = await vault.list(request, { signal: this.ending.signal });
      this.historyId = answer.header?.historyId ?? this.historyId;
      // The first page is of all events up to here.
      if (this.after === 0n) this.after = answer.header?.sequence ?? 0n;
      this.events = [...this.events, ...answer.events].slice(0, EVENTS_MAX);
      this.olderToken = answer.nextPageToken;
      this.hasOlder = answer.nextPageToken !== "";
      if (answer.events.length > 0 || !this.hasOlder) return;
    }
  }

  private async run(): Promise<void> {
    const { signal } = this.ending;
    let wait = RETRY_MS;
    let isListed = false;
    while (!signal.aborted) {
      try {
        await seen(signal);
        if (!isListed) {
          await this.page();
          isListed = true;
        }
        if (this.wanted.until > 0) {
          this.state = "ended";
          this.changed();
          return;
        }
        this.changed();
        await this.follow(() => {
          wait = RETRY_MS;
          if (this.isFollowing) return;
          this.failure = null;
          this.state = this.isPaused ? "paused" : "live";
          this.changed();
        });
        this.state = "retrying";
        this.changed();
      } catch (error) {
        const failed = error instanceof Outdated ? null : failure(error, signal);
        if (signal.aborted) return;
        this.failure = failed;
        // OUT_OF_RANGE, FAILED_PRECONDITION: the vault is another one by now, it was restored.
        const isOther = failed && [Code.OutOfRange, Code.FailedPrecondition].includes(failed.code);
        if (isOther || error instanceof Outdated) {
          this.forget();
          isListed = false;
        }
        const isFinal = [Code.Unauthenticated, Code.PermissionDenied, Code.InvalidArgument, Code.NotFound];
        this.state = failed && isFinal.includes(failed.code) ? "failed" : "retrying";
        this.changed();
        if (this.state === "failed") return;
      }
      await new Promise((resolve) => setTimeout(resolve, wait));
      wait = Math.min(wait * 2, RETRY_MS_MAX);
    }
  }

  private async follow(heard: () => void): Promise<void> {
    const start = { case: "afterSequence" as const, value: this.after };
    const request = { start, filter: this.filter, read: { historyId: this.historyId } };
    // A stream says every second where it is: one that says nothing is lost, whatever the browser thinks of it.
    const lost = new AbortController();
    const within = (reason: string, ms: number) => window.setTimeout(() => lost.abort(reason), ms);
    let silence = within("silence", SILENCE_MS);
    let unseen = 0;
    const looked = () => {
      clearTimeout(unseen);
      if (document.hidden && !this.isPaused) unseen = within("unseen", UNSEEN_MS);
    };
    document.addEventListener("visibilitychange", looked);
    const signal = AbortSignal.any([this.ending.signal, lost.signal]);
    try {
      for await (const { header, message } of vault.subscribe(request, { signal, ...FOLLOWING })) {
        if (header && header.sequence > this.after + GAP_MAX && !this.isFollowing) throw new Outdated();
        heard();
        clearTimeout(silence);
        silence = within("silence", SILENCE_MS);
        if (message.case === "checkpoint" && message.value.sequence > this.after) this.after = message.value.sequence;
        if (message.case === "event") this.take(message.value);
      }
    } catch (error) {
      if (lost.signal.reason === "unseen") return;
      if (lost.signal.reason === "silence") throw new ConnectError("the node says nothing", Code.Unavailable);
      throw error;
    } finally {
      clearTimeout(silence);
      clearTimeout(unseen);
      document.removeEventListener("visibilitychange", looked);
    }
  }

  private take(event: Event): void {
    this.after = event.sequence;
    // The stream may begin before where the list has ended.
    if (Number(event.unixMs) < this.wanted.from || event.sequence <= (this.events[0]?.sequence ?? 0n)) return;
    this.held.unshift(event);
    if (this.held.length > EVENTS_MAX) {
      this.held.length = EVENTS_MAX;
    }
    if (this.shownAt !== 0) return;
    this.shownAt = window.setTimeout(() => {
      this.shownAt = 0;
      if (!this.isPaused) this.release();
      this.waiting = this.held.length;
      this.changed();
    }, SHOW_MS);
  }

  private release(): void {
    const all = [...this.held, ...this.events];
    // Where events were let go, the next page would not be the one behind the last.
    if (all.length > EVENTS_MAX) this.hasOlder = false;
    this.events = all.slice(0, EVENTS_MAX);
    this.held = [];
    this.waiting = 0;
  }
}
