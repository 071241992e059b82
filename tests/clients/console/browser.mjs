// A browser that looks at the console, and what no page of it may do.
//
// Told by the environment: MODULES, where playwright-core is installed; PAGE, where the console is; TOKA, the program;
// TOKA_ENDPOINTS and TOKA_TOKEN as it knows them; CHROMIUM, the browser, if it is not where it is looked for.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { promisify } from "node:util";

const { MODULES, TOKA } = process.env;
export const { PAGE } = process.env;
const { chromium } = createRequire(`${MODULES}/package.json`)("playwright-core");
const BROWSERS = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/lib/chromium/chromium"];
/** Nothing takes nearly as long; what does hangs. */
export const PATIENCE = 60_000;

const run = promisify(execFile);

/** Runs `toka`; what it writes. */
export async function toka(...given) {
  const { stdout } = await run(TOKA, given, { maxBuffer: 1 << 24 });
  return stdout;
}

/**
 * Runs steps, each with its name, on one page; `tolerated` are messages of the browser that a scenario brings about, `flags` are
 * the browser's own.
 */
export async function scenario(steps, { tolerated = [], flags = [], ignoreHTTPSErrors = false } = {}) {
  const executablePath = process.env.CHROMIUM ?? BROWSERS.find((path) => existsSync(path));
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage", ...flags] });
  const viewport = { width: 1280, height: 800 };
  const context = await browser.newContext({ viewport, timezoneId: "UTC", locale: "en-GB", ignoreHTTPSErrors });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  const complaints = [];
  const origin = new URL(PAGE).origin;
  page.on("pageerror", (error) => complaints.push(`error: ${error.stack ?? error}`));
  page.on("dialog", (dialog) => {
    complaints.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  page.on("console", (message) => {
    const isTolerated = tolerated.some((text) => message.text().includes(text));
    if (["error", "warning"].includes(message.type()) && !isTolerated) complaints.push(`console: ${message.text()}`);
  });
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== origin) complaints.push(`request: ${request.url()}`);
  });
  let step = "";
  try {
    for (const [name, work] of Object.entries(steps)) {
      step = name;
      await work(page, context);
      assert.deepEqual(complaints, [], "the browser complains");
      console.log(`ok ${name}`);
    }
  } catch (error) {
    const text = await page.locator("body").innerText().catch(() => "");
    console.error(`${step}: ${error.stack ?? error}\ncomplaints: ${complaints.join("\n")}\nthe page:\n${text.slice(0, 4_000)}`);
    process.exitCode = 1;
  } finally {
    await browser.close();
  }
}

/** Opens a view as whoever follows a link to it, and waits for its heading. */
export async function open(page, hash, heading) {
  await page.goto("about:blank");
  await page.goto(`${PAGE}${hash}`);
  await page.getByRole("heading", { level: 1, name: heading }).waitFor();
}

/** Clicks on the view in the bar above. */
export async function view(page, name) {
  await page.getByRole("navigation", { name: "Views" }).getByRole("link", { name }).click();
  await page.getByRole("heading", { level: 1, name }).waitFor();
}

/** The rows of the list of events. */
export function rows(page) {
  return page.getByRole("listbox", { name: "Events, newest first" }).getByRole("option");
}

/** The sequence that a row shows; also of one that is out of sight, of which no text is laid out. */
export async function sequenceOf(row) {
  return await row.locator("span").first().textContent();
}

/** Waits until `found` comes to something that holds. */
export async function until(what, found) {
  const end = Date.now() + PATIENCE;
  let last;
  while (Date.now() < end) {
    last = await found();
    if (last) return last;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${what}: not in ${PATIENCE} ms`);
}
