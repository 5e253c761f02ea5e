// A certified OpenID provider that nobody here wrote, for the tests: `node openid.mjs '{"port": …, "host": …, "clients": […], "pages": …}'`.
// With its own pages whoever comes types a name there and agrees; without them they name themselves in the query, and every grant is given.
import Provider from "oidc-provider";

const { port, host, clients, pages } = JSON.parse(process.argv[2]);

const person = (name) => ({
  sub: name, email: `${name}@example.org`, email_verified: true, given_name: name, family_name: "Certified", preferred_username: name,
});

const provider = new Provider(`http://${host}:${port}`, {
  clients,
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name", "given_name", "family_name", "preferred_username"] },
  pkce: { methods: ["S256"], required: () => true },
  features: { devInteractions: { enabled: pages }, backchannelLogout: { enabled: true }, rpInitiatedLogout: { enabled: true } },
  conformIdTokenClaims: false,
  ...(pages ? {} : { interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` } }),
  findAccount: (_ctx, id) => ({ accountId: id, claims: () => person(id) }),
});

// Its pages, but for the lettering that they would fetch from the outside.
async function withoutLettering(ctx, next) {
  await next();
  if (typeof ctx.body === "string") ctx.body = ctx.body.replace(/@import url\([^)]*\);/, "");
}

async function interaction(ctx, next) {
  if (!/^\/interaction\/[^/]+$/.test(ctx.path)) return next();
  const { params, prompt, session } = await provider.interactionDetails(ctx.req, ctx.res);
  if (prompt.name === "login") {
    return provider.interactionFinished(ctx.req, ctx.res, { login: { accountId: String(ctx.query.as) } });
  }
  const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope(params.scope);
  return provider.interactionFinished(ctx.req, ctx.res, { consent: { grantId: await grant.save() } });
}

provider.use(pages ? withoutLettering : interaction);
provider.listen(port, "127.0.0.1");
