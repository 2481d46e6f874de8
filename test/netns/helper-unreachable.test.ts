/** The helper: what stays unreachable behind its device's routes, and what is removed. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type HelperNamespace, inNamespace } from '../support/helperlab.ts';
import { labUnavailable } from '../support/requirements.ts';

const PREFIXES = ['10.0.0.0/8', '172.16.5.0/24', '2001:db8::/32'] as const;

async function unreachable(namespace: HelperNamespace): Promise<string[]> {
  const lines = await Promise.all(
    ['-4', '-6'].map((family) => namespace.ip(`${family} route show proto 116 type unreachable`)),
  );
  return lines
    .join('\n')
    .split('\n')
    .flatMap((line) => {
      const [, prefix] = /^unreachable (\S+)/.exec(line) ?? [];
      return prefix === undefined ? [] : [prefix];
    })
    .sort();
}

describe('helper: unreachable routes', { skip: labUnavailable() }, () => {
  it('makes exactly those that it is told, and leaves them at its end', () =>
    inNamespace([], async (namespace) => {
      const before = await namespace.state();
      const { client } = await namespace.tunnel();
      await client.must('routes', ...PREFIXES);
      await client.must('unreachable', ...PREFIXES);
      assert.deepEqual(await unreachable(namespace), [...PREFIXES]);
      assert.match(await namespace.ip('route get 10.1.2.3'), /dev tun0/);
      await client.must('unreachable', '10.0.0.0/9', PREFIXES[2]);
      assert.deepEqual(await unreachable(namespace), ['10.0.0.0/9', PREFIXES[2]]);
      await client.must('close');
      await client.stop();
      assert.deepEqual(await unreachable(namespace), ['10.0.0.0/9', PREFIXES[2]]);

      const cleaner = await namespace.client();
      await cleaner.start();
      await cleaner.must('unreachable');
      await cleaner.must('close');
      await cleaner.stop();
      assert.equal(await namespace.state(), before);
    }));

  it('makes nothing unreachable that is not captured; the session goes on', () =>
    inNamespace([], async (namespace) => {
      const { client } = await namespace.tunnel();
      await client.must('routes', '10.0.0.0/8');
      for (const prefix of ['0.0.0.0/1', '10.0.0.0/7', '11.0.0.0/8', '2001:db8::/32']) {
        const { message } = await client.fails('unreachable', '10.0.0.0/8', prefix);
        assert.match(message, /EINVAL/);
        assert.deepEqual(await unreachable(namespace), []);
      }
      await client.must('unreachable', '10.0.0.0/8', '10.9.0.0/16');
      assert.deepEqual(await unreachable(namespace), ['10.0.0.0/8', '10.9.0.0/16']);
      await client.must('unreachable');
    }));

  it('removes what is left, however much that is', () =>
    inNamespace(['link add eth0 type veth peer name eth0p'], async (namespace) => {
      const before = await namespace.state();
      const left = (count: number) =>
        Array.from(
          { length: count },
          (_, i) =>
            `route add unreachable 10.${i >> 13}.${(i >> 5) & 255}.${(i & 31) << 3}/29 proto 116 metric 1953853036`,
        );
      // One tunnel leaves HELPER_MAX_PREFIXES at most, but two that run at a time may.
      await namespace.batch(left(17_000));
      const { client } = await namespace.tunnel();
      await client.must('routes', '10.0.0.0/8', '10.0.0.0/29');
      await client.must('unreachable', '10.0.0.0/8', '10.0.0.0/29');
      assert.deepEqual(await unreachable(namespace), ['10.0.0.0/29', '10.0.0.0/8']);
      await client.must('unreachable');
      await client.must('close');
      await namespace.becomes(before);
    }));

  it("removes what is left of others, but not a running one's, nor an administrator's", () =>
    inNamespace([], async (namespace) => {
      const first = await namespace.tunnel();
      await first.client.must('routes', '10.0.0.0/8');
      await first.client.must('unreachable', '10.0.0.0/8');
      await namespace.batch([
        'route add unreachable 172.16.0.0/12 metric 1953853036',
        'route add unreachable 192.0.2.0/24 proto 116 metric 1953853036',
        'route add unreachable 2001:db8::/32 proto 116 metric 7',
      ]);
      const second = await namespace.tunnel();
      await second.client.must('routes', '192.0.2.0/25');
      await second.client.must('unreachable', '192.0.2.0/25');
      assert.deepEqual(await unreachable(namespace), ['10.0.0.0/8', '192.0.2.0/25']);
      assert.match(await namespace.ip('route show 172.16.0.0/12'), /unreachable/);
      for (const { client } of [first, second]) await client.must('unreachable');
      assert.deepEqual(await unreachable(namespace), []);
    }));

  it('keeps a route that is left over while the next device takes its prefix', () =>
    inNamespace(
      ['route add unreachable 10.0.0.0/8 proto 116 metric 1953853036'],
      async (namespace) => {
        const { client } = await namespace.tunnel();
        await client.must('routes', '10.0.0.0/8');
        assert.match(await namespace.ip('route get 10.1.2.3'), /dev tun0/);
        await client.must('unreachable', '10.0.0.0/8');
        assert.deepEqual(await unreachable(namespace), ['10.0.0.0/8']);
        await client.must('unreachable');
        assert.deepEqual(await unreachable(namespace), []);
      },
    ));
});
