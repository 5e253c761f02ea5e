// A key account's whole life, its keys derived by @medzik/libcrypto, LibrePass's own engine for the web.
// Usage: node tests/node/librepass_story.mjs http://127.0.0.1:3080 <folder of the local mailbox>
import assert from "node:assert/strict";
import { createHmac, randomUUID } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";

import { aes, argon2, x25519 } from "@medzik/libcrypto";

const [base, mailbox] = process.argv.slice(2);
const BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";

/** One call as the web client makes it: JSON, and a bearer when there is one. Redirects are looked at, not followed. */
async function call(method, path, { body, key } = {}) {
  const headers = { "Content-Type": "application/json", ...(key && { Authorization: `Bearer ${key}` }) };
  const answer = await fetch(base + path, { method, headers, body: body && JSON.stringify(body), redirect: "manual" });
  const text = await answer.text();
  return { status: answer.status, location: answer.headers.get("location"), json: text ? JSON.parse(text) : undefined };
}

async function succeed(method, path, options, status = 200) {
  const answer = await call(method, path, options);
  assert.equal(answer.status, status, `${method} ${path}: ${JSON.stringify(answer.json)}`);
  return answer.json;
}

async function refuse(code, method, path, options) {
  const answer = await call(method, path, options);
  assert.equal(answer.json?.error, code, `${method} ${path}: ${answer.status}`);
  assert.equal(answer.json.status, answer.status);
}

/** What the client derives for an address and a password; `shared` is the proof for this server key. */
async function derive(email, password) {
  const preLogin = await succeed("GET", `/api/auth/preLogin?email=${email}`);
  const hash = await argon2.ID({
    password,
    salt: email,
    parallelism: preLogin.parallelism,
    memorySize: preLogin.memory,
    iterations: preLogin.iterations,
    hashLength: 32,
    outputType: "hex",
  });
  const publicKey = x25519.publicFromPrivate(hash);
  return {
    publicKey,
    shared: x25519.computeSharedSecret(hash, preLogin.serverPublicKey),
    vault: x25519.computeSharedSecret(hash, publicKey),
    parameters: { parallelism: preLogin.parallelism, memory: preLogin.memory, iterations: preLogin.iterations },
  };
}

async function login(email, password) {
  const { shared } = await derive(email, password);
  return succeed("POST", "/api/auth/oauth?grantType=login", { body: { email, sharedKey: shared } });
}

const answer = (key, code) => ({ body: { apiKey: key, code } });

/** RFC 6238; each code works once, so every call takes a later time step than the one before, near enough to now. */
let lastStep = 0;
function totp() {
  const now = Math.floor(Date.now() / 30000);
  lastStep = Math.max(lastStep + 1, now - 1);
  let bits = "";
  for (const character of SECRET) bits += BASE32.indexOf(character).toString(2).padStart(5, "0");
  const secret = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(lastStep));
  const mac = createHmac("sha1", secret).update(counter).digest();
  const number = mac.readUInt32BE(mac[19] & 15) & 0x7fffffff;
  return String(number % 1000000).padStart(6, "0");
}

/** The text part of a mail file. */
function textOf(raw) {
  const boundary = /boundary="([^"]+)"/.exec(raw)[1];
  const part = raw.split(`--${boundary}`).find((candidate) => /Content-Type: text\/plain/i.test(candidate));
  const [head, ...rest] = part.split(/\r?\n\r?\n/);
  const body = rest.join("\n\n");
  if (/base64/i.test(head)) return Buffer.from(body, "base64").toString("utf8");
  if (!/quoted-printable/i.test(head)) return body;
  return body.replace(/=\r?\n/g, "").replace(/=([0-9A-F]{2})/g, (_, hex) => String.fromCharCode(parseInt(hex, 16)));
}

/** The path of the link in the newest mail to somebody about something; the server's mail job decides when it is there. */
async function linkTo(email, subject) {
  for (let tries = 0; tries < 200; tries += 1) {
    let names = [];
    try {
      names = readdirSync(mailbox).filter((name) => name.endsWith(".eml")).sort().reverse();
    } catch {
      // The folder comes with the first mail.
    }
    for (const name of names) {
      const raw = readFileSync(join(mailbox, name), "utf8");
      if (!raw.includes(`To: ${email}`) || !new RegExp(`^Subject: .*${subject}`, "m").test(raw)) continue;
      const link = new URL(/https?:\/\/\S+/.exec(textOf(raw))[0]);
      return link.pathname + link.search;
    }
    await pause(50);
  }
  throw new Error(`no mail to ${email} about ${subject}`);
}

const email = `node.${Date.now()}@example.com`;
const newEmail = `new.${email}`;
const password = "correct horse battery staple";
const newPassword = "Tr0ub4dor & 3";

const first = await derive(email, password);
const registration = { email, publicKey: first.publicKey, sharedKey: first.shared, passwordHint: "four words", ...first.parameters };
assert.deepEqual(await succeed("POST", "/api/auth/register", { body: registration }, 201), {});
console.log("registered");

await refuse("LP-Email-Not-Verified", "POST", "/api/auth/oauth?grantType=login", { body: { email, sharedKey: first.shared } });
const verified = await call("GET", await linkTo(email, "Activate"));
assert.equal(verified.status, 302);
assert.match(verified.location, /\/verification\/email$/);
console.log("verified by mail");

const plain = await login(email, password);
assert.equal(plain.verified, true);
const row = {
  id: randomUUID(),
  owner: plain.userId,
  type: 1,
  protectedData: aes.encryptAesGcm(first.vault, "a note"),
  favorite: false,
  rePrompt: false,
};
await succeed("PUT", "/api/cipher", { body: row, key: plain.apiKey }, 201);
console.log("signed in, and wrote a row");

const setUp = { sharedKey: (await derive(email, password)).shared, secret: SECRET, code: totp() };
const { recoveryCode } = await succeed("POST", "/api/user/setup/2fa", { body: setUp, key: plain.apiKey });
console.log("set two-factor up");

const withCode = await login(email, password);
assert.equal(withCode.verified, false);
await refuse("LP-Invalid-Token", "GET", "/api/cipher", { key: withCode.apiKey });
assert.deepEqual(await succeed("POST", "/api/auth/oauth?grantType=2fa", answer(withCode.apiKey, totp())), {});
assert.equal((await succeed("GET", "/api/cipher", { key: withCode.apiKey })).length, 1);
console.log("signed in with a code");

const withRecovery = await login(email, password);
await succeed("POST", "/api/auth/oauth?grantType=2fa", answer(withRecovery.apiKey, recoveryCode));
const again = await login(email, password);
await refuse("LP-Invalid-Two-Factor", "POST", "/api/auth/oauth?grantType=2fa", answer(again.apiKey, recoveryCode));
console.log("signed in with the recovery code, once");

const old = await derive(email, password);
const next = await derive(email, newPassword);
const { ciphers } = await succeed("POST", "/api/cipher/sync", {
  body: { lastSyncTimestamp: 0, updated: [], deleted: [] },
  key: withRecovery.apiKey,
});
const rewrite = (from, to) => (stored) => ({
  id: stored.id,
  data: aes.encryptAesGcm(to, aes.decryptAesGcm(from, stored.protectedData)),
});
await succeed("PATCH", "/api/user/password", {
  body: {
    oldSharedKey: old.shared,
    newPublicKey: next.publicKey,
    newSharedKey: next.shared,
    newPasswordHint: "the comic",
    ...next.parameters,
    ciphers: ciphers.map(rewrite(old.vault, next.vault)),
  },
  key: withRecovery.apiKey,
});
await refuse("LP-Invalid-Token", "GET", "/api/cipher", { key: withCode.apiKey });
await refuse("LP-Invalid-Shared-Secret", "POST", "/api/auth/oauth?grantType=login", { body: { email, sharedKey: old.shared } });
console.log("changed the password");

const last = await login(email, newPassword);
const code = totp();
await succeed("POST", "/api/auth/oauth?grantType=2fa", answer(last.apiKey, code));
const [stored] = await succeed("GET", "/api/cipher", { key: last.apiKey });
assert.equal(aes.decryptAesGcm(next.vault, stored.protectedData), "a note");
const present = await derive(email, newPassword);
const moved = await derive(newEmail, newPassword);
await succeed("PATCH", "/api/user/email", {
  body: {
    newEmail,
    oldSharedKey: present.shared,
    newPublicKey: moved.publicKey,
    newSharedKey: moved.shared,
    ciphers: [rewrite(next.vault, moved.vault)(stored)],
  },
  key: last.apiKey,
});
assert.equal((await call("GET", await linkTo(newEmail, "Email Address Change"))).status, 302);
const [movedRow] = await succeed("GET", "/api/cipher", { key: last.apiKey });
assert.equal(aes.decryptAesGcm(moved.vault, movedRow.protectedData), "a note");
await refuse("LP-Invalid-Shared-Secret", "POST", "/api/auth/oauth?grantType=login", { body: { email, sharedKey: present.shared } });
assert.equal((await login(newEmail, newPassword)).userId, last.userId);
console.log("changed the address");

const { shared } = await derive(newEmail, newPassword);
await refuse("LP-Invalid-Two-Factor", "DELETE", "/api/user/delete", { body: { sharedKey: shared }, key: last.apiKey });
await succeed("DELETE", "/api/user/delete", { body: { sharedKey: shared, code }, key: last.apiKey });
await refuse("LP-Invalid-Token", "GET", "/api/cipher", { key: last.apiKey });
await refuse("LP-Invalid-Shared-Secret", "POST", "/api/auth/oauth?grantType=login", { body: { email: newEmail, sharedKey: shared } });
console.log("deleted the account");
