// Whoever looks at a node that speaks TLS at its HTTP port, too.
import assert from "node:assert/strict";

import { open, rows, scenario, toka } from "./browser.mjs";

await scenario(
  {
    "the console follows over HTTP/2": async (page) => {
      await open(page, "#/events", "Events");
      const protocol = await page.evaluate(() => performance.getEntriesByType("navigation")[0].nextHopProtocol);
      assert.equal(protocol, "h2");
      await page.getByRole("status").filter({ hasText: "live" }).waitFor();
      await toka("commit", "over.http2", "{}");
      await rows(page).filter({ hasText: "over.http2" }).waitFor();
    },
  },
  // The browser does not know the CA of the tests.
  { ignoreHTTPSErrors: true },
);
