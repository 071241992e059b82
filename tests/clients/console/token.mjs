// Whoever looks at a cluster that asks who they are. TASKS has the text of a token that reads kinds under `task.`, TASKS_ID
// its id.
import assert from "node:assert/strict";

import { open, rows, scenario, toka, until, view } from "./browser.mjs";

const { TASKS, TASKS_ID } = process.env;
const asked = (page) => page.getByRole("heading", { level: 1, name: "Who asks?" });
const signIn = async (page, token) => {
  await page.getByLabel("Token").fill(token);
  await page.getByRole("button", { name: "Sign in" }).click();
};

for (const kind of ["task.one", "chat.secret", "task.two"]) await toka("commit", kind, "{}");

await scenario({
  "without a token nothing is shown": async (page) => {
    await page.goto(`${process.env.PAGE}#/events`);
    await asked(page).waitFor();
    assert.equal(await page.getByRole("navigation").count(), 0);
    assert.equal(await rows(page).count(), 0);
  },

  "a wrong token is not taken, nor kept": async (page) => {
    await signIn(page, `toka_${"0".repeat(16)}_${"A".repeat(43)}`);
    await page.getByRole("alert").filter({ hasText: "does not take this token" }).waitFor();
    assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  },

  "what is no token is not sent": async (page) => {
    let isSent = false;
    page.on("request", () => {
      isSent = true;
    });
    await signIn(page, "two words");
    assert.equal(isSent, false);
    await page.getByLabel("Token").fill("");
  },

  "a token of some kinds shows those kinds": async (page) => {
    await signIn(page, TASKS);
    await until("its events", async () => (await rows(page).count()) === 2);
    const kinds = await page.locator(".rows .kind").allTextContents();
    assert.deepEqual(kinds, ["task.two", "task.one"]);
    await page.getByText("tasks", { exact: true }).waitFor();
  },

  "it is kept in the tab alone": async (page, context) => {
    assert.deepEqual(await context.cookies(), []);
    const [session, local] = await page.evaluate(() => [Object.values(sessionStorage), Object.values(localStorage)]);
    assert.deepEqual(session, [TASKS]);
    assert.deepEqual(local, []);
    assert.ok(!page.url().includes("toka_"));
  },

  "what comes of other kinds stays hidden": async (page) => {
    await toka("commit", "chat.other", "{}");
    await toka("commit", "task.three", "{}");
    await rows(page).filter({ hasText: "task.three" }).waitFor();
    assert.equal(await rows(page).count(), 3);
  },

  "an event of another kind is not there": async (page) => {
    const secret = JSON.parse(await toka("log", "--kind", "chat.secret", "--output", "json"));
    await open(page, `#/events?event=${secret.sequence}`, "Events");
    await page.getByRole("alert").filter({ hasText: "Not there" }).waitFor();
  },

  "the nodes are shown to who reads some kinds": async (page) => {
    await view(page, "Nodes");
    await page.getByRole("table").getByText("healthy", { exact: true }).first().waitFor();
  },

  "signed out, it is forgotten": async (page) => {
    await page.getByRole("button", { name: "Sign out" }).click();
    await asked(page).waitFor();
    assert.equal(await page.evaluate(() => sessionStorage.length), 0);
    await page.reload();
    await asked(page).waitFor();
  },

  "a token that is revoked ends what it has opened": async (page) => {
    await signIn(page, TASKS);
    await view(page, "Events");
    await page.getByRole("status").filter({ hasText: "live" }).waitFor();
    await toka("auth", "token", "revoke", TASKS_ID);
    await asked(page).waitFor();
    assert.equal(await rows(page).count(), 0);
  },
});
