import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fuzzEndpoint } from '../../../support/tcpfuzz.ts';

/** Games, and events of each. A seed that was found to matter belongs among them. */
const LONG = process.env['TUNNEL_LONG'] === '1';
const SEEDS = LONG ? 2000 : 40;
const EVENTS = 5000;

describe('the endpoint, against chance', () => {
  it(`keeps its word in ${SEEDS * EVENTS} events`, () => {
    let opened = 0;
    let bytesIn = 0;
    let bytesOut = 0;
    for (let seed = 1; seed <= SEEDS; seed++) {
      const summary = fuzzEndpoint(seed, EVENTS);
      opened += summary.opened;
      bytesIn += summary.bytesIn;
      bytesOut += summary.bytesOut;
    }
    // It has been somewhere.
    assert.ok(opened > 10 * SEEDS, `${opened} flows`);
    assert.ok(
      bytesIn > 100_000 * SEEDS && bytesOut > 100_000 * SEEDS,
      `${bytesIn} in, ${bytesOut} out`,
    );
  });
});
