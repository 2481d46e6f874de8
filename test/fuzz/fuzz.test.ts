/**
 * Parsers and state machines against hostile octets: the corpus again, and some more. For longer:
 * ./scripts/fuzz.
 */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { corpusOf, TARGETS } from './corpus.ts';
import { fuzz } from './engine.ts';
import { closeProxy } from './targets/proxies.ts';

const LONG = process.env['TUNNEL_LONG'] === '1';
/** Inputs of each target, and their limit in milliseconds. */
const RUNS = LONG ? 1_000_000 : 3_000;
const MILLISECONDS = LONG ? 60_000 : 1_500;

describe('hostile octets', () => {
  after(closeProxy);

  for (const target of TARGETS) {
    it(target.name, async () => {
      const { finding, runs, blocks } = await fuzz(target, {
        seed: LONG ? Date.now() : 1,
        runs: RUNS,
        milliseconds: MILLISECONDS,
        corpus: corpusOf(target),
      });
      const input = finding && Buffer.from(finding.input).toString('base64');
      assert.equal(finding, undefined, `${finding?.error.stack}\ninput: ${input}`);
      assert.ok(runs > 50 && blocks > 5, `${runs} inputs reached ${blocks} blocks`);
    });
  }
});
