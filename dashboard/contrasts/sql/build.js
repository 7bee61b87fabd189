// Makes bundle.js and LICENCES.md of editor.js and the packages of package-lock.json: `npm ci && npm run build`.

import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const read = (name) => readFileSync(name, "utf8");
const digest = (text) => createHash("sha256").update(text).digest("hex");

const { packages } = JSON.parse(read("package-lock.json"));
const used = Object.entries(packages).filter(([path, { dev, optional }]) => path && !dev && !optional);
const told = used.map(([path, { version, license }]) => [path.replace("node_modules/", ""), version, license, path]);

const { outputFiles } = await build({
  entryPoints: ["editor.js"], bundle: true, minify: true, format: "esm", target: "es2022", charset: "utf8", legalComments: "none", write: false,
});
const body = outputFiles[0].text;
const head = `/* Made by build.js; do not edit. Licences: LICENCES.md.\n`
  + told.map(([name, version]) => `   ${name} ${version}\n`).join("")
  + `   source ${digest(read("editor.js") + read("package-lock.json"))}\n   body ${digest(body)} */\n`;
writeFileSync("bundle.js", head + body);

const licence = (path) => read(`${path}/${readdirSync(path).find((name) => /^licen[cs]e/i.test(name))}`).trim();
const texts = new Map();
for (const one of told) texts.set(licence(one[3]), [...(texts.get(licence(one[3])) ?? []), one]);
const parts = [...texts].map(([text, of]) => `${of.map(([name, version, kind]) => `- ${name} ${version} (${kind})`).join("\n")}\n\n\`\`\`\n${text}\n\`\`\`\n`);
writeFileSync("LICENCES.md", `# Licences of what bundle.js holds\n\nMade by build.js from package-lock.json.\n\n${parts.join("\n")}`);
