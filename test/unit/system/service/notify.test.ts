import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Notifier } from '../../../../src/system/service/notify.ts';

const EAGAIN = 11;
const ECONNREFUSED = 111;

function receiver(answer: () => number = () => 0) {
  const got: (readonly [string, string])[] = [];
  const send = (path: Uint8Array, octets: Uint8Array) => {
    const error = answer();
    if (error === 0) got.push([Buffer.from(path).toString(), Buffer.from(octets).toString()]);
    return error;
  };
  return { got, send };
}

describe('Notifier', () => {
  it('sends to the socket, and keeps the variables from other programs', () => {
    const { got, send } = receiver();
    const env = { NOTIFY_SOCKET: '/run/notify', WATCHDOG_USEC: '2000000', OTHER: '1' };
    const notifier = Notifier.take(env, { send });
    notifier.send('READY=1', 'STATUS=up');
    assert.deepEqual(env, { OTHER: '1' });
    assert.deepEqual(got, [['/run/notify', 'READY=1\nSTATUS=up']]);
    assert.ok(notifier.active);
  });

  it('knows abstract sockets, and does nothing without one', () => {
    const { got, send } = receiver();
    Notifier.take({ NOTIFY_SOCKET: '@abstract' }, { send }).send('READY=1');
    assert.deepEqual(got, [['\0abstract', 'READY=1']]);
    for (const name of [undefined, '', 'relative', '@', 'vsock:2:1', `/${'x'.repeat(200)}`]) {
      const env = name === undefined ? {} : { NOTIFY_SOCKET: name };
      const notifier = Notifier.take(env, { send });
      notifier.send('READY=1');
      assert.ok(!notifier.active);
    }
    assert.equal(got.length, 1);
  });

  it('sends WATCHDOG=1 twice in its time, from the event loop', async () => {
    const { got, send } = receiver();
    const notifier = Notifier.take({ NOTIFY_SOCKET: '/n', WATCHDOG_USEC: '100000' }, { send });
    notifier.keepAlive();
    const until = performance.now() + 10_000;
    while (got.length < 4 && performance.now() < until) await delay(5);
    const before = got.length;
    const end = performance.now() + 300;
    while (performance.now() < end); // the loop is stuck
    assert.equal(got.length, before);
    notifier.close();
    assert.deepEqual(new Set(got.map(([, text]) => text)), new Set(['WATCHDOG=1']));
  });

  it('leaves the watchdog alone that is for another process, or for none', async () => {
    for (const more of [
      { WATCHDOG_USEC: '1000', WATCHDOG_PID: '1' },
      {},
      { WATCHDOG_USEC: '-1' },
    ]) {
      const { got, send } = receiver();
      const notifier = Notifier.take({ NOTIFY_SOCKET: '/n', ...more }, { send });
      notifier.keepAlive();
      await delay(20);
      notifier.close();
      assert.deepEqual(got, []);
    }
  });

  it('tries again in order while systemd is busy, and gives up when nobody listens', async () => {
    let error = EAGAIN;
    const { got, send } = receiver(() => error);
    const notifier = Notifier.take({ NOTIFY_SOCKET: '/n' }, { send });
    notifier.send('READY=1');
    notifier.send('STATUS=a');
    error = 0;
    const until = performance.now() + 10_000;
    while (got.length < 2 && performance.now() < until) await delay(5);
    assert.deepEqual(
      got.map(([, text]) => text),
      ['READY=1', 'STATUS=a'],
    );
    error = ECONNREFUSED;
    notifier.send('STATUS=b');
    error = 0;
    notifier.send('STATUS=c');
    assert.equal(got.at(-1)?.[1], 'STATUS=c');
    assert.equal(got.length, 3);
  });
});
