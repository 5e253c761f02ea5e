// Google, Facebook, GitHub, Discord and Entra: the certified provider, configured to live at each one's own host names and paths.
// `node played.mjs '{"port": …, "certificate": …, "key": …, "back": …, "tenant": …}'` listens as an HTTP proxy: CONNECT to a played
// host reaches it over TLS, and nothing else is reached. Who comes names themselves in the query (`as`), or says no (`as=nobody`).
import fs from "node:fs";
import http from "node:http";
import https from "node:https";
import net from "node:net";
import Provider from "oidc-provider";

const { port, certificate, key, back, tenant } = JSON.parse(process.argv[2]);
const SECRET = "a secret of thirty-two characters or more";
const ON_BEHALF = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const DOT = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==", "base64");

// A number for a name, as these providers count their people.
const number = (name) => [...name].reduce((sum, letter) => sum * 31 + letter.charCodeAt(0), 7) % 1_000_000_007;
const email = (name) => `${name}@example.org`;

function play(issuer, { callback, prefix = "", posted = false, person = () => ({}), claims = {}, routes = {}, own = {}, grants = [], unread = "" }) {
  const provider = new Provider(issuer, {
    clients: [{
      client_id: "ostiary", client_secret: SECRET, redirect_uris: [`${back}/oauth/${callback}/callback`],
      grant_types: ["authorization_code", "refresh_token", ...grants],
      token_endpoint_auth_method: posted ? "client_secret_post" : "client_secret_basic",
    }],
    scopes: ["openid", "offline_access", "public_profile", "user:email", "read:user", "identify"],
    claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name", "given_name", "family_name"], ...claims },
    pkce: { methods: ["S256"], required: () => true },
    features: { devInteractions: { enabled: false } },
    conformIdTokenClaims: false,
    routes,
    interactions: { url: (_ctx, interaction) => `${prefix}/interaction/${interaction.uid}` },
    findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id, ...person(id) }) }),
  });
  provider.use(async (ctx, next) => {
    if (own[ctx.path]) return answer(provider, ctx, own[ctx.path]);
    if (!ctx.path.startsWith("/interaction/")) return next();
    const { params, prompt, session } = await provider.interactionDetails(ctx.req, ctx.res);
    if (ctx.query.as === "nobody") return provider.interactionFinished(ctx.req, ctx.res, { error: "access_denied" });
    if (prompt.name === "login") {
      return provider.interactionFinished(ctx.req, ctx.res, { login: { accountId: String(ctx.query.as) } });
    }
    const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
    grant.addOIDCScope(params.scope);
    return provider.interactionFinished(ctx.req, ctx.res, { consent: { grantId: await grant.save() } });
  });
  const serve = provider.callback();
  return {
    provider,
    handle(request, response) {
      request.originalUrl = request.url;
      request.url = request.url.slice(prefix.length).replace(unread, "");
      serve(request, response);
    },
  };
}

// What is had with an access token that the provider gave.
async function answer(provider, ctx, body) {
  const token = await provider.AccessToken.find((ctx.get("authorization") || "").replace("Bearer ", ""));
  if (!token) ctx.throw(401);
  ctx.body = body(token.accountId);
}

const google = play("https://accounts.google.com", {
  callback: "google",
  routes: { authorization: "/o/oauth2/v2/auth" },
  person: (name) => ({ email: email(name), email_verified: true, name: `${name} Played`, given_name: name, family_name: "Played" }),
});

const facebook = play("https://www.facebook.com", {
  callback: "facebook",
  posted: true,
  routes: { authorization: "/v21.0/dialog/oauth", token: "/v21.0/oauth/access_token" },
  own: {
    "/v21.0/me": (name) => ({
      id: String(number(name)), name: `${name} Played`, first_name: name, last_name: "Played", email: email(name),
    }),
  },
});

const github = play("https://github.com", {
  callback: "github",
  posted: true,
  routes: { authorization: "/login/oauth/authorize", token: "/login/oauth/access_token" },
  own: {
    "/user": (name) => ({ id: number(name), login: name, name: `${name} Played` }),
    "/user/emails": (name) => [{ email: email(name), primary: true, verified: true }],
  },
});

const discord = play("https://discord.com", {
  callback: "discord",
  posted: true,
  // There it means not to ask again whoever agreed before, here not to ask anybody.
  unread: "&prompt=none",
  routes: { authorization: "/api/oauth2/authorize", token: "/api/oauth2/token" },
  own: {
    "/api/users/@me": (name) => ({
      id: String(number(name)), username: name, global_name: `${name} Played`, email: email(name), verified: true,
    }),
  },
});

const entra = play(`https://login.microsoftonline.com/${tenant}/v2.0`, {
  callback: "openid",
  prefix: `/${tenant}/v2.0`,
  grants: [ON_BEHALF],
  claims: { profile: ["name", "preferred_username", "oid", "tid", "groups", "_claim_names", "picture"] },
  person: (name) => ({
    name: `${name} Played`, preferred_username: email(name), oid: `oid-${name}`, tid: tenant,
    picture: "https://graph.microsoft.com/v1.0/me/photo/$value",
    // Whoever is in many groups gets a place named in their stead.
    ...(name.includes("many") ? { _claim_names: { groups: "src1" } } : { groups: ["everybody"] }),
  }),
});

entra.provider.registerGrantType(ON_BEHALF, async (ctx, next) => {
  const given = await entra.provider.AccessToken.find(ctx.oidc.params.assertion);
  if (!given || ctx.oidc.params.requested_token_use !== "on_behalf_of") ctx.throw(400);
  const { AccessToken } = entra.provider;
  const token = new AccessToken({ accountId: given.accountId, client: ctx.oidc.client, gty: "on_behalf_of", scope: ctx.oidc.params.scope });
  ctx.body = { access_token: await token.save(), token_type: "Bearer", expires_in: token.expiration, scope: ctx.oidc.params.scope };
  await next();
}, ["assertion", "requested_token_use", "scope"]);

// Graph takes tokens that were got on somebody's behalf, and no others.
async function graph(request, response) {
  const token = await entra.provider.AccessToken.find((request.headers.authorization || "").replace("Bearer ", ""));
  if (!token || (token.gty !== "on_behalf_of" && !request.url.endsWith("/photo/$value"))) return void response.writeHead(401).end();
  if (request.url.endsWith("/photo/$value")) return void response.writeHead(200, { "content-type": "image/png" }).end(DOT);
  if (request.method !== "POST" || request.url !== "/v1.0/me/getMemberObjects") return void response.writeHead(404).end();
  if (token.accountId.includes("unknown")) return void response.writeHead(403).end();
  response.writeHead(200, { "content-type": "application/json" });
  response.end(JSON.stringify({ value: [...Array(300).keys()].map((each) => `group-${each}`) }));
}

const hosts = {
  "accounts.google.com": google.handle,
  "www.facebook.com": facebook.handle,
  "graph.facebook.com": facebook.handle,
  "github.com": github.handle,
  "api.github.com": github.handle,
  "discord.com": discord.handle,
  "login.microsoftonline.com": entra.handle,
  "graph.microsoft.com": graph,
  "1.1.1.1": (request, response) => {
    response.writeHead(request.headers.authorization ? 400 : 200, { "content-type": "text/plain" }).end(DOT);
  },
};

const inside = https.createServer({ cert: fs.readFileSync(certificate), key: fs.readFileSync(key) }, (request, response) => {
  hosts[request.headers.host](request, response);
});

const proxy = http.createServer((_request, response) => response.writeHead(204).end());
proxy.on("connect", (request, socket, head) => {
  socket.on("error", () => socket.destroy());
  if (!(request.url.replace(/:443$/, "") in hosts)) return void socket.end("HTTP/1.1 502 Not played\r\n\r\n");
  const there = net.connect(inside.address().port, "127.0.0.1", () => {
    socket.write("HTTP/1.1 200 Connected\r\n\r\n");
    there.write(head);
    there.pipe(socket).pipe(there);
  });
  there.on("error", () => socket.destroy());
});
inside.listen(0, "127.0.0.1", () => proxy.listen(port, "127.0.0.1"));
