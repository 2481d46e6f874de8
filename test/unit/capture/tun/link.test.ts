/** Every byte arrives in order, both ends finish, nothing is left: over links of all kinds. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type LinkOptions, runLink } from '../../../support/tcplink.ts';

const SEEDS = process.env['TUNNEL_LONG'] === '1' ? 500 : 8;

type Kind = Omit<LinkOptions, 'seed' | 'flows' | 'maxBytes'>;

const KINDS: Readonly<Record<string, Kind>> = {
  'a perfect one': { loss: 0, duplication: 0, reordering: 0, lateMs: 0, delayMs: 0 },
  'one that loses': { loss: 0.03, duplication: 0, reordering: 0, lateMs: 0, delayMs: 1 },
  'one that reorders': { loss: 0, duplication: 0, reordering: 0.1, lateMs: 20, delayMs: 1 },
  'one that duplicates': { loss: 0, duplication: 0.2, reordering: 0.05, lateMs: 100, delayMs: 0 },
  'a distant one': { loss: 0.005, duplication: 0.01, reordering: 0.01, lateMs: 50, delayMs: 120 },
  'a bad one': { loss: 0.1, duplication: 0.1, reordering: 0.2, lateMs: 300, delayMs: 10 },
};

describe('connections over a link', () => {
  for (const [name, kind] of Object.entries(KINDS))
    it(`of this kind: ${name}`, () => {
      let bytes = 0;
      let lost = 0;
      let retransmissions = 0;
      for (let seed = 1; seed <= SEEDS; seed++) {
        const summary = runLink({ ...kind, seed, flows: 8, maxBytes: 300_000 });
        bytes += summary.bytesUp + summary.bytesDown;
        lost += summary.lost;
        retransmissions += summary.retransmissions;
      }
      assert.ok(bytes > 100_000 * SEEDS, `${bytes} bytes`);
      assert.equal(lost > 0, kind.loss > 0, `${lost} frames were lost`);
      if (kind.loss > 0) assert.ok(retransmissions > SEEDS, `${retransmissions} retransmissions`);
    });
});
