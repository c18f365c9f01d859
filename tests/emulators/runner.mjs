// Serves npm `emulate` (0.12.2) through a front of our own, for the tests.
//
//   node runner.mjs PACKAGE_DIRECTORY    with the configuration as one line of JSON on standard input:
//   {"services": ["github", "okta"], "seed": {...}, "without_second_factor": ["login", ...]}
//
// Answers one line of JSON, {"github": "http://127.0.0.1:…", …}, when ready, and ends when standard input closes.
// The emulators are started by their public interface; the front adds what they lack:
//   - a token that is neither in the seed nor given by an OAuth answer, or was revoked, is refused (alone they take it for the first seeded user);
//   - POST /_tb/reset, POST /_tb/revoke {token}, POST /_tb/faults {rules}, GET /_tb/log, on each service;
//   - what `additions.mjs` says of each service.
import { createServer } from "node:http";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { additionsFor, doors, json, refusals } from "./additions.mjs";

const HOST = "127.0.0.1";
const NOT_FORWARDED = new Set(["connection", "content-encoding", "content-length", "keep-alive", "transfer-encoding"]);

const lines = createInterface({ input: process.stdin });
const config = JSON.parse(await new Promise((resolve) => lines.once("line", resolve)));
lines.once("close", () => process.exit(0));
const { createEmulator } = await import(pathToFileURL(join(process.argv[2], "node_modules/emulate/dist/api.js")).href);
const additions = additionsFor(config);

class Front {
  constructor(service) {
    this.service = service;
    this.server = createServer((request, response) => this.answer(request, response));
  }

  async open() {
    await new Promise((resolve) => this.server.listen(0, HOST, resolve));
    this.url = `http://${HOST}:${this.server.address().port}`;
    await this.reset();
  }

  // A new emulator each time: its own reset keeps its count of requests.
  async reset() {
    const before = this.emulator;
    const port = await freePort();
    this.emulator = await createEmulator({ service: this.service, hostname: HOST, port, baseUrl: this.url, seed: config.seed });
    this.origin = `http://${HOST}:${port}`;
    this.tokens = new Set(Object.keys(config.seed.tokens ?? {}));
    this.tenants = new Map(); // Entra's tokens, by token
    this.used = new Set(); // ids of assertions
    this.rules = [];
    this.log = [];
    await before?.close();
  }

  async answer(request, response) {
    const body = await read(request);
    const url = new URL(request.url, this.url);
    try {
      const { status, headers, body: text } = await (url.pathname.startsWith("/_tb/") ? this.control(url, body) : this.serve(request, url, body));
      response.writeHead(status, headers).end(text);
    } catch {
      response.writeHead(503).end(); // a reset exchanged the emulator while this was being answered
    }
  }

  async control(url, body) {
    const given = body.length ? JSON.parse(body) : {};
    if (url.pathname === "/_tb/log") return json(200, { requests: this.log });
    if (url.pathname === "/_tb/reset") await this.reset();
    else if (url.pathname === "/_tb/revoke") this.tokens.delete(given.token);
    else if (url.pathname === "/_tb/faults") this.rules = given.rules.map((rule) => ({ skip: 0, times: Infinity, ...rule }));
    else return json(404, { message: `no control called ${url.pathname}` });
    return json(200, {});
  }

  async serve(request, url, body) {
    const fault = this.fault(request.method, url);
    const entry = { method: request.method, path: url.pathname + url.search, grant: /grant_type=([\w%.:-]+)/.exec(body.toString())?.[1] ?? null, fault: fault?.status ?? null };
    this.log.push(entry);
    if (fault?.delay_ms) await new Promise((resolve) => setTimeout(resolve, fault.delay_ms));
    if (fault?.status) return typeof fault.body === "string" ? { status: fault.status, headers: fault.headers ?? {}, body: fault.body } : json(fault.status, fault.body ?? { message: "told to fail" }, fault.headers);
    const answer = await this.reply(request, url, body);
    entry.status = answer.status;
    return answer;
  }

  async reply(request, url, body) {
    const isDoor = doors[this.service].test(url.pathname);
    const token = request.headers.authorization?.match(/^(?:Bearer|token|SSWS) (.+)$/)?.[1];
    if (!isDoor && !this.tokens.has(token)) return refusals[this.service];
    const ask = (path, init = {}) => this.ask(path, { ...init, headers: { authorization: request.headers.authorization } });
    const admit = (to, text) => this.admit(request, to, text);
    for (const [pattern, reply] of additions[this.service]) {
      const match = `${request.method} ${url.pathname}`.match(pattern);
      const added = match && (await reply(match, url, { ask, admit, body, headers: request.headers, front: this }));
      if (added) return added;
    }
    return isDoor ? admit(url, body.length ? body : undefined) : this.pass(request, url, body.length ? body : undefined);
  }

  pass(request, url, body) {
    return this.ask(url.pathname + url.search, { method: request.method, headers: forwarded(request.headers), body: body || undefined });
  }

  // Tokens that the emulator itself gives are good from now on, and those that it is told to revoke are not.
  async admit(request, url, body) {
    const answer = await this.pass(request, url, body);
    if (url.pathname.endsWith("/revoke")) this.tokens.delete(new URLSearchParams(body?.toString()).get("token"));
    const token = /"(?:access_token|token)":\s*"([^"]+)"/.exec(answer.body)?.[1];
    if (token) this.tokens.add(token);
    return answer;
  }

  // A rule: {match: pattern of path and query, method?, skip?: requests let through first, times?, status?, headers?, body?, delay_ms?}
  fault(method, url) {
    const rule = this.rules.find((rule) => rule.times > 0 && (!rule.method || rule.method === method) && new RegExp(rule.match).test(url.pathname + url.search));
    if (!rule) return undefined;
    if (rule.skip > 0) return void (rule.skip -= 1);
    rule.times -= 1;
    return rule;
  }

  async ask(path, init) {
    const answered = await fetch(this.origin + path, { redirect: "manual", ...init });
    const outward = (text) => text.replaceAll(this.origin, this.url);
    const headers = Object.entries(forwarded(Object.fromEntries(answered.headers))).map(([name, value]) => [name, outward(value)]);
    return { status: answered.status, headers: Object.fromEntries(headers), body: outward(await answered.text()) };
  }
}

const forwarded = (headers) => Object.fromEntries(Object.entries(headers).filter(([name]) => !NOT_FORWARDED.has(name) && name !== "host"));

async function read(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts);
}

async function freePort() {
  const probe = createServer();
  await new Promise((resolve) => probe.listen(0, HOST, resolve));
  const { port } = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

const fronts = config.services.map((service) => new Front(service));
await Promise.all(fronts.map((front) => front.open()));
console.log(JSON.stringify(Object.fromEntries(fronts.map((front) => [front.service, front.url]))));
