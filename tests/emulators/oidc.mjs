// Serves npm `oidc-provider` (9.13.3), a certified OpenID provider, for the tests.
//
//   node oidc.mjs PACKAGE_DIRECTORY    with the configuration as one line of JSON on standard input:
//   {"clients": [{...}], "scopes": ["read", ...], "ttl": {"AccessToken": 3600, ...}, "claims": {"anna": {"tid": "..."}}}
//
// Answers one line of JSON, {"issuer": "http://127.0.0.1:…"}, when ready, and ends when standard input closes. PKCE is required,
// refresh tokens rotate (one that is used twice kills its grant), tokens can be revoked, callbacks carry `iss`. Anybody may sign in,
// under any name. Control, which is ours:
//   POST /_tb/redirects {"uris": [...]}      the redirect addresses that every client may use, compared exactly
//   POST /_tb/ttl {"AccessToken": 2}         how long what is issued from now on lasts, in seconds
//   POST /_tb/faults {"rules": [{"path": "/token", "times": 1, "delay_ms": 0, "status": 503, "headers": {}, "body": "text"}]}
//                                            without a status the request is only delayed, then answered as ever
//   GET /_tb/log                             {"requests": [{"method", "path", "grant_type", "status"}]} since the last reset
//   POST /_tb/reset                          no faults, an empty log, the first ttl; grants stay
import { createServer } from "node:http";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const lines = createInterface({ input: process.stdin });
const config = JSON.parse(await new Promise((resolve) => lines.once("line", resolve)));
lines.once("close", () => process.exit(0));
const { Provider } = await import(pathToFileURL(join(process.argv[2], "node_modules/oidc-provider/lib/index.js")).href);

const { privateKey } = await crypto.subtle.generateKey(
  { name: "RSASSA-PKCS1-v1_5", modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: "SHA-256" }, true, ["sign", "verify"],
);
const key = { ...(await crypto.subtle.exportKey("jwk", privateKey)), use: "sig", alg: "RS256", kid: "first" };
delete key.key_ops;
delete key.ext;

let redirects = new Set();
let ttl = config.ttl;
let rules = [];
let requests = [];
let era = 0; // a request that came before a reset and is answered after it belongs to no log

const control = {
  redirects: (body) => { redirects = new Set(body.uris); },
  ttl: (body) => { ttl = { ...ttl, ...body }; },
  faults: (body) => { rules = body.rules; },
  reset: () => { [rules, requests, ttl, era] = [[], [], config.ttl, era + 1]; },
  log: () => ({ requests }),
};

const read = async (request) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  return parts.length ? JSON.parse(Buffer.concat(parts)) : {};
};

const server = createServer(async (request, response) => {
  const path = request.url.split("?")[0];
  if (path.startsWith("/_tb/")) {
    const told = control[path.slice(5)]?.(await read(request)) ?? {};
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(told));
    return;
  }
  request.era = era;
  const rule = rules.find((one) => one.path === path && (one.times ?? 1) > 0);
  if (rule) {
    rule.times = (rule.times ?? 1) - 1;
    if (rule.delay_ms) await new Promise((resolve) => setTimeout(resolve, rule.delay_ms));
    if (rule.status) {
      if (request.era === era) requests.push({ method: request.method, path, grant_type: null, status: rule.status });
      response.writeHead(rule.status, { "content-type": "application/json", ...rule.headers }).end(rule.body ?? "");
      return;
    }
  }
  serve(request, response);
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;

const names = ["AccessToken", "AuthorizationCode", "ClientCredentials", "RefreshToken", "IdToken", "Grant", "Interaction", "Session"];
const claims = [...new Set(Object.values(config.claims).flatMap(Object.keys))];
const provider = new Provider(issuer, {
  clients: config.clients,
  scopes: ["openid", "offline_access", ...config.scopes],
  claims: { openid: ["sub", ...claims] },
  conformIdTokenClaims: false,
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, ...config.claims[id] }) }),
  pkce: { required: () => true },
  rotateRefreshToken: true,
  issueRefreshToken: (_, client) => client.grantTypeAllowed("refresh_token"),
  ttl: Object.fromEntries(names.map((name) => [name, () => ttl[name] ?? 3600])),
  features: { clientCredentials: { enabled: true }, introspection: { enabled: true }, revocation: { enabled: true } },
  jwks: { keys: [key] },
  cookies: { keys: ["a key for the tests"] },
});
provider.Client.prototype.redirectUriAllowed = (uri) => redirects.has(uri);
provider.use(async (ctx, next) => {
  try {
    await next();
  } finally {
    if (ctx.req.era === era) requests.push({ method: ctx.method, path: ctx.path, grant_type: ctx.oidc?.params?.grant_type ?? null, status: ctx.status });
  }
});
const serve = provider.callback();
process.stdout.write(`${JSON.stringify({ issuer })}\n`);
