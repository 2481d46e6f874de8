import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { silentObserver } from '../../../../src/observe/observer.ts';
import { ResolvedLink } from '../../../../src/system/resolver/resolved.ts';

const SERVER = '198.18.0.53';
const SETTINGS = ['llmnr', 'mdns', 'dnssec', 'dnsovertls', 'default-route', 'domain', 'dns'];
const MS = 5;

/** systemd-resolved as resolvectl shows it: each call takes a while. */
function daemon() {
  const calls: string[] = [];
  let servers = '';
  const run = async (_program: string, args: readonly string[]) => {
    const [verb = '', , ...values] = args;
    if (verb === 'dns' && values.length === 0)
      return { status: 0, stdout: `Link 3 (tun0): ${servers}\n`, complaint: '' };
    await delay(MS);
    if (verb === 'dns') servers = values.join(' ');
    if (verb === 'revert') servers = '';
    calls.push(verb);
    return { status: 0, stdout: '', complaint: '' };
  };
  const forget = () => {
    servers = '';
    calls.length = 0;
  };
  return { calls, forget, run, servers: () => servers };
}

describe('settings in systemd-resolved', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'tunnel-test-'));
  });
  afterEach(() => {
    rmSync(directory, { recursive: true });
  });

  function make() {
    const resolved = daemon();
    const link = new ResolvedLink({
      device: 'tun0',
      servers: [SERVER],
      domains: ['corp.example'],
      observer: silentObserver,
      run: resolved.run,
      runElevated: resolved.run,
    });
    return { ...resolved, link };
  }

  async function until(condition: () => boolean): Promise<void> {
    const deadline = performance.now() + 10_000;
    while (!condition()) {
      assert.ok(performance.now() < deadline);
      await delay(1);
    }
  }

  it('are made, and made again when they are forgotten', async () => {
    const { calls, forget, link, servers } = make();
    await link.apply();
    assert.deepEqual(calls, [...SETTINGS, 'flush-caches']);
    link.watch(directory);
    forget();
    writeFileSync(join(directory, 'changed'), '');
    await until(() => servers() === SERVER);
    await link.undo();
    assert.equal(servers(), '');
  });

  for (const moment of ['llmnr', 'domain', 'dns']) {
    it(`are not made again behind the revert, when that comes after ${moment}`, async () => {
      const { calls, forget, link, servers } = make();
      await link.apply();
      link.watch(directory);
      forget();
      writeFileSync(join(directory, 'changed'), '');
      await until(() => calls.includes(moment));
      await link.undo();
      await delay(SETTINGS.length * 4 * MS);
      assert.equal(calls.at(-1), 'revert');
      assert.equal(servers(), '');
    });
  }

  it('are taken back when the tunnel stops while they are made', async () => {
    const { calls, link, servers } = make();
    const applied = link.apply();
    await until(() => calls.includes('mdns'));
    await link.undo();
    await applied;
    await delay(SETTINGS.length * 4 * MS);
    assert.equal(calls.at(-1), 'revert');
    assert.equal(servers(), '');
  });
});
