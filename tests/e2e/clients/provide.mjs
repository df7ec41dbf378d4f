// A provider with the sign-in of docs/identity-providers.md beside it; its accounts and clients come as JSON. Prints its port.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { Provider } from "oidc-provider";
import { connect } from "./client.mjs";
import { settings, signIn } from "./provider.mjs";

const { target, issuer, clients, accounts, proofs } = JSON.parse(readFileSync(0, "utf8"));
const REGISTERED = Date.parse("2024-05-01T09:30:00Z") / 1000;
const risk = connect(target);
const provider = new Provider(issuer, {
  ...settings(risk),
  clients,
  cookies: { keys: ["of the test"] },
  features: {
    backchannelLogout: { enabled: true },
    claimsParameter: { enabled: true },
    devInteractions: { enabled: false },
    introspection: { enabled: true, allowedPolicy: () => true },
  },
  findAccount: async (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  async loadExistingGrant({ oidc }) {
    const grant = new oidc.provider.Grant({ accountId: oidc.session.accountId, clientId: oidc.client.clientId });
    grant.addOIDCScope("openid");
    await grant.save();
    return grant;
  },
});
provider.proxy = true;
provider.maxIpsCount = 1;

const ours = {
  async find(login) {
    const factors = accounts[login.split("-")[0]];
    return factors ? { id: login, factors, registered: REGISTERED } : undefined;
  },
  checkPassword: async (_, password) => password === proofs.pwd,
  checkFactor: async (_, factor, answer) => answer === proofs[factor],
};
function show(ctx, factor) {
  ctx.type = "html";
  const inputs = factor ? `<input name="answer" title="${factor}">` : '<input name="login"><input name="password">';
  ctx.body = `<form method="post">${inputs}<button>Go on</button><button name="cancel">Cancel</button></form>`;
}
provider.use(signIn(provider, risk, ours, show));
const server = createServer(provider.callback());
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
