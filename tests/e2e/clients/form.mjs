// Plays events on a form with the code of docs/browser.md beside it: JSON in, what the page posts and touches out.
import { readFileSync } from "node:fs";

const { granted, missing, fields: types, autofilled, events, sent } = JSON.parse(readFileSync(0, "utf8"));
const listening = [];
const read = { event: new Set(), field: new Set() };
let now = 0;

/** The object, and in `read` the name of every property that the page reads of it. */
function watched(object, kind) {
  const get = (target, name) => {
    read[kind].add(name);
    return target[name];
  };
  return new Proxy(object, { get });
}

class Target {
  addEventListener(type, hear, options) {
    listening.push({ target: this, type, hear, options });
  }

  removeEventListener(type, hear, { capture }) {
    const at = listening.findIndex((each) => each.hear === hear && each.type === type && each.options.capture === capture);
    if (at >= 0) listening.splice(at, 1);
  }

  fire(event) {
    now = event.timeStamp;
    for (const { target, type, hear } of [...listening]) {
      if (target === this && type === event.type) hear(watched(event, "event"));
    }
  }
}

const page = new Target();
const form = new Target();
const matches = (selector) => {
  if (autofilled === null) throw new SyntaxError(`'${selector}' is not a valid selector`);
  return selector === ":autofill" && autofilled;
};
const fields = Object.fromEntries(
  types.map((type) => [type, watched({ type, value: `the ${type}`, matches }, "field")]),
);
form.ownerDocument = page;
form.elements = Object.assign(Object.values(fields), { signals: { value: "" } });
page.querySelector = () => form;

const browser = {
  granted,
  document: page,
  navigator: { languages: ["nb-NO", "en"] },
  screen: { width: 1920, height: 1080 },
  PointerEvent: class {},
  Intl: { DateTimeFormat: () => ({ resolvedOptions: () => ({ timeZone: "Europe/Oslo" }) }) },
  performance: { now: () => now },
};
for (const [name, value] of Object.entries(browser)) {
  Object.defineProperty(globalThis, name, { value: missing.includes(name) ? undefined : value });
}

now = 1_000;
await import("./page.js");
const options = Object.fromEntries(listening.map((each) => [each.type, each.options?.passive ?? false]));
for (const { at, on, ...event } of events) (on ? form : page).fire({ ...event, timeStamp: at, target: fields[on] });
form.fire({ type: "submit", timeStamp: sent });
const posted = form.elements.signals.value;
const left = listening.map(({ type }) => type);
console.log(JSON.stringify({ posted, options, left, event: [...read.event].sort(), field: [...read.field].sort() }));
