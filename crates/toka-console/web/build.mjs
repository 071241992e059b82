// Builds the console: types from the protos, a check of the types, tests, one bundle, and the licences of what is in it.
//
// node build.mjs --buf PROGRAM --out DIRECTORY
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";

const HERE = dirname(fileURLToPath(import.meta.url));
const PROTO = resolve(HERE, "../../../proto");
// What a browser is sent, compressed as a proxy would.
const GZIP_BYTES_MAX = 300 * 1024;
const LICENCE = /^(licen[cs]e|copying|notice)/i;

const { values } = parseArgs({ options: { buf: { type: "string" }, out: { type: "string" } } });
if (!values.buf || !values.out) {
  throw new Error("usage: node build.mjs --buf PROGRAM --out DIRECTORY");
}
const OUT = resolve(values.out);

function generate(buf) {
  const generated = join(HERE, "src/gen");
  rmSync(generated, { recursive: true, force: true });
  const plugin = join(HERE, "node_modules/@bufbuild/protoc-gen-es/bin/protoc-gen-es");
  const template = {
    version: "v2",
    plugins: [{ local: [process.execPath, plugin], out: generated, opt: ["target=ts", "import_extension=none"] }],
  };
  const only = ["--path", join(PROTO, "toka/vault/v1")];
  execFileSync(buf, ["generate", PROTO, "--template", JSON.stringify(template), ...only], { stdio: "inherit" });
}

function checkTypes() {
  const tsc = join(HERE, "node_modules/typescript/bin/tsc");
  execFileSync(process.execPath, [tsc, "--project", HERE], { stdio: "inherit" });
}

/** Runs the tests of what needs no browser. */
async function test() {
  const { build } = await import("esbuild");
  const directory = mkdtempSync(join(tmpdir(), "toka-console-"));
  const tests = readdirSync(join(HERE, "tests")).filter((name) => name.endsWith(".test.mjs"));
  try {
    await build({
      absWorkingDir: HERE,
      entryPoints: tests.map((name) => `tests/${name}`),
      bundle: true,
      platform: "node",
      format: "esm",
      outdir: directory,
      outExtension: { ".js": ".mjs" },
      logLevel: "warning",
    });
    const built = tests.map((name) => join(directory, name));
    execFileSync(process.execPath, ["--test", "--test-reporter=dot", ...built], { stdio: "inherit", env: {} });
  } finally {
    rmSync(directory, { recursive: true });
  }
}

async function bundle() {
  const { build } = await import("esbuild");
  const result = await build({
    absWorkingDir: HERE,
    entryPoints: { console: "src/main.tsx" },
    bundle: true,
    minify: true,
    format: "iife",
    target: ["es2022"],
    charset: "utf8",
    legalComments: "none",
    define: { "process.env.NODE_ENV": '"production"' },
    outdir: OUT,
    write: false,
    metafile: true,
    logLevel: "warning",
  });
  const files = result.outputFiles.map(({ path, contents }) => [path.slice(OUT.length + 1), Buffer.from(contents)]);
  return { files: new Map(files), inputs: Object.keys(result.metafile.inputs) };
}

/** Packages that are in the bundle, with the texts of their licences. */
function notices(inputs) {
  const names = new Set();
  for (const input of inputs) {
    const parts = input.split("node_modules/");
    if (parts.length < 2) continue;
    const path = parts.at(-1).split("/");
    names.add(path[0].startsWith("@") ? `${path[0]}/${path[1]}` : path[0]);
  }
  const list = [];
  const users = new Map();
  for (const name of [...names].sort()) {
    const root = join(HERE, "node_modules", name);
    const { version, license } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    const label = `${name} ${version}`;
    list.push(`${label}: ${license}`);
    let files = readdirSync(root).filter((file) => LICENCE.test(file)).map((file) => join(root, file));
    // Those that come without the text, of a licence whose text is the same for all.
    if (files.length === 0 && license.includes("Apache-2.0")) files = [resolve(HERE, "../../../LICENSE-APACHE")];
    if (files.length === 0) throw new Error(`${label} (${license}) comes without the text of its licence`);
    for (const file of files.sort()) {
      const text = readFileSync(file, "utf8").replaceAll("\r", "").trimEnd();
      users.set(text, [...(users.get(text) ?? []), label]);
    }
  }
  const rule = `\n${"-".repeat(80)}\n`;
  const texts = [...users].map(([text, labels]) => `${rule}${labels.join("\n")}${rule}\n${text}\n`);
  return `The console contains these packages:\n\n${list.join("\n")}\n${texts.join("")}`;
}

function page(files) {
  let html = readFileSync(join(HERE, "src/index.html"), "utf8");
  for (const name of ["console.js", "console.css", "icon.svg"]) {
    const hash = createHash("sha256").update(files.get(name)).digest("hex").slice(0, 16);
    if (!html.includes(`"${name}"`)) throw new Error(`index.html does not name ${name}`);
    html = html.replaceAll(`"${name}"`, `"${name}?v=${hash}"`);
  }
  return Buffer.from(html);
}

generate(values.buf);
checkTypes();
await test();
const { files, inputs } = await bundle();
files.set("icon.svg", readFileSync(join(HERE, "src/icon.svg")));
files.set("index.html", page(files));
const compressed = [...files.values()].reduce((sum, bytes) => sum + gzipSync(bytes).length, 0);
files.set("THIRD-PARTY.txt", Buffer.from(notices(inputs)));
rmSync(OUT, { recursive: true, force: true });
mkdirSync(OUT, { recursive: true });
for (const [name, bytes] of files) writeFileSync(join(OUT, name), bytes);
for (const [name, bytes] of files) console.log(`${name}: ${bytes.length} bytes`);
console.log(`what a browser loads: ${compressed} bytes with gzip`);
if (compressed > GZIP_BYTES_MAX) throw new Error(`the bundle is larger than ${GZIP_BYTES_MAX} bytes`);
