import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { TunnelError } from '../../../../src/errors/errors.ts';
import {
  addressToExclude,
  RESOLVE_GRACE,
  type ResolveOptions,
  resolveJumpHosts,
  resolveRemote,
} from '../../../../src/ssh/dial/addresses.ts';
import type { SshSettings } from '../../../../src/ssh/settings.ts';
import { LogLines } from '../../../support/embedded.ts';
import { testSettings } from '../../../support/settings.ts';
import { AT_ONCE_MS } from '../../../support/until.ts';

describe('resolveRemote', () => {
  it('gives all addresses, or jumphost-dns', async () => {
    assert.deepEqual(await resolveRemote('192.0.2.7', 2222), [{ host: '192.0.2.7', port: 2222 }]);
    assert.ok(
      (await resolveRemote('localhost', 22)).some(
        ({ host }) => host === '127.0.0.1' || host === '::1',
      ),
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
    await assert.rejects(
      resolveRemote('jump', 22, { signal: AbortSignal.abort(reason), lookup }),
      reason,
    );
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
    const before = performance.now();
    await assert.rejects(
      resolveRemote('jump.test', 22, { timeout: 0.1, lookup: () => new Promise(() => {}) }),
      (error) =>
        error instanceof TunnelError &&
        error.code === 'jumphost-dns' &&
        /jump\.test.*resolver did not answer within 0\.1 s/.test(error.message),
    );
    assert.ok(performance.now() - before < AT_ONCE_MS);
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

  it('only addresses of the family that is asked for, and that BindAddress belongs to', async () => {
    const families: number[] = [];
    const lookup = async (host: string, family: 0 | 4 | 6) => {
      families.push(family);
      if (host === 'here.test') return [{ address: '192.0.2.1' }];
      return ['2001:db8::7', '192.0.2.7', '192.0.2.7'].map((address) => ({ address }));
    };
    const resolve = (options: ResolveOptions) =>
      resolveRemote('jump.test', 22, { ...options, lookup });
    assert.deepEqual(await resolve({ addressFamily: 'inet' }), [{ host: '192.0.2.7', port: 22 }]);
    assert.deepEqual(await resolve({ addressFamily: 'inet6' }), [
      { host: '2001:db8::7', port: 22 },
    ]);
    assert.deepEqual(families, [4, 6]);
    assert.deepEqual(await resolve({ bindAddress: 'here.test' }), [
      { host: '192.0.2.7', port: 22, localAddress: '192.0.2.1' },
    ]);
    await assert.rejects(resolve({ addressFamily: 'inet6', bindAddress: 'here.test' }), {
      code: 'jumphost-dns',
      hint: /BindAddress/,
    });
  });
});

describe('resolveJumpHosts', () => {
  const settings = (name: string, port = 22) => testSettings({ hostName: name, port });
  const known = async () => [{ address: '192.0.2.7' }];
  const unknown = (): Promise<never> =>
    Promise.reject(Object.assign(new Error('no'), { code: 'ENOTFOUND' }));

  it('what can not be resolved is left out with a warning; if that is all, its error is told', async () => {
    const observer = new LogLines();
    const lookup = (host: string) => (host === 'good.test' ? known() : unknown());
    const found = await resolveJumpHosts([settings('bad.test'), settings('good.test')], {
      observer,
      lookup,
    });
    assert.deepEqual(
      found.map(({ settings: { name }, addresses }) => [name, addresses]),
      [['good.test', [{ host: '192.0.2.7', port: 22 }]]],
    );
    assert.match(observer.lines.join(), /warning: bad\.test is left out: .*ENOTFOUND/);
    await assert.rejects(
      resolveJumpHosts([settings('bad.test'), settings('worse.test')], { lookup }),
      {
        code: 'jumphost-dns',
        message: /bad\.test/,
      },
    );
  });

  it('of a chain, only the outermost hop is resolved here', async () => {
    const asked: string[] = [];
    const lookup = async (host: string) => {
      asked.push(host);
      return known();
    };
    const outer = {
      ...settings('b.test'),
      proxy: { kind: 'jump', hops: [settings('a.test', 2222)] },
    } as const;
    const inner = { ...settings('c.test'), proxy: { kind: 'jump', hops: [outer] } } as const;
    const [found] = await resolveJumpHosts([inner], { lookup });
    assert.deepEqual(asked, ['a.test']);
    assert.deepEqual(found?.addresses, [{ host: '192.0.2.7', port: 2222 }]);
  });

  it('calls a host on the way what it is, and not the jump host', async () => {
    const chain = (more: Partial<SshSettings> = {}) =>
      ({
        ...settings('jump.test'),
        proxy: { kind: 'jump', hops: [{ ...settings('hop.test'), ...more }] },
      }) as const;
    const message = async (
      one: SshSettings,
      lookup: (host: string) => Promise<{ address: string }[]>,
      patience = (limit: number) => limit,
    ): Promise<string> => {
      const error = await resolveJumpHosts([one], { lookup, patience }).catch((cause) => cause);
      assert.ok(error instanceof TunnelError);
      assert.equal(error.code, 'jumphost-dns');
      assert.doesNotMatch(error.hint ?? '', /jump host/);
      return error.message;
    };
    const hop = 'the name hop.test of a host on the way to jump.test';
    assert.equal(await message(chain(), unknown), `${hop} can't be resolved (ENOTFOUND)`);
    const silent = await message(
      chain(),
      () => new Promise(() => {}),
      () => 0.05,
    );
    assert.equal(silent, `${hop} can't be resolved: the resolver did not answer within 0.05 s`);
    assert.equal(
      await message(chain({ addressFamily: 'inet6' }), known),
      'hop.test, a host on the way to jump.test, has no IPv6 address, but AddressFamily needs one',
    );
    assert.equal(
      await message(chain({ bindAddress: 'here.test' }), (host) =>
        host === 'here.test' ? unknown() : known(),
      ),
      "the BindAddress here.test can't be resolved (ENOTFOUND)",
    );
    assert.equal(
      await message(settings('jump.test'), unknown),
      "the jump host's name jump.test can't be resolved (ENOTFOUND)",
    );
  });

  it('a resolver that is silent about one name does not hold up the other for long', {
    timeout: 20_000,
  }, async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const observer = new LogLines();
    const lookup = (host: string) =>
      host === 'good.test' ? known() : new Promise<never>(() => {});
    const found = resolveJumpHosts(
      [{ ...settings('silent.test'), connectTimeout: 60 }, settings('good.test')],
      { observer, lookup },
    );
    for (let i = 0; i < 20; i++) await Promise.resolve();
    t.mock.timers.tick(RESOLVE_GRACE * 1000 + 1);
    assert.equal((await found)[0]?.settings.name, 'good.test');
    assert.match(observer.lines.join(), /silent\.test is left out: its name was not resolved/);
  });

  it('gives the resolver as much of the ConnectTimeout as there is patience for', async () => {
    const lookup = () => new Promise<never>(() => {});
    const asked: number[] = [];
    const patience = (limit: number) => {
      asked.push(limit);
      return 0.05;
    };
    await assert.rejects(
      resolveJumpHosts([{ ...settings('silent.test'), connectTimeout: 60 }], { lookup, patience }),
      { code: 'jumphost-dns', message: /did not answer within 0\.05 s/ },
    );
    assert.deepEqual(asked, [60]);
  });

  it('an abort rejects with its reason, before and after the first name is known', async () => {
    const reason = new Error('stop');
    for (const wait of [0, 20]) {
      const controller = new AbortController();
      const lookup = (host: string) =>
        host === 'good.test' && wait > 0 ? known() : new Promise<never>(() => {});
      const pending = resolveJumpHosts([settings('silent.test'), settings('good.test')], {
        lookup,
        signal: controller.signal,
      });
      setTimeout(() => controller.abort(reason), wait);
      await assert.rejects(pending, reason);
    }
  });
});
