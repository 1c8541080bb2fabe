// Prints the ids of all units that Grafana knows, as @grafana/data declares them.
//
// Of that package only the value formats are loaded, and of its dependencies only what they need is installed
// (tests/node/package.json puts an empty package in the place of the rest); the translation of the units' names is
// answered here with their English text.
const Module = require('node:module');
const path = require('node:path');

// Some units are written in the reader's own way.
globalThis.navigator ??= { language: 'en', languages: ['en'] };

const [modules] = process.argv.slice(2);
const load = Module._load;
Module._load = (name, ...rest) => (name === '@grafana/i18n' ? { t: (key, text) => text } : load(name, ...rest));

const data = path.join(modules, 'node_modules', '@grafana', 'data', 'dist', 'cjs');
const { getValueFormats } = require(path.join(data, 'valueFormats', 'valueFormats.cjs'));
console.log(JSON.stringify(getValueFormats().flatMap((category) => category.submenu.map((unit) => unit.value))));
