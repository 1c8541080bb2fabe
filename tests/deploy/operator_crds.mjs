// Validates objects of the Prometheus operator, given as a JSON list on the standard input, against the operator's own
// schemas. Those let unknown fields pass: every field that no validator has looked at is reported here.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const models = await import(
  pathToFileURL(
    process.env.NODE_PACKAGES + "/node_modules/@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/index.js",
  )
);

const watched = (value, path, fields) => {
  if (value === null || typeof value !== "object") return value;
  const children = {};
  if (!Array.isArray(value)) for (const key of Object.keys(value)) fields.set(`${path}/${key}`, false);
  return new Proxy(value, {
    get(target, key) {
      const child = target[key];
      if (typeof key !== "string" || !Object.hasOwn(target, key)) return child;
      fields.set(`${path}/${key}`, true);
      return (children[key] ??= watched(child, `${path}/${key}`, fields));
    },
  });
};

const mistakes = [];
for (const object of JSON.parse(readFileSync(0, "utf8"))) {
  const name = `${object.kind} ${object.metadata.name}`;
  const fields = new Map();
  try {
    // Not through the constructor: it would copy the object, and so look at every field.
    models[object.kind].prototype.validate.call(watched(object, "", fields));
  } catch (error) {
    mistakes.push(`${name}: ${error.message}`);
  }
  for (const [path, seen] of fields) if (!seen) mistakes.push(`${name}: unknown field ${path}`);
}
console.log(JSON.stringify(mistakes));
