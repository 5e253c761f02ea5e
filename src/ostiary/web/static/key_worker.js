// Who knows the password: a worker that can talk to nobody but the page that started it, for the policy of its file names no place to
// connect to. No private key leaves it.
import { Trouble, privateKey, publicKey, rewritten, sharedKey } from "./derivation.js";

const TASKS = {
  /** To register and to sign in. */
  async prove({ who, serverPublicKey }) {
    const key = await privateKey(who);
    return { publicKey: publicKey(key), sharedKey: sharedKey(key, serverPublicKey) };
  },

  /** Another password: the proof of the old key, the new one with its own, and the vault under it. */
  async replace({ from, to, serverPublicKey, rows }) {
    const [before, after] = [await privateKey(from), await privateKey(to)];
    return {
      oldSharedKey: sharedKey(before, serverPublicKey),
      newPublicKey: publicKey(after),
      newSharedKey: sharedKey(after, serverPublicKey),
      rows: await rewritten(rows, before, after),
    };
  },
};

addEventListener("message", async ({ data }) => {
  try {
    postMessage({ done: await TASKS[data.task](data) });
  } catch (error) {
    postMessage({ trouble: error instanceof Trouble ? error.message : "engine" });
  }
});
