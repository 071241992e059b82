// Whoever looks at a cluster on which nobody has to show a token: clicks, keys, sizes, themes.
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";

import { open, rows, scenario, sequenceOf, toka, until, view } from "./browser.mjs";
import { HARM, store } from "./history.mjs";

const stored = await store();
const { IMAGES } = process.env;
/** A picture of a load needs some of it. */
const PICTURE_MS = 24_000;
const VIEWS = ["nodes", "events", "lineage?event=120", "intents", "throughput"];

const background = (page) => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
const details = (page) => page.getByRole("complementary", { name: "Event", exact: true });
const spots = (page) => page.locator(".spot");
const focused = (page) => page.evaluate(() => document.activeElement?.getAttribute("aria-label") ?? document.activeElement?.textContent);
/** The sequence of the event in the graph that has the focus. */
const drawn = async (page) => Number(/ (\d+) · /.exec(await focused(page))?.[1]);

await scenario({
  "the nodes and their health are shown": async (page) => {
    await open(page, "", "Nodes");
    const table = page.getByRole("table", { name: "Nodes of the cluster" });
    await until("three healthy nodes", async () => (await table.getByText("healthy", { exact: true }).count()) === 3);
    assert.equal(await table.getByText("leader", { exact: true }).count(), 1);
    assert.equal(await table.getByText("follower", { exact: true }).count(), 2);
  },

  "a click leads to the events, newest first": async (page) => {
    await view(page, "Events");
    await until("a page of events", async () => (await rows(page).count()) === 100);
    assert.equal(await sequenceOf(rows(page).first()), String(stored));
  },

  "older ones come when they are asked for": async (page) => {
    await page.getByRole("button", { name: "Older" }).click();
    await until("another page", async () => (await rows(page).count()) === 200);
  },

  "what is committed comes by itself": async (page) => {
    await page.getByRole("status").filter({ hasText: "live" }).waitFor();
    await toka("commit", "live.first", '{"n":1}');
    await rows(page).filter({ hasText: "live.first" }).waitFor();
    assert.match(await rows(page).first().textContent(), /live\.first/);
  },

  "a pause holds it back, and nothing is lost": async (page) => {
    await page.getByRole("button", { name: "Pause" }).click();
    await toka("commit", "live.second", "{}");
    const follow = page.getByRole("button", { name: "Follow (1 new)" });
    await follow.waitFor();
    assert.equal(await rows(page).filter({ hasText: "live.second" }).count(), 0);
    await follow.click();
    await rows(page).filter({ hasText: "live.second" }).waitFor();
  },

  "a filter by kind selects": async (page) => {
    await page.getByLabel("Kind begins with").fill("task., live.first");
    await page.getByRole("button", { name: "Filter" }).click();
    const kinds = page.locator(".rows .kind");
    await until("others are gone", async () => {
      const texts = await kinds.allTextContents();
      return texts.length > 50 && texts.every((kind) => kind.startsWith("task.") || kind === "live.first");
    });
  },

  "a filter by attribute and time selects, also what comes": async (page) => {
    await page.getByRole("button", { name: "Clear" }).click();
    await page.getByLabel("Attribute").fill("prio=urgent");
    await page.getByLabel("From").fill("15m");
    await page.getByRole("button", { name: "Filter" }).click();
    await page.getByText("Nothing matches yet.").waitFor();
    await toka("commit", "live.urgent", "{}", "--attribute", "prio=urgent");
    await until("the one that matches", async () => (await rows(page).count()) === 1);
  },

  "a filter that cannot be read is said": async (page) => {
    await page.getByLabel("Intent").fill("many");
    await page.getByRole("button", { name: "Filter" }).click();
    await page.getByRole("alert").filter({ hasText: "it is a number" }).waitFor();
    await page.getByRole("button", { name: "Clear" }).click();
  },

  "an event is shown in full": async (page) => {
    await open(page, "#/events?kind=task.", "Events");
    const row = rows(page).first();
    const sequence = await sequenceOf(row);
    await row.click();
    await details(page).getByRole("heading", { name: `Event ${sequence}` }).waitFor();
    const payload = JSON.parse(await details(page).locator("pre.payload").innerText());
    assert.equal(payload.step, Number(sequence) - 1);
    assert.match(await details(page).innerText(), /MessagePack/);
    await until("its parents are there", async () => (await details(page).getByRole("region", { name: "Parents" }).getByRole("button").count()) > 0);
  },

  "a parent leads back to its child": async (page) => {
    const heading = details(page).getByRole("heading", { level: 2 });
    const child = (await heading.innerText()).replace("Event ", "");
    await details(page).getByRole("region", { name: "Parents" }).getByRole("button").first().click();
    await until("the parent", async () => (await heading.innerText()) !== `Event ${child}`);
    const children = details(page).getByRole("region", { name: "Children" }).getByRole("button");
    await children.filter({ hasText: new RegExp(`^${child}\\b`) }).click();
    await until("the child", async () => (await heading.innerText()) === `Event ${child}`);
  },

  "what means harm is text": async (page) => {
    await open(page, `#/events?kind=harm.`, "Events");
    await rows(page).filter({ hasText: HARM }).click();
    await details(page).getByText("<script>alert(2)</script>").waitFor();
    assert.equal(await page.locator("img[src=x], #console script").count(), 0);
    await details(page).getByRole("link", { name: "Lineage" }).click();
    await page.locator(".box").first().waitFor();
    assert.equal(await page.locator("img[src=x], #console script").count(), 0);
  },

  "the lineage of an event is a graph that is walked with keys": async (page) => {
    await open(page, "#/lineage", "Lineage");
    await page.getByLabel("Event: its sequence, id or digest").fill("120");
    await page.getByRole("button", { name: "Show" }).click();
    const boxes = page.locator(".box");
    await until("relatives on both sides", async () => (await boxes.count()) > 5);
    assert.ok((await page.locator(".edge").count()) > 4);
    await page.locator(".box.root").focus();
    await page.keyboard.press("ArrowLeft");
    assert.ok((await drawn(page)) < 120);
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("ArrowRight");
    const reached = await drawn(page);
    assert.ok(reached >= 120);
    await page.keyboard.press("Enter");
    await details(page).getByRole("heading", { name: `Event ${reached}` }).waitFor();
    await page.keyboard.press("Escape");
    await details(page).waitFor({ state: "detached" });
  },

  "the graph grows with the steps, and becomes larger": async (page) => {
    const before = await page.locator(".box").count();
    await page.getByLabel("Steps").selectOption("5");
    await until("more events", async () => (await page.locator(".box").count()) > before);
    const scale = () => page.locator(".picture svg > g").getAttribute("transform");
    const small = await scale();
    await page.getByRole("button", { name: "Larger" }).click();
    await until("it is larger", async () => (await scale()) !== small);
  },

  "the intents are a map with examples": async (page) => {
    await view(page, "Intents");
    await until("some intents", async () => (await spots(page).count()) >= 3);
    await spots(page).first().click();
    const intent = page.getByRole("complementary", { name: "Intent", exact: true });
    await until("its examples", async () => (await intent.locator(".example").count()) >= 3);
    const id = (await intent.getByRole("heading", { level: 2 }).innerText()).replace("Intent ", "");
    await intent.getByRole("link", { name: "Its events" }).click();
    await page.getByRole("heading", { level: 1, name: "Events" }).waitFor();
    assert.equal(await page.getByLabel("Intent").inputValue(), id);
    await until("its events and no others", async () => {
      const shown = await page.locator(".rows .row > :nth-child(5)").allTextContents();
      return shown.length >= 5 && shown.every((intent) => intent === id);
    });
  },

  "throughput and lag are drawn": async (page) => {
    await view(page, "Throughput");
    await until("some samples", async () => (await page.locator(".latest").first().innerText()).match(/events [0-9]/));
    assert.equal(await page.locator(".plot canvas").count(), 3);
    const lag = page.getByRole("region", { name: "Lag" });
    await until("the lag of each", async () => (await lag.innerText()).match(/node 1 \d+, node 2 \d+, node 3 \d+/));
    const isDrawn = await page.locator(".plot canvas").first().evaluate((canvas) => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      return data.some((part) => part !== 0);
    });
    assert.ok(isDrawn);
  },

  "everything is reached with keys alone": async (page) => {
    await open(page, "", "Nodes");
    await page.keyboard.press("Tab");
    assert.equal(await focused(page), "Skip to the content");
    for (const name of ["Nodes", "Events"]) {
      await page.keyboard.press("Tab");
      assert.equal(await focused(page), name);
    }
    await page.keyboard.press("Enter");
    await until("events", async () => (await rows(page).count()) > 50);
    await page.keyboard.press("/");
    await page.keyboard.type("tool.");
    await page.keyboard.press("Enter");
    await until("only those", async () => {
      const kinds = await page.locator(".rows .kind").allTextContents();
      // While they are looked for there are none.
      return kinds.length > 2 && kinds.every((kind) => kind.startsWith("tool."));
    });
    await page.keyboard.press("Escape");
    assert.equal(await focused(page), "Events, newest first");
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("ArrowDown");
    const second = await sequenceOf(rows(page).nth(1));
    await page.keyboard.press("Enter");
    await details(page).getByRole("heading", { name: `Event ${second}` }).waitFor();
    await page.keyboard.press("ArrowDown");
    const third = await sequenceOf(rows(page).nth(2));
    await details(page).getByRole("heading", { name: `Event ${third}` }).waitFor();
    await page.keyboard.press("Escape");
    await details(page).waitFor({ state: "detached" });
  },

  "it is dark where the system is, or where the reader wants it": async (page) => {
    await page.emulateMedia({ colorScheme: "light" });
    await open(page, "", "Nodes");
    const light = await background(page);
    await page.emulateMedia({ colorScheme: "dark" });
    await until("it is dark", async () => (await background(page)) !== light);
    await page.getByRole("button", { name: "Dark" }).click();
    await until("it is light again", async () => (await background(page)) === light);
    await open(page, "#/events", "Events");
    assert.equal(await background(page), light);
    await page.getByRole("button", { name: "Dark" }).click();
    await page.emulateMedia({ colorScheme: "light" });
    await until("it follows the system again", async () => (await background(page)) === light);
  },

  "nothing is wider than a narrow window": async (page) => {
    for (const width of [360, 700, 1600]) {
      await page.setViewportSize({ width, height: 740 });
      for (const hash of VIEWS) {
        await open(page, `#/${hash}`, /./);
        const wide = await page.evaluate(() => document.documentElement.scrollWidth);
        assert.ok(wide <= width, `${hash}: ${wide} of ${width}`);
      }
    }
    await page.setViewportSize({ width: 1280, height: 800 });
  },

  "pictures are taken where they are wanted": async (page) => {
    if (!IMAGES) return;
    mkdirSync(IMAGES, { recursive: true });
    const picture = (name) => page.screenshot({ path: join(IMAGES, `console-${name}.png`) });
    await open(page, "#/events?event=200", "Events");
    await details(page).locator("pre.payload").waitFor();
    await until("its children", async () => (await page.getByText("Reading…").count()) === 0);
    await picture("events");
    await open(page, "#/lineage?event=120&depth=2", "Lineage");
    await page.locator(".box.root").focus();
    await picture("lineage");
    await open(page, "#/intents", "Intents");
    await until("the map", async () => (await spots(page).count()) >= 3);
    await picture("intents");
    await page.emulateMedia({ colorScheme: "dark" });
    await open(page, "#/nodes", "Nodes");
    await page.getByRole("table").waitFor();
    await picture("nodes");
    await view(page, "Throughput");
    const end = Date.now() + PICTURE_MS;
    for (let turn = 0; Date.now() < end; turn += 1) {
      await toka("commit", "task.step", `{"turn":${turn}}`);
      await page.waitForTimeout(turn % 40);
    }
    await picture("throughput");
  },
});
