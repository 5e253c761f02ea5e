// Bundles other people's code for the pages: node scripts/vendored/build.mjs [folder]. The same bytes on every machine: the lock
// names the inputs by their hashes, the bundler is one of them, and neither time nor place goes into what it writes.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const folder = process.argv[2] ?? join(here, "../../src/ostiary/web/static/vendored");

const BUNDLES = {
  "argon2id.js": 'export { argon2id } from "hash-wasm";',
  "x25519.js": 'export { x25519 } from "@noble/curves/ed25519.js";',
};

/** The package that a bundled file came from. */
const packageOf = (input) => /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input)?.[1];

const described = (name) => JSON.parse(readFileSync(join(here, "node_modules", name, "package.json"), "utf8"));

mkdirSync(folder, { recursive: true });
const licences = new Map();
const manifest = {};
for (const [name, contents] of Object.entries(BUNDLES)) {
  const result = await build({
    stdin: { contents, resolveDir: here },
    absWorkingDir: here,
    bundle: true,
    charset: "utf8",
    format: "esm",
    legalComments: "none",
    metafile: true,
    minify: true,
    target: "es2022",
    write: false,
    // Where the licences of what is inside stand is said in the file itself.
    banner: { js: "/* Made by scripts/vendored from the packages in manifest.json, whose licences are in LICENCES.txt. */" },
  });
  const [{ contents: bytes }] = result.outputFiles;
  const parts = [...new Set(Object.keys(result.metafile.inputs).map(packageOf).filter(Boolean))].sort();
  for (const part of parts) licences.set(part, readFileSync(join(here, "node_modules", part, "LICENSE"), "utf8"));
  writeFileSync(join(folder, name), bytes);
  manifest[name] = {
    sha256: createHash("sha256").update(bytes).digest("hex"),
    packages: Object.fromEntries(parts.map((part) => [part, { version: described(part).version, license: described(part).license }])),
  };
}
const texts = [...licences].sort(([one], [other]) => (one < other ? -1 : 1)).map(([part, text]) => `${part}\n\n${text.trim()}\n`);
writeFileSync(join(folder, "LICENCES.txt"), texts.join("\n----\n\n"));
writeFileSync(join(folder, "manifest.json"), `${JSON.stringify(manifest, null, 2)}\n`);
