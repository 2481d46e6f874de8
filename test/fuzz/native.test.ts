/**
 * The parts in C against hostile octets, under sanitizers: the corpus again, and two seconds more.
 * For longer: ./scripts/fuzz.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { corpusOf } from './corpus.ts';
import { fuzzNative, NATIVE_TARGETS, nativeUnavailable } from './native.ts';

const LONG = process.env['TUNNEL_LONG'] === '1';
const SECONDS = LONG ? 60 : 2;

describe('hostile octets, in C', { skip: nativeUnavailable() ?? false }, () => {
  for (const target of NATIVE_TARGETS) {
    it(target.name, async () => {
      const corpus = corpusOf(target).length;
      const seed = LONG ? Math.trunc(Date.now() / 1000) : 1;
      const { finding, runs, edges } = await fuzzNative(target, { seconds: SECONDS, seed });
      const input = finding?.input && Buffer.from(finding.input).toString('base64');
      assert.equal(finding, undefined, `${finding?.report}\ninput: ${input}`);
      assert.ok(corpus > 5 && runs > corpus + 50 && edges > 25, `${runs} inputs, ${edges} edges`);
    });
  }
});
