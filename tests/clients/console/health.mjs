// Whoever looks at the nodes while another one goes away and comes back. Says `healthy` when one may go, and `missed` when it may
// come back.
import { open, scenario, until } from "./browser.mjs";

await scenario({
  "a node that goes away is missed, and welcome when it is back": async (page) => {
    await open(page, "#/nodes", "Nodes");
    const table = page.getByRole("table", { name: "Nodes of the cluster" });
    const are = async (badge, count) => (await table.getByText(badge, { exact: true }).count()) === count;
    await until("three healthy nodes", async () => await are("healthy", 3));
    await page.getByText("No alarms.").waitFor();
    console.log("healthy");
    await until("one that is not", async () => await are("not healthy", 1));
    const alarm = page.getByRole("region", { name: "Alarms" }).getByRole("alert");
    await alarm.filter({ hasText: "node unreachable" }).waitFor();
    console.log("missed");
    await until("three healthy nodes again", async () => await are("healthy", 3));
    await page.getByText("No alarms.").waitFor();
  },
});
