// Both clients load in this Node and do one thing each; nothing of the server is needed. Run by hand: node tests/node/smoke.mjs
import assert from "node:assert/strict";
import { createServer } from "node:http";

import { argon2, x25519 } from "@medzik/libcrypto";
import axios from "axios";
import { dataService } from "librechat-data-provider";

const alice = x25519.generateKeyPair();
const bob = x25519.generateKeyPair();
assert.equal(
  x25519.computeSharedSecret(alice.privateKey, bob.publicKey),
  x25519.computeSharedSecret(bob.privateKey, x25519.publicFromPrivate(alice.privateKey)),
);
const hash = await argon2.ID({
  password: "p",
  salt: "saltsalt",
  parallelism: 1,
  memorySize: 8,
  iterations: 1,
  hashLength: 32,
  outputType: "hex",
});
assert.equal(hash.length, 64);

const server = createServer((request, response) => {
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify({ asked: `${request.method} ${request.url}` }));
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
axios.defaults.baseURL = `http://127.0.0.1:${server.address().port}`;
const answer = await dataService.login({ email: "ada@example.org", password: "p" });
server.closeAllConnections();
server.close();
assert.deepEqual(answer, { asked: "POST /api/auth/login" });

console.log(`node ${process.version}: librechat-data-provider and @medzik/libcrypto load and work`);
