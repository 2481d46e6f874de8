/** The words of `tunnel status`. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { describeQuestion, describeState } from '../../../src/cli/status.ts';
import type { Glance, LinkStatus } from '../../../src/control/status.ts';

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

describe('the question that waits', () => {
  const glance = (more: Partial<Glance>) =>
    describeQuestion({ name: 'lab', at: 9_000, link: IDLE, ...more } as Glance);

  it('says what is asked and where, or which command asks', () => {
    assert.equal(glance({}), undefined);
    assert.equal(
      glance({ asked: { text: 'Code:', at: 'tunnel', since: 5_000 } }),
      "Code: (asked at the tunnel's own terminal, for 4 s)",
    );
    const waiting = (code: string) =>
      glance({ link: { ...IDLE, state: 'waiting', error: { code, message: 'why' } } });
    const ask = 'the login wants an answer: "tunnel reconnect lab" asks at its terminal';
    assert.equal(waiting('no-terminal'), ask);
    assert.equal(waiting('auth-cancelled'), ask);
    assert.equal(waiting('auth-failed'), undefined);
  });
});
