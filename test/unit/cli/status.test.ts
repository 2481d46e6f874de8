/** The words of `tunnel status`. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { describeState } from '../../../src/cli/status.ts';
import type { LinkStatus } from '../../../src/control/status.ts';

const IDLE: LinkStatus = {
  state: 'idle',
  since: 0,
  upSince: undefined,
  attempt: 0,
  error: undefined,
  holdSeconds: 30,
  held: 0,
  holdEndsAt: undefined,
  redialAt: undefined,
  roundTripMs: undefined,
  at: undefined,
  via: [],
  user: undefined,
  client: undefined,
  server: undefined,
  keyExchange: undefined,
  cipher: undefined,
  hostKey: undefined,
};

describe('the state of a link', () => {
  it('is idle on demand, and also after the server has closed one that nobody used', () => {
    assert.equal(describeState(IDLE, 5_000), 'idle (connects when needed) for 5 s');
  });
});
