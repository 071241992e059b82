import { useRef } from "preact/hooks";

interface Props {
  message: string;
  signIn: (token: string) => void;
}

export function SignIn({ message, signIn }: Props) {
  const input = useRef<HTMLInputElement>(null);
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const token = input.current?.value.trim() ?? "";
    // What cannot stand in a header is no token.
    if (/^[\x21-\x7e]+$/.test(token)) signIn(token);
    else input.current?.focus();
  };
  return (
    <main class="narrow" tabIndex={-1}>
      <h1>Who asks?</h1>
      <p>This node shows what it has to those who may read it. A token with the role <code>reader</code> is enough:</p>
      <pre>toka auth token create me --role reader --expires-in 8h</pre>
      {message && <p role="alert" class="failure">{message}</p>}
      <form onSubmit={submit}>
        <label for="token">Token</label>
        <input ref={input} id="token" type="password" required autocomplete="off" spellcheck={false} autofocus />
        <button type="submit">Sign in</button>
      </form>
      <p class="muted">It is kept in this tab until the tab is closed, and is sent to this node alone.</p>
    </main>
  );
}
