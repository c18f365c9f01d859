// What npm `emulate` (0.12.2) lacks of each service and the tests need, in the shapes that the vendors document. These are ours.
//
// An addition is [pattern of "METHOD /path", (match, url, call) => answer, or nothing to let it pass]; `call` has
// `ask(path, init?)` (as who is asking), `body`, `headers`, `admit()` (the emulator's own answer, whose token is good from then on) and `front`.
import { createPublicKey, verify } from "node:crypto";

export const json = (status, body, headers = {}) => ({ status, headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body) });
const go = (url, params) => ({ status: 302, headers: { location: `${url}${url.includes("?") ? "&" : "?"}${new URLSearchParams(params)}` }, body: "" });
const form = (action, label, fields) => `<form method="post" action="${action}">${Object.entries(fields).map(([name, value]) => `<input type="hidden" name="${name}" value="${value}">`).join("")}<button>${label}</button></form>`;
const page = (forms) => ({ status: 200, headers: { "content-type": "text/html" }, body: `<!doctype html><body>${forms.join("")}</body>` });
const fields = (body) => Object.fromEntries(new URLSearchParams(body.toString()));
const bearer = (headers) => headers.authorization?.replace(/^\w+ /, "");

// How a service refuses a token that it does not know.
export const refusals = {
  github: json(401, { message: "Bad credentials" }),
  google: json(401, { error: { code: 401, message: "Request had invalid authentication credentials.", status: "UNAUTHENTICATED" } }),
  linear: json(401, { errors: [{ message: "Authentication required, not authenticated", extensions: { code: "AUTHENTICATION_ERROR", statusCode: 401 } }] }),
  microsoft: json(401, { error: { code: "InvalidAuthenticationToken", message: "Access token is empty or invalid." } }),
  okta: json(401, { errorCode: "E0000011", errorSummary: "Invalid token provided" }),
  slack: json(200, { ok: false, error: "invalid_auth" }),
};

// Where one comes without a token of the API, and leaves with one.
export const doors = {
  github: /^\/(?:login\/oauth|apps?|applications)\//,
  google: /^\/(?:o\/)?oauth2\//,
  linear: /^\/oauth\//,
  microsoft: /^(?:\/[^/]+)?\/(?:oauth2|discovery)?\/?v2\.0\//,
  okta: /^\/oauth2\//,
  slack: /^\/(?:oauth|api\/oauth\.)/,
};

export const additionsFor = (config) => ({
  github: [...githubReadings(config), ...githubApp(config)],
  google: directory(config),
  linear: [],
  microsoft: [...adminConsent(config), ...graph(config)],
  okta: [...oktaReadings(config), ...serviceApps(config)],
  slack: [
    [/^POST \/api\/auth\.revoke$/, (_, url, { headers, front }) => json(200, { ok: true, revoked: front.tokens.delete(bearer(headers)) })],
  ],
});

// GitHub: GET /orgs/{org}/repos, and the 2fa_disabled filter of GET /orgs/{org}/members, for owners only.
const githubReadings = (config) => [
  [/^GET \/orgs\/([^/]+)\/repos$/, async ([, org], url, { ask }) => {
    const page = url.searchParams.get("page") ?? "1";
    const size = url.searchParams.get("per_page") ?? "30";
    const found = await ask(`/search/repositories?q=org:${org}&per_page=${size}&page=${page}`);
    const next = found.headers.link?.includes('rel="next"') && `<${url.origin}/orgs/${org}/repos?per_page=${size}&page=${+page + 1}>; rel="next"`;
    return json(found.status, JSON.parse(found.body).items, next ? { link: next } : {});
  }],
  [/^GET \/orgs\/([^/]+)\/members$/, async ([, org], url, { ask }) => {
    if (url.searchParams.get("filter") !== "2fa_disabled") return undefined;
    const asking = JSON.parse((await ask("/user")).body).login;
    const membership = JSON.parse((await ask(`/orgs/${org}/memberships/${asking}`)).body);
    if (membership.role !== "admin") return json(422, { message: "Only owners can use this filter." });
    const people = await Promise.all(config.without_second_factor.map((login) => ask(`/users/${login}`)));
    return json(200, people.map((person) => JSON.parse(person.body)));
  }],
];

// GitHub's app: the page to install it on, which leads to its setup URL; what a person reaches; what ends a token.
const githubApp = (config) => {
  const app = config.seed.github?.apps?.[0];
  return [
    [/^GET \/apps\/([^/]+)\/installations\/new$/, ([, slug], url) => page(app.installations.map(({ account, installation_id }) =>
      form(`/apps/${slug}/installations`, account, { installation_id, state: url.searchParams.get("state") })))],
    [/^POST \/apps\/[^/]+\/installations$/, (_, url, { body }) => go(app.setup_url, { ...fields(body), setup_action: "install" })],
    [/^GET \/user\/installations$/, async (_, url, { ask }) => {
      const { login } = JSON.parse((await ask("/user")).body);
      const reached = await Promise.all(app.installations.map(async ({ account, installation_id }) => {
        if ((await ask(`/orgs/${account}/memberships/${login}`)).status !== 200) return [];
        const { id } = JSON.parse((await ask(`/orgs/${account}`)).body);
        return [{ id: installation_id, app_id: app.app_id, account: { login: account, id, type: "Organization" } }];
      }));
      return json(200, { total_count: reached.flat().length, installations: reached.flat() });
    }],
    [/^GET \/user\/memberships\/orgs\/([^/]+)$/, async ([, org], url, { ask }) => {
      const { login } = JSON.parse((await ask("/user")).body);
      return ask(`/orgs/${org}/memberships/${login}`);
    }],
    [/^DELETE \/applications\/([^/]+)\/token$/, ([, client], url, { body, headers, front }) => {
      const known = config.seed.github.oauth_apps.find((one) => one.client_id === client);
      const expected = known && `Basic ${Buffer.from(`${client}:${known.client_secret}`).toString("base64")}`;
      if (!known || headers.authorization !== expected) return refusals.github;
      return { status: front.tokens.delete(JSON.parse(body).access_token) ? 204 : 422, headers: {}, body: "" };
    }],
  ];
};

// Okta: GET /api/v1/users/{id}/factors: one factor each, none for every third person, by the number in the id;
// GET /api/v1/users leaves out the DEPROVISIONED and knows the filter `status eq "…"`, as Okta documents both.
const oktaReadings = () => [
  [/^GET \/api\/v1\/users$/, async (_, url, { ask }) => {
    const status = url.searchParams.get("filter")?.match(/^status eq "(\w+)"$/)?.[1];
    if (!status) {
      const page = await ask(url.pathname + url.search);
      const people = JSON.parse(page.body);
      return { ...page, body: JSON.stringify(people.filter((person) => person.status !== "DEPROVISIONED")) };
    }
    const found = [];
    for (let number = 1, page; page?.length !== 0; number += 1) {
      page = JSON.parse((await ask(`/api/v1/users?per_page=100&page=${number}`)).body);
      found.push(...page.filter((person) => person.status === status));
    }
    return json(200, found);
  }],
  [/^GET \/api\/v1\/users\/([^/]+)\/factors$/, async ([, id], url, { ask }) => {
    const person = await ask(`/api/v1/users/${id}`);
    if (person.status !== 200) return person;
    const { created } = JSON.parse(person.body);
    if (Number(id.match(/\d+$/)?.[0] ?? 0) % 3 === 0) return json(200, []);
    return json(200, [{ id: `fac-${id}`, factorType: "token:software:totp", provider: "GOOGLE", vendorName: "GOOGLE", status: "ACTIVE", created, lastUpdated: created }]);
  }],
];

// Okta's service apps: private_key_jwt (RFC 7523) with a key of `service_apps`; the emulator then sees the app's secret in its place.
const serviceApps = (config) => [
  [/^POST \/oauth2\/v1\/token$/, (_, url, { body, front, admit }) => {
    const { client_assertion: assertion, client_assertion_type: type, client_id: named, ...rest } = fields(body);
    if (!assertion) return undefined;
    const [head, payload, signature] = assertion.split(".");
    const decoded = (part) => JSON.parse(Buffer.from(part, "base64url"));
    const { iss, sub, aud, exp, jti } = decoded(payload);
    const [app, now] = [config.service_apps?.[iss], Date.now() / 1000];
    const good = app && type === "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" && decoded(head).alg === "RS256"
      && sub === iss && (named ?? iss) === iss && aud === `${url.origin}${url.pathname}` && exp > now && exp <= now + 3600
      && jti && !front.used.has(jti)
      && verify("sha256", Buffer.from(`${head}.${payload}`), createPublicKey(app.public_key), Buffer.from(signature, "base64url"));
    if (!good) return json(401, { error: "invalid_client", error_description: "The client_assertion is not valid." });
    front.used.add(jti);
    return admit(url, new URLSearchParams({ ...rest, client_id: iss, client_secret: app.client_secret }).toString());
  }],
];

// Google's Directory API: one customer, whose people are those of the seed, two a page.
const directory = (config) => {
  const people = (config.seed.google?.users ?? []).map(({ email, name }, n) => ({
    id: `${100 + n}`, primaryEmail: email, name: { fullName: name, givenName: name, familyName: "" }, isAdmin: n === 0, isDelegatedAdmin: false,
    isEnrolledIn2Sv: n % 2 === 0, suspended: false, lastLoginTime: "2026-01-02T03:04:05.000Z", creationTime: "2025-01-02T03:04:05.000Z",
  }));
  const base = String.raw`^GET \/admin\/directory\/v1`;
  return [
    [new RegExp(`${base}/customers/my_customer$`), () => json(200, { id: "C0acme", customerDomain: "acme.test" })],
    [new RegExp(`${base}/users$`), (_, url) => {
      if (url.searchParams.get("showDeleted") === "true") return json(200, { users: [] });
      const from = Number(url.searchParams.get("pageToken") ?? 0);
      return json(200, { users: people.slice(from, from + 2), ...(from + 2 < people.length ? { nextPageToken: `${from + 2}` } : {}) });
    }],
    [new RegExp(`${base}/groups$`), () => json(200, { groups: [{ id: "g1", name: "Staff", email: "staff@acme.test", directMembersCount: `${people.length}` }] })],
    [new RegExp(`${base}/groups/g1/members$`), () => json(200, { members: people.map(({ id }) => ({ id, type: "USER", role: "MEMBER" })) })],
    [new RegExp(`${base}/customer/my_customer/domains$`), () => json(200, { domains: [{ domainName: "acme.test", verified: true, creationTime: "1735689600000" }] })],
  ];
};

// Entra: the page of an administrator's consent, and the tenant in the addresses, which the emulator serves without.
const adminConsent = (config) => [
  [/^GET \/organizations\/v2\.0\/adminconsent$/, (_, url) => {
    const { redirect_uri, state } = Object.fromEntries(url.searchParams);
    return page(Object.entries(config.tenants).map(([tenant, { name }]) => form("/organizations/v2.0/adminconsent", name, { tenant, redirect_uri, state })));
  }],
  [/^POST \/organizations\/v2\.0\/adminconsent$/, (_, url, { body }) => {
    const { tenant, redirect_uri, state } = fields(body);
    return go(redirect_uri, { admin_consent: "True", tenant, state, scope: "https://graph.microsoft.com/.default" });
  }],
  [/^(?:GET|POST) \/([0-9a-f-]{36})(\/(?:oauth2|discovery)\/v2\.0\/\w+)$/, async ([, tenant, path], url, { body, admit, front }) => {
    const answer = await admit(new URL(path + url.search, url), body.toString());
    const token = answer.body.match(/"access_token":\s*"([^"]+)"/)?.[1];
    if (token) front.tenants.set(token, tenant);
    return answer;
  }],
];

// Microsoft Graph, for an app's token: the tenant, its people (two a page), and the roles that a person holds.
const graph = (config) => {
  const mine = (call) => call.front.tenants.get(bearer(call.headers));
  const people = (tenant) => config.seed.microsoft.users.filter((one) => one.tenant_id === tenant);
  return [
    [/^GET \/v1\.0\/organization$/, (_, url, call) => json(200, { value: [{ id: mine(call), displayName: config.tenants[mine(call)].name }] })],
    [/^GET \/v1\.0\/users$/, (_, url, call) => {
      const [all, from] = [people(mine(call)), Number(url.searchParams.get("$skiptoken") ?? 0)];
      const value = all.slice(from, from + 2).map(({ email, name }) => ({ id: email, userPrincipalName: email, mail: email, displayName: name, accountEnabled: true, userType: "Member" }));
      return json(200, { value, ...(from + 2 < all.length ? { "@odata.nextLink": `${url.origin}/v1.0/users?$skiptoken=${from + 2}` } : {}) });
    }],
    [/^GET \/v1\.0\/(?:groups|directoryRoles)$/, () => json(200, { value: [] })],
    [/^GET \/v1\.0\/users\/([^/]+)\/transitiveMemberOf\/microsoft\.graph\.directoryRole$/, async ([, id], url, { ask }) => {
      const { mail } = JSON.parse((await ask(`/v1.0/users/${id}`)).body);
      return json(200, { value: (config.roles[mail] ?? []).map((roleTemplateId) => ({ id: roleTemplateId, roleTemplateId })) });
    }],
  ];
};
