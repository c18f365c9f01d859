// Serves the OAuth sides of npm `emulate` (0.12.2) as they are, for the tests of the kinds of auth.
//
//   node oauth.mjs PACKAGE_DIRECTORY    with the configuration as one line of JSON on standard input:
//   {"seed": {"github": {...}, "google": {...}, ...}}
//
// Answers one line of JSON, {"github": "http://127.0.0.1:…", …}, when ready, and ends when standard input closes.
import { createServer } from "node:http";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const lines = createInterface({ input: process.stdin });
const { seed } = JSON.parse(await new Promise((resolve) => lines.once("line", resolve)));
lines.once("close", () => process.exit(0));
const { createEmulator } = await import(pathToFileURL(join(process.argv[2], "node_modules/emulate/dist/api.js")).href);

const started = {};
for (const service of Object.keys(seed)) {
  const probe = createServer();
  await new Promise((resolve) => probe.listen(0, "127.0.0.1", resolve));
  const { port } = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  const url = `http://127.0.0.1:${port}`;
  await createEmulator({ service, hostname: "127.0.0.1", port, baseUrl: url, seed });
  started[service] = url;
}
process.stdout.write(`${JSON.stringify(started)}\n`);
