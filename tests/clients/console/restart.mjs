// Whoever looks on while the node that they look at goes away and comes back. Says `open` when it may go, and ends when an
// event of the kind `after.restart` is shown.
import { open, rows, scenario } from "./browser.mjs";

await scenario(
  {
    "what is followed goes on when the node is back": async (page) => {
      await open(page, "#/events", "Events");
      await page.getByRole("status").filter({ hasText: "live" }).waitFor();
      console.log("open");
      await page.getByRole("status").filter({ hasText: "trying again" }).waitFor();
      await rows(page).filter({ hasText: "after.restart" }).waitFor();
      await page.getByRole("status").filter({ hasText: "live" }).waitFor();
    },
  },
  { tolerated: ["Failed to load resource", "net::ERR_"] },
);
