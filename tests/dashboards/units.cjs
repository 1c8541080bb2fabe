// Prints the ids of all units that Grafana knows, as @grafana/data declares them.
//
// Only the package's value formats are loaded, and only the dependencies that they need are installed
// (tests/tools/node/package.json replaces the others by an empty package). The translation of the units' names is stubbed.
const Module = require('node:module');
const path = require('node:path');

// Some units depend on the reader's language.
globalThis.navigator ??= { language: 'en', languages: ['en'] };

const [modules] = process.argv.slice(2);
const load = Module._load;
Module._load = (name, ...rest) => (name === '@grafana/i18n' ? { t: (key, text) => text } : load(name, ...rest));

const data = path.join(modules, 'node_modules', '@grafana', 'data', 'dist', 'cjs');
const { getValueFormats } = require(path.join(data, 'valueFormats', 'valueFormats.cjs'));
console.log(JSON.stringify(getValueFormats().flatMap((category) => category.submenu.map((unit) => unit.value))));
