// Whoever comes to a node by a name of DNS that leads to ADDRESS, as a page from elsewhere could make a browser do.
import { PAGE, scenario } from "./browser.mjs";

const { ADDRESS } = process.env;

// A page over plain HTTP, at a name, is not to be trusted: there the browser passes over what would isolate it.
const ISOLATION = "Cross-Origin-Opener-Policy header has been ignored";

await scenario(
  {
    "a node that asks nobody answers to no name of DNS": async (page) => {
      await page.goto(PAGE);
      const told = page.getByRole("alert").filter({ hasText: "and at names in allowed_hosts" });
      await told.waitFor();
    },
  },
  { flags: [`--host-resolver-rules=MAP ${new URL(PAGE).hostname} ${ADDRESS}`], tolerated: ["403", ISOLATION] },
);
