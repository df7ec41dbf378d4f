// Runs the Action of docs/identity-providers.md as both Actions of a flow, against objects as Auth0 documents them:
// a challenge ends the first one, and the second runs if it was met. JSON in, what the Actions did out.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const { onExecutePostLogin } = createRequire(import.meta.url)("./action.js");
const { event, proves, remembered } = JSON.parse(readFileSync(0, "utf8"));
const done = [];
let denied = false;
let offered;

const api = {
  access: {
    deny(reason) {
      denied = true;
      done.push({ deny: reason });
    },
  },
  authentication: {
    challengeWithAny(factors) {
      offered = factors.map(({ type }) => type);
      done.push({ challenge: offered });
    },
  },
  transaction: {
    setMetadata(key, value) {
      if (!["string", "number", "boolean"].includes(typeof value)) throw new TypeError(`metadata ${key} is no scalar`);
      (event.transaction.metadata ??= {})[key] = value;
    },
  },
};

await onExecutePostLogin(event, api);
const met = !offered || remembered || offered.includes(proves);
if (offered && met && !remembered) {
  const timestamp = new Date().toISOString();
  event.authentication.methods.push({ name: "mfa", type: proves, timestamp });
}
if (!denied && met) await onExecutePostLogin(event, api);
console.log(JSON.stringify(done));
