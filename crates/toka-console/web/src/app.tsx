// The frame around the views, and the question who asks.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import { auth, failure, hasToken, onUnauthenticated, setToken } from "./api";
import { hex } from "./format";
import { CredentialKind, type WhoAmIResponse } from "./gen/toka/vault/v1/auth_service_pb";
import { SignIn } from "./parts/sign_in";
import { href, useRoute, type View, VIEWS } from "./route";
import { Sampler } from "./sampler";
import { useTheme } from "./theme";
import { Events } from "./views/events";
import { Intents } from "./views/intents";
import { Lineage } from "./views/lineage";
import { Nodes } from "./views/nodes";
import { Throughput } from "./views/throughput";

const NAMES: Record<View, string> = {
  nodes: "Nodes",
  events: "Events",
  lineage: "Lineage",
  intents: "Intents",
  throughput: "Throughput",
};

type Standing = { is: "asking" } | { is: "outside"; message: string } | { is: "lost"; message: string } | { is: "inside"; who: WhoAmIResponse };

export function App() {
  const [standing, setStanding] = useState<Standing>({ is: "asking" });
  const [theme, toggleTheme] = useTheme();
  const ask = async () => {
    setStanding({ is: "asking" });
    try {
      const who = await auth.whoAmI({});
      const isNobody = who.isEnforced && who.credential === CredentialKind.NONE;
      setStanding(isNobody ? { is: "outside", message: "" } : { is: "inside", who });
    } catch (error) {
      const failed = failure(error);
      // Of a token that does not count the listener below has been told.
      if (failed) setStanding((now) => (now.is === "outside" ? now : { is: "lost", message: failed.text }));
    }
  };
  useEffect(() => {
    const stop = onUnauthenticated((message) => {
      const said = hasToken() ? `The node does not take this token: ${message}` : "";
      setToken(null);
      setStanding({ is: "outside", message: said });
    });
    void ask();
    return stop;
  }, []);
  const signIn = (token: string) => {
    setToken(token);
    void ask();
  };
  const signOut = () => {
    setToken(null);
    setStanding({ is: "outside", message: "" });
  };
  return (
    <>
      <Header theme={theme} toggleTheme={toggleTheme} who={standing.is === "inside" ? standing.who : null} signOut={signOut} />
      {standing.is === "asking" && <main class="narrow" aria-busy="true"><p role="status">Asking the node…</p></main>}
      {standing.is === "outside" && <SignIn message={standing.message} signIn={signIn} />}
      {standing.is === "lost" && (
        <main class="narrow">
          <p role="alert" class="failure">{standing.message}</p>
          <button type="button" onClick={() => void ask()}>Try again</button>
        </main>
      )}
      {standing.is === "inside" && <Inside theme={theme} />}
    </>
  );
}

interface HeaderProps {
  theme: string;
  toggleTheme: () => void;
  who: WhoAmIResponse | null;
  signOut: () => void;
}

function Header({ theme, toggleTheme, who, signOut }: HeaderProps) {
  const { view } = useRoute();
  const cluster = who?.header ? hex(who.header.clusterId).slice(0, 8) : "";
  const skip = () => document.querySelector<HTMLElement>("main")?.focus();
  return (
    <header class="top">
      <button type="button" class="skip" onClick={skip}>Skip to the content</button>
      <div class="brand">
        <img src="icon.svg" alt="" width="24" height="24" />
        <strong>Toka Vault</strong>
        {who?.header && <span class="muted" title="The cluster, and the node that answers">{cluster} · node {String(who.header.nodeId)}</span>}
      </div>
      {who && (
        <nav aria-label="Views">
          {VIEWS.map((name) => (
            <a key={name} href={href(name)} aria-current={name === view ? "page" : undefined}>{NAMES[name]}</a>
          ))}
        </nav>
      )}
      <div class="right">
        {who?.isEnforced && <span class="muted who" title="Who is signed in">{who.principal}</span>}
        {who?.isEnforced && hasToken() && <button type="button" onClick={signOut}>Sign out</button>}
        <button type="button" aria-pressed={theme === "dark"} onClick={toggleTheme}>Dark</button>
      </div>
    </header>
  );
}

function Inside({ theme }: { theme: string }) {
  const route = useRoute();
  const sampler = useMemo(() => new Sampler(), []);
  const main = useRef<HTMLElement>(null);
  const seen = useRef(route.view);
  useEffect(() => {
    sampler.start();
    return () => sampler.stop();
  }, [sampler]);
  useEffect(() => {
    document.title = `${NAMES[route.view]} – Toka Vault`;
    // Whoever has followed a link reads on there, also with a screen reader; not at the first look.
    if (seen.current !== route.view) main.current?.focus({ preventScroll: true });
    seen.current = route.view;
  }, [route.view]);
  return (
    <main ref={main} tabIndex={-1} aria-label={NAMES[route.view]}>
      {route.view === "nodes" && <Nodes sampler={sampler} />}
      {route.view === "events" && <Events parameters={route.parameters} />}
      {route.view === "lineage" && <Lineage parameters={route.parameters} />}
      {route.view === "intents" && <Intents parameters={route.parameters} />}
      {route.view === "throughput" && <Throughput sampler={sampler} theme={theme} />}
    </main>
  );
}
