// Plays scenarios with the code of docs/client-node.md beside it: a line of JSON in, the results of its steps out.
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import * as page from "./client.mjs";

let limit; // milliseconds, where they are not those of the page

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

for await (const line of createInterface({ input: process.stdin })) {
  const { target, steps, deadline, authorities, token } = JSON.parse(line);
  limit = deadline === undefined ? undefined : deadline * 1000;
  const risk = page.connect(target, authorities === undefined ? undefined : Buffer.from(authorities), token);
  const came = [];
  for (const step of steps) came.push(await play[step.do](risk, step));
  risk.close();
  console.log(JSON.stringify(came));
}
