// The vault's own services, by gRPC-web. The page has no other API: what it may see is decided where it is for all clients.

import { Code, ConnectError, createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

import { AuthService } from "./gen/toka/vault/v1/auth_service_pb";
import { ClusterService } from "./gen/toka/vault/v1/cluster_service_pb";
import { IntentService } from "./gen/toka/vault/v1/intent_service_pb";
import { LineageService } from "./gen/toka/vault/v1/lineage_service_pb";
import { VaultService } from "./gen/toka/vault/v1/vault_service_pb";

const TOKEN = "toka-token";
const CALL_MS = 15_000;
const REASON_LETTERS_MAX = 500;

let token = sessionStorage.getItem(TOKEN);
const listeners = new Set<(message: string) => void>();

/** Called when the node wants to know who asks, or does not take the token. */
export function onUnauthenticated(listener: (message: string) => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Kept for this tab alone, and sent in a header: no cookie, nothing that another page could make a browser send. */
export function setToken(text: string | null): void {
  token = text;
  if (text === null) sessionStorage.removeItem(TOKEN);
  else sessionStorage.setItem(TOKEN, text);
}

export function hasToken(): boolean {
  return token !== null;
}

const shows: Interceptor = (next) => async (request) => {
  if (token !== null) request.header.set("authorization", `Bearer ${token}`);
  return await next(request);
};

/** As the browser's, but that a refusal of the port itself is told in its words. */
const asked: typeof fetch = async (input, init) => {
  const answer = await fetch(input, { ...init, credentials: "omit", redirect: "error", referrerPolicy: "no-referrer" });
  if (answer.status !== 403) return answer;
  const why = (await answer.text()).trim().slice(0, REASON_LETTERS_MAX);
  throw new ConnectError(why || "HTTP 403", Code.PermissionDenied);
};

const transport = createGrpcWebTransport({
  baseUrl: new URL("api", document.baseURI).href,
  useBinaryFormat: true,
  interceptors: [shows],
  defaultTimeoutMs: CALL_MS,
  fetch: asked,
});

export const auth = createClient(AuthService, transport);
export const cluster = createClient(ClusterService, transport);
export const intents = createClient(IntentService, transport);
export const lineage = createClient(LineageService, transport);
export const vault = createClient(VaultService, transport);

/** A stream that goes on until it is aborted: without a deadline. */
export const FOLLOWING = { timeoutMs: 0 };

export interface Failure {
  code: Code;
  text: string;
}

/** What has failed, for people; whoever has to show a token is asked for it. `null`: the caller itself has ended the call. */
export function failure(error: unknown, signal?: AbortSignal): Failure | null {
  if (signal?.aborted) return null;
  const { code, rawMessage } = ConnectError.from(error);
  if (code === Code.Canceled) return null;
  if (code === Code.Unauthenticated) listeners.forEach((listener) => listener(rawMessage));
  const known: Partial<Record<Code, string>> = {
    [Code.PermissionDenied]: "Not allowed",
    [Code.NotFound]: "Not there",
    [Code.Unavailable]: "Not available",
    [Code.DeadlineExceeded]: "No answer in time",
    [Code.ResourceExhausted]: "Too much",
  };
  const kind = known[code];
  return { code, text: kind ? `${kind}: ${rawMessage}` : rawMessage };
}
