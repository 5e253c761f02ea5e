// What a key account's client computes (librepass-wire 5.1): Argon2id, X25519, and the vault's AES-256-GCM.
import { argon2id } from "./vendored/argon2id.js";
import { x25519 } from "./vendored/x25519.js";

/** An understood "no"; its message is the last part of a text's key. */
export class Trouble extends Error {}

// What the server may ask for. Parameters below these would make the stored key cheap to guess, beyond them the browser stand still.
const RANGES = { parallelism: [1, 10], memory: [20480, 153600], iterations: [1, 10] };
const LEAST_SALT = 8;
const KEY_BYTES = 32;
const NONCE_BYTES = 12;

const utf8 = (text) => new TextEncoder().encode(text);

const toHex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

function fromHex(text) {
  if (!/^(?:[0-9a-f]{2})*$/i.test(text)) throw new Trouble("vault");
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

/** The private key behind an address, exactly as typed, and a password. */
export async function privateKey({ email, password, parameters }) {
  for (const [name, [least, most]] of Object.entries(RANGES)) {
    const value = parameters[name];
    if (!Number.isInteger(value) || value < least || value > most) throw new Trouble("parameters");
  }
  const salt = utf8(email);
  if (salt.length < LEAST_SALT) throw new Trouble("address");
  try {
    return await argon2id({
      password: utf8(password),
      salt,
      parallelism: parameters.parallelism,
      memorySize: parameters.memory,
      iterations: parameters.iterations,
      hashLength: KEY_BYTES,
      outputType: "binary",
    });
  } catch {
    // No WebAssembly, or not the memory that it takes.
    throw new Trouble("engine");
  }
}

/** The key to register. */
export const publicKey = (key) => toHex(x25519.getPublicKey(key));

/** The proof for this server key, which must not be one of those that give every client the same secret (RFC 7748 section 6.1). */
export function sharedKey(key, serverPublicKey) {
  try {
    return toHex(x25519.getSharedSecret(key, fromHex(serverPublicKey)));
  } catch {
    throw new Trouble("server");
  }
}

async function vaultKey(key) {
  // Browsers keep it from pages that came without TLS.
  if (!globalThis.crypto?.subtle) throw new Trouble("insecure");
  const secret = x25519.getSharedSecret(key, x25519.getPublicKey(key));
  return crypto.subtle.importKey("raw", secret, "AES-GCM", false, ["encrypt", "decrypt"]);
}

/** The vault's rows under another key: nonce, ciphertext and tag, in hex. One row that does not open is enough to refuse them all. */
export async function rewritten(rows, from, to) {
  if (!rows.length) return [];
  const [before, after] = [await vaultKey(from), await vaultKey(to)];
  const done = [];
  for (const { id, data } of rows) {
    const stored = fromHex(data);
    const opening = { name: "AES-GCM", iv: stored.subarray(0, NONCE_BYTES) };
    const plain = await crypto.subtle.decrypt(opening, before, stored.subarray(NONCE_BYTES)).catch(() => {
      throw new Trouble("vault");
    });
    const nonce = crypto.getRandomValues(new Uint8Array(NONCE_BYTES));
    const sealed = new Uint8Array(await crypto.subtle.encrypt({ name: "AES-GCM", iv: nonce }, after, plain));
    done.push({ id, data: toHex(nonce) + toHex(sealed) });
  }
  return done;
}
