/** What may come before the login is over. ssh2-internals.test.ts of contract/ has the rest. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { guardLogin, type SshProtocol } from '../../../../../src/ssh/embedded/ssh2/internals.ts';

describe('guardLogin', () => {
  const open = () => {
    const delivered: number[] = [];
    const protocol = {
      _onPayload: (payload: Buffer) => void delivered.push(payload[0] ?? -1),
    } as unknown as SshProtocol;
    const accept = guardLogin(protocol, () => new Error('skipped'));
    return { delivered, accept, say: (number: number) => protocol._onPayload(Buffer.of(number)) };
  };

  it('until the key is accepted, only what does no harm', () => {
    const { delivered, say } = open();
    for (const number of [1, 2, 3, 4, 7]) say(number);
    for (const number of [5, 6, 20, 50, 52, 60, 80, 90, 91, 255])
      assert.throws(() => say(number), /skipped/, String(number));
    assert.deepEqual(delivered, [1, 2, 3, 4, 7]);
  });

  it('until the login is over, nothing of the protocols above (RFC 4252 §6)', () => {
    const { delivered, accept, say } = open();
    accept();
    for (const number of [6, 51, 53, 60, 79]) say(number);
    for (const number of [80, 81, 90, 94, 127, 192, 255])
      assert.throws(() => say(number), /comes before the login is over/, String(number));
    say(52);
    say(80);
    say(90);
    assert.deepEqual(delivered, [6, 51, 53, 60, 79, 52, 80, 90]);
  });
});
