// A certified OpenID provider that nobody here wrote, for the tests: `node openid.mjs '{"port": …, "clients": […]}'`.
// Whoever comes is signed in by naming themselves at the interaction's page; every grant is given.
import Provider from "oidc-provider";

const { port, clients } = JSON.parse(process.argv[2]);
const issuer = `http://127.0.0.1:${port}`;
const people = new Map();

const provider = new Provider(issuer, {
  clients,
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name", "given_name", "family_name", "preferred_username"] },
  pkce: { methods: ["S256"], required: () => true },
  features: { devInteractions: { enabled: false }, backchannelLogout: { enabled: true }, rpInitiatedLogout: { enabled: true } },
  conformIdTokenClaims: false,
  interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
  findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id, ...people.get(id) }) }),
});

provider.use(async (ctx, next) => {
  const wanted = /^\/interaction\/([^/]+)$/.exec(ctx.path);
  if (!wanted) return next();
  const { params, prompt } = await provider.interactionDetails(ctx.req, ctx.res);
  const subject = String(ctx.query.as ?? "");
  if (prompt.name === "login") {
    if (!subject) {
      ctx.body = `<form><input name=as autofocus><button>Sign in</button></form>`;
      return undefined;
    }
    people.set(subject, {
      email: `${subject}@example.org`, email_verified: true, given_name: subject, family_name: "Certified", preferred_username: subject,
    });
    return provider.interactionFinished(ctx.req, ctx.res, { login: { accountId: subject } });
  }
  const { session } = await provider.interactionDetails(ctx.req, ctx.res);
  const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope(params.scope);
  return provider.interactionFinished(ctx.req, ctx.res, { consent: { grantId: await grant.save() } });
});

provider.listen(port, "127.0.0.1");
