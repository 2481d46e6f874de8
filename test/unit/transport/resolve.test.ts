import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { TunnelError } from '../../../src/errors.ts';
import { addressToExclude, resolveRemote } from '../../../src/transport/resolve.ts';

describe('resolveRemote', () => {
  it('gives all addresses, or jumphost-dns', async () => {
    assert.deepEqual(await resolveRemote('192.0.2.7', 2222), [{ host: '192.0.2.7', port: 2222 }]);
    assert.ok(
      (await resolveRemote('localhost', 22)).some(({ host }) => host === '127.0.0.1' || host === '::1'),
    );
    await assert.rejects(
      resolveRemote('no-such-host.invalid', 22),
      (error) => error instanceof TunnelError && error.code === 'jumphost-dns',
    );
  });

  it('an aborted signal rejects before anything is asked', async () => {
    let asked = 0;
    const lookup = async () => {
      asked++;
      return [];
    };
    const reason = new Error('stopped');
    await assert.rejects(resolveRemote('jump', 22, { signal: AbortSignal.abort(reason), lookup }), reason);
    assert.equal(asked, 0);
  });

  it('an abort while the resolver is silent rejects at once; its late answers are ignored', async () => {
    const reason = new Error('stopped');
    for (const late of ['answer', 'failure']) {
      let answer: () => void = () => {};
      const lookup = () =>
        new Promise<{ address: string }[]>((resolve, reject) => {
          answer = () => (late === 'answer' ? resolve([]) : reject(new Error('too late')));
        });
      const controller = new AbortController();
      const pending = resolveRemote('jump', 22, { signal: controller.signal, lookup });
      setImmediate(() => controller.abort(reason));
      await assert.rejects(pending, reason);
      answer();
      // An unhandled rejection would fail the test.
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  });

  it('a resolver that is silent for too long: jumphost-dns', async () => {
    const before = Date.now();
    await assert.rejects(
      resolveRemote('jump.test', 22, { timeout: 0.1, lookup: () => new Promise(() => {}) }),
      (error) =>
        error instanceof TunnelError &&
        error.code === 'jumphost-dns' &&
        /jump\.test.*resolver does not answer within 0\.1 s/.test(error.message),
    );
    assert.ok(Date.now() - before < 1000);
  });

  it('a zone stays for dialling, and is no part of what is excluded', async () => {
    assert.deepEqual(await resolveRemote('fe80::1%lo', 22), [{ host: 'fe80::1%lo', port: 22 }]);
    const cases: readonly [host: string, excluded: string | undefined][] = [
      ['192.0.2.7', '192.0.2.7'],
      ['2001:db8::1', '2001:db8::1'],
      ['2001:db8::1%eth0', '2001:db8::1'],
      ['fe80::1%eth0', undefined],
      ['FEBF::1', undefined],
      ['fec0::1', 'fec0::1'],
      ['fe8::1', 'fe8::1'],
    ];
    for (const [host, excluded] of cases) assert.equal(addressToExclude(host), excluded, host);
  });
});
