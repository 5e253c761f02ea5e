// Forms of key accounts. Their password fields have no name, so no browser sends them, with this script or without it: what is sent
// is what the worker made of them.

const form = document.querySelector("form[data-key]");
const note = document.getElementById("key-note");
const texts = note.dataset;
const secrets = form.querySelectorAll("input[type=password]");

for (const input of secrets) input.required = true;

/** Ends with a text to show instead of what the form is for. */
class Refused extends Error {}

/** What the worker makes of this; nothing of it stays behind. */
function computed(message) {
  const worker = new Worker(form.dataset.worker, { type: "module" });
  return new Promise((resolve, reject) => {
    worker.addEventListener("message", ({ data }) => {
      if (data.done) resolve(data.done);
      else reject(new Refused(texts[data.trouble] ?? texts.engine));
    });
    worker.addEventListener("error", () => reject(new Refused(texts.engine)));
    worker.postMessage(message);
  }).finally(() => worker.terminate());
}

/** Our own server's answer to a form without secrets. */
async function asked(path, fields) {
  const body = new URLSearchParams({ form_token: form.elements.form_token.value, ...fields });
  let answer;
  try {
    answer = await fetch(path, { method: "POST", body, redirect: "error" });
  } catch {
    throw new Refused(texts.offline);
  }
  const found = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(found.problem ?? texts.engine);
  return found;
}

const field = (name) => form.elements[name];
const secret = (id) => document.getElementById(id).value;

/** Send what the server may see: the named fields, and these. */
function send(fields) {
  for (const [name, value] of Object.entries(fields)) {
    const input = document.createElement("input");
    Object.assign(input, { type: "hidden", name, value });
    form.append(input);
  }
  form.submit();
}

const JOURNEYS = {
  async "sign-in"() {
    const email = field("email").value.trim();
    const { serverPublicKey, ...parameters } = await asked("/login/derivation", { email });
    const who = { email, password: secret("password"), parameters };
    const { sharedKey } = await computed({ task: "prove", who, serverPublicKey });
    send({ shared_key: sharedKey });
  },

  async "sign-up"() {
    const email = field("email").value.trim();
    const password = chosen(field("hint").value);
    const { serverPublicKey, ...parameters } = await asked("/login/derivation", { email: "" });
    const made = await computed({ task: "prove", who: { email, password, parameters }, serverPublicKey });
    send({ public_key: made.publicKey, shared_key: made.sharedKey, ...parameters });
  },

  async replace() {
    const email = field("email").value.trim();
    const to = chosen(field("hint").value);
    const { parameters, newParameters, serverPublicKey, rows } = await asked("/account/key/vault", {});
    const made = await computed({
      task: "replace",
      from: { email, password: secret("password"), parameters },
      to: { email, password: to, parameters: newParameters },
      serverPublicKey,
      rows,
    });
    send({
      old_shared_key: made.oldSharedKey,
      public_key: made.newPublicKey,
      shared_key: made.newSharedKey,
      rows: JSON.stringify(made.rows),
      ...newParameters,
    });
  },
};

/** The new password, typed twice alike; the hint is mailed as it stands and must not give it away. */
function chosen(hint) {
  const [one, other] = [secret("new-password"), secret("new-password-again")];
  if (one !== other) throw new Refused(texts.mismatch);
  if (hint.toLowerCase().includes(one.toLowerCase())) throw new Refused(texts.hint);
  return one;
}

form.addEventListener("submit", async (event) => {
  // A second click: page.js has stopped it.
  if (event.defaultPrevented) return;
  event.preventDefault();
  note.textContent = texts.working;
  note.className = "note";
  note.hidden = false;
  try {
    await JOURNEYS[form.dataset.key]();
  } catch (error) {
    note.textContent = error instanceof Refused ? error.message : texts.engine;
    note.className = "note bad";
    delete form.dataset.sent;
    form.querySelector("button.primary").removeAttribute("aria-busy");
  }
});

addEventListener("pageshow", (event) => {
  // The browser's own "back" shows the form as it was sent: the rests go.
  if (event.persisted) location.reload();
});
