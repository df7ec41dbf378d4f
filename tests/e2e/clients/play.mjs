// Plays a scenario with the code of docs/client-node.md beside it: JSON in, what came of each step out.
import { readFileSync } from "node:fs";
import { promisify } from "node:util";
import * as page from "./client.mjs";

const scenario = JSON.parse(readFileSync(0, "utf8"));
const limit = scenario.deadline === undefined ? undefined : scenario.deadline * 1000;

const play = {
  example(risk, { subject, address, amr, attempt }) {
    return page.example(risk, subject, address, async () => amr, attempt);
  },

  async sign_in(risk, { amr, attempt, subject, address, more }) {
    const begun = performance.now();
    const challenges = [];
    const [requirement, assessment] = await page.assess(risk, { attempt, subject, address, ...more }, limit);
    const seconds = (performance.now() - begun) / 1000;
    const established = await page.signIn(risk, requirement, assessment, async (asked) => {
      challenges.push(asked);
      return amr;
    });
    const { tier, acr_values } = requirement;
    return { tier, acr_values, assessment, challenged: challenges.length, established, seconds };
  },

  async mistake(risk) {
    try {
      return await promisify(risk.Assess).call(risk, {}, { deadline: Date.now() + 5000 });
    } catch (error) {
      const { reason, fields } = page.explain(error);
      return [reason, fields];
    }
  },

  tell(risk, { assessment }) {
    return page.tell(risk, assessment, { session_established: {} }, limit);
  },

  pause(_, { seconds }) {
    return new Promise((done) => setTimeout(done, seconds * 1000));
  },
};

const authorities = scenario.authorities === undefined ? undefined : Buffer.from(scenario.authorities);
const risk = page.connect(scenario.target, authorities, scenario.token);
const came = [];
for (const step of scenario.steps) came.push(await play[step.do](risk, step));
risk.close();
console.log(JSON.stringify(came));
