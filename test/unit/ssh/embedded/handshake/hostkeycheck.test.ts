/** What becomes of the verdict when ssh2 can't go on with it. */
import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import type { Client } from 'ssh2';
import { hostKeyCheck } from '../../../../../src/ssh/embedded/handshake/hostkeycheck.ts';
import type { HostKeyVerifier } from '../../../../../src/ssh/hostkeys/verifier.ts';

describe('hostKeyCheck', () => {
  it('reports that the exchange can not be ended, which nothing else does', async () => {
    const failures: unknown[] = [];
    const rejections: unknown[] = [];
    const check = (accepts: boolean) =>
      hostKeyCheck({
        client: new EventEmitter() as Client,
        verifier: {
          verify: () =>
            accepts
              ? Promise.resolve({ described: 'key', why: 'known', proven: async () => {} })
              : Promise.reject(new Error('not known')),
        } as unknown as HostKeyVerifier,
        host: 'jump',
        port: 22,
        signal: new AbortController().signal,
        onPrompt: () => {},
        onAccepted: () => {},
        onRejected: (error) => rejections.push((error as Error).message),
        onFailed: (error) => failures.push((error as Error).message),
      });
    check(true)(Buffer.from('key'), () => {
      throw new Error('no secret can be computed');
    });
    await turn();
    assert.deepEqual([failures, rejections], [['no secret can be computed'], []]);
    check(false)(Buffer.from('key'), () => {});
    await turn();
    assert.deepEqual([failures.length, rejections], [1, ['not known']]);
  });
});
