// Validates objects for the Prometheus operator, a JSON list on standard input, against the operator's own schemas, and
// prints the mistakes as a JSON list. The schemas accept unknown fields: a field that no validator reads is a mistake.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const models = await import(
  pathToFileURL(
    process.env.NODE_PACKAGES + "/node_modules/@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/index.js",
  )
);

// A proxy that records in `fields` which fields of the value have been read.
const recorded = (value, path, fields) => {
  if (value === null || typeof value !== "object") return value;
  const children = {};
  if (!Array.isArray(value)) for (const key of Object.keys(value)) fields.set(`${path}/${key}`, false);
  return new Proxy(value, {
    get(target, key) {
      const child = target[key];
      if (typeof key !== "string" || !Object.hasOwn(target, key)) return child;
      fields.set(`${path}/${key}`, true);
      return (children[key] ??= recorded(child, `${path}/${key}`, fields));
    },
  });
};

const mistakes = [];
for (const object of JSON.parse(readFileSync(0, "utf8"))) {
  const name = `${object.kind} ${object.metadata.name}`;
  const fields = new Map();
  try {
    // Not through the constructor: it copies the object, and so reads every field.
    models[object.kind].prototype.validate.call(recorded(object, "", fields));
  } catch (error) {
    mistakes.push(`${name}: ${error.message}`);
  }
  for (const [path, read] of fields) if (!read) mistakes.push(`${name}: unknown field ${path}`);
}
console.log(JSON.stringify(mistakes));
