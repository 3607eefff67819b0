// Is `$metadata` OData V4 CSDL, and does the service document name what is in it? A running server is asked, and OASIS's own words
// judge: its XML schemas, its strict reader, and its JSON schema. Nothing leaves this machine.
"use strict";

const assert = require("node:assert");
const { spawn } = require("node:child_process");
const fs = require("node:fs");
const { createRequire } = require("node:module");
const os = require("node:os");
const path = require("node:path");
const readline = require("node:readline");

const [binary, installed] = process.argv.slice(2);
const packages = createRequire(path.join(installed, "package.json"));
const Ajv = packages("ajv").default;
const { xml2json } = packages("odata-csdl");
const { validateXML } = packages("xmllint-wasm");

const schemas = path.join(path.dirname(packages.resolve("odata-csdl")), "../schemas");
const schema = (name) => fs.readFileSync(path.join(schemas, name), "utf8");

// What the XML schemas find wrong.
async function faults(xml) {
  const judged = await validateXML({
    xml: { fileName: "metadata.xml", contents: xml },
    schema: { fileName: "edmx.xsd", contents: schema("edmx.xsd") },
    preload: [{ fileName: "edm.xsd", contents: schema("edm.xsd") }],
  });
  return judged.errors.map((error) => error.message);
}

// Every type that a model names is its own or one of OData's.
function namesOnlyWhatIs(model) {
  const [namespace] = Object.keys(model).filter((key) => !key.startsWith("$"));
  const own = Object.keys(model[namespace]).map((name) => `${namespace}.${name}`);
  const walk = (value, key) => {
    if (key === "$Type") assert(value.startsWith("Edm.") || own.includes(value), `${value} is not there`);
    if (value && typeof value === "object") Object.entries(value).forEach(([name, inner]) => walk(inner, name));
  };
  walk(model, "");
  return model[namespace];
}

async function judge(url) {
  const answer = await fetch(`${url}/api/$metadata`);
  assert.strictEqual(answer.status, 200);
  assert.strictEqual(answer.headers.get("odata-version"), "4.0");
  const xml = await answer.text();
  assert.deepStrictEqual(await faults(xml), []);
  assert.notDeepStrictEqual(await faults(xml.replace('Nullable="false"', 'Nullable="perhaps"')), [], "it judges");
  const messages = [];
  const model = xml2json(xml, { strict: true, messages });
  assert.deepStrictEqual(messages, []);
  assert.throws(() => xml2json(xml.replace('Name="Stats"', ""), { strict: true }), "it judges");
  const ajv = new Ajv({ strict: false, validateFormats: false });
  assert(ajv.validate(JSON.parse(schema("csdl.schema.json")), model), ajv.errorsText());
  const named = namesOnlyWhatIs(model);
  const document = await (await fetch(`${url}/api/`)).json();
  assert.strictEqual(document["@odata.context"], `${url}/api/$metadata`);
  const sets = Object.entries(named.Container).filter(([, entry]) => entry && entry.$Collection);
  assert.deepStrictEqual(document.value.map((set) => set.name), sets.map(([name]) => name));
  const properties = Object.keys(named.InOrgIPStats).filter((name) => !name.startsWith("$"));
  const keys = ["ipAddress", "orgPrevalence", "organizationPrevalence", "orgFirstSeen", "orgLastSeen"];
  assert.deepStrictEqual(properties, keys);
}

async function main() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "seenby-metadata-"));
  const command = ["serve", "--listen", "127.0.0.1:0", "--data-dir", path.join(folder, "data")];
  const server = spawn(binary, command, { stdio: ["ignore", "pipe", "ignore"] });
  try {
    const lines = readline.createInterface({ input: server.stdout });
    const url = await new Promise((found, lost) => {
      lines.once("line", found);
      server.once("exit", (code) => lost(new Error(`the server ended with ${code}`)));
    });
    await judge(url);
    console.log("ok  $metadata is OData V4 CSDL: XML schemas, strict reader, JSON schema");
  } finally {
    server.kill("SIGTERM");
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
