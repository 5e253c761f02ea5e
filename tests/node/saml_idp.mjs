// A SAML identity provider that nobody here wrote (npm `samlp`): node saml_idp.mjs PORT KEY CERTIFICATE. Everyone is Ada, signed in already.
// GET /sso answers an AuthnRequest with the page that posts the response; `?sign=response` signs that instead of the assertion, and
// `/unsolicited?to=ADDRESS&audience=ENTITY` begins here.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";

import samlp from "samlp";

const [port, key, certificate] = process.argv.slice(2);
const issuer = "urn:example:idp";
const user = {
  id: "ada-7",
  displayName: "Ada Lovelace",
  name: { givenName: "Ada", familyName: "Lovelace" },
  emails: [{ value: "ada@example.org" }],
  groups: ["staff", "engine"],
};

function options(query) {
  const isResponseSigned = query.sign === "response";
  return {
    issuer,
    key: readFileSync(key, "utf8"),
    cert: readFileSync(certificate, "utf8"),
    signResponse: isResponseSigned,
    signAssertion: !isResponseSigned,
    lifetimeInSeconds: 300,
    getUserFromRequest: () => user,
  };
}

// The little of Express that the middleware wants.
function dressed(response) {
  response.set = (name, value) => response.setHeader(name, value);
  response.send = (...words) => {
    response.statusCode = typeof words[0] === "number" ? words[0] : 200;
    response.end(String(words.at(-1)));
  };
  return response;
}

const server = createServer((request, response) => {
  const address = new URL(request.url, "http://127.0.0.1");
  request.query = Object.fromEntries(address.searchParams);
  const fail = (error) => dressed(response).send(500, error?.stack ?? "no answer");
  if (address.pathname === "/ready") {
    response.end(issuer);
    return;
  }
  const said = options(request.query);
  if (address.pathname === "/unsolicited") {
    const { to, audience } = request.query;
    delete request.query.SAMLRequest;
    const own = { ...said, audience, recipient: to, destination: to, getPostURL: (_a, _d, _r, next) => next(null, to) };
    samlp.auth(own)(request, dressed(response), fail);
    return;
  }
  samlp.parseRequest(request, (error, asked) => {
    if (error || !asked) {
      fail(error);
      return;
    }
    const to = asked.assertionConsumerServiceURL;
    const own = { ...said, recipient: to, destination: to, getPostURL: (_a, _d, _r, next) => next(null, to) };
    samlp.auth(own)(request, dressed(response), fail);
  });
});
server.listen(Number(port), "127.0.0.1");
