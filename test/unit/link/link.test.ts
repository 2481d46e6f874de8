/** What is left out of the capture for the link's sake, and for how long. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { TunnelError } from '../../../src/errors/errors.ts';
import { createLink } from '../../../src/link/link.ts';
import { formatPrefix, parsePrefix } from '../../../src/net/prefix.ts';
import { CapturedPrefixes } from '../../../src/policy/captured.ts';
import { JumpHostServers } from '../../../src/policy/jumphost.ts';
import type { Transport } from '../../../src/ssh/transport.ts';
import { ManualClock } from '../../support/manualclock.ts';
import { until } from '../../support/memorymachine.ts';

const SERVER = { host: '10.0.0.1', port: 22 };
const WHOLE = '10.0.0.0/30';
const WITHOUT = '10.0.0.0,10.0.0.2/31';

interface Machine {
  /** Answers of a captured server are dropped. */
  drops: boolean;
  /** The path drops everything. */
  cut: boolean;
}

interface Wanted {
  readonly filtered?: boolean;
  /** --on-demand, with the names that are resolved to find the jump host. */
  readonly onDemandBy?: readonly string[];
}

function lab({ filtered = false, onDemandBy: names }: Wanted = {}) {
  const steps: string[] = [];
  const machine: Machine = { drops: false, cut: false };
  const dialled: string[] = [];
  const said: string[] = [];
  const target = { prefix: parsePrefix(WHOLE).prefix, ports: [] };
  const captured = new CapturedPrefixes({ targets: [target], exclusions: [] });
  const now = () => captured.current.map(formatPrefix).join();
  const answers = () => !machine.cut && !(machine.drops && captured.contains(SERVER.host));
  const clock = new ManualClock();
  let lose: (error: TunnelError) => void = () => {};
  const transport = (): Transport & { probe(): Promise<boolean> } => ({
    connect: () => Promise.reject(new Error('not here')),
    ended: new Promise((resolve) => {
      lose = resolve;
    }),
    close: async () => {},
    channels: 0,
    probe: async () => answers(),
  });
  const servers = new JumpHostServers();
  const link = createLink(
    { reconnectHold: 0, waitAuth: 0, onDemand: names && { idleDisconnect: 0 } },
    {
      dialler: {
        async prepare() {
          steps.push('prepare');
          return names ?? [];
        },
        async locate() {
          steps.push('locate');
          return { jumpHosts: [], own: [], servers: [SERVER], names: names ?? [] };
        },
        async dial() {
          steps.push('dial');
          dialled.push(now());
          if (!answers()) throw new TunnelError('jumphost-timeout', 'silence');
          return transport();
        },
      },
      clock,
      observer: { log: (_level, message) => said.push(message), count: () => {} },
      captured,
      servers,
      filtered: () => filtered,
      book: { setOwn: (own) => steps.push(`own names: ${own.join()}`) },
    },
  );
  return {
    machine,
    link,
    steps,
    servers,
    dialled,
    said,
    now,
    clock,
    begin: () => captured.attach({ deviceName: 'tun0', setPrefixes: async () => {} }),
    lose: () => lose(new TunnelError('link-lost', 'cut')),
    /** Time passes meanwhile. */
    becomes: (done: () => boolean, what: string) =>
      until(() => {
        void clock.advance(500);
        return done();
      }, what),
  };
}

describe('the link and the capture', { timeout: 20_000 }, () => {
  it('captures the servers as well, and lets others reach them', async () => {
    const { link, dialled, now, servers } = lab();
    await link.start();
    assert.deepEqual(dialled, [WHOLE]);
    assert.equal(now(), WHOLE);
    assert.ok(servers.contains(SERVER));
    await link.close();
  });

  it('leaves them out where the kernel filters', async () => {
    const { link, dialled, now } = lab({ filtered: true });
    await link.start();
    assert.deepEqual([...dialled, now()], [WITHOUT, WITHOUT]);
    await link.close();
  });

  it('leaves them out when the link is silent because they are captured, for good', async () => {
    const { link, machine, dialled, said, now, begin, lose, becomes } = lab();
    await link.start();
    begin();
    machine.drops = true;
    link.disturbed('the capture has begun');
    await until(() => now() === WITHOUT, 'the capture without it');
    await until(() => said.some((text) => text.startsWith('not captured: 10.0.0.1')), 'word of it');
    lose();
    await becomes(() => dialled.length > 1, 'a dial');
    assert.deepEqual(dialled, [WHOLE, WITHOUT]);
    assert.ok(!said.some((text) => text.includes('no answer')));
    await link.close();
  });

  it('captures them again when the link is silent all the same', async () => {
    const { link, machine, dialled, said, now, begin, becomes } = lab();
    await link.start();
    begin();
    machine.cut = true;
    link.disturbed('the capture has begun');
    await until(() => said.some((text) => text.includes('no answer')), 'the loss');
    assert.equal(now(), WHOLE);
    await becomes(() => dialled.length > 2, 'two dials');
    assert.deepEqual(dialled.slice(1, 3), [WHOLE, WITHOUT]);
    machine.cut = false;
    await becomes(() => said.some((text) => text.includes('reconnected')), 'the link');
    assert.equal(now(), WHOLE);
    assert.ok(!said.some((text) => text.startsWith('not captured')));
    await link.close();
  });

  it('finds a filter that was switched on while there was no link', async () => {
    const { link, machine, dialled, said, now, begin, lose, becomes } = lab();
    await link.start();
    begin();
    link.disturbed('the capture has begun');
    machine.drops = true;
    lose();
    await becomes(() => dialled.length > 2, 'two dials');
    await becomes(() => said.some((text) => text.includes('reconnected')), 'the link');
    assert.equal(now(), WITHOUT);
    assert.ok(said.some((text) => text.startsWith('not captured: 10.0.0.1')));
    await link.close();
  });

  it('looks up no name before a connection needs it, and says which are its own', async () => {
    const { link, steps, servers, now } = lab({ onDemandBy: ['jump.example'] });
    await link.start();
    assert.deepEqual(steps, ['prepare', 'own names: jump.example']);
    assert.equal(now(), WHOLE);
    assert.ok(!servers.contains(SERVER));
    await assert.rejects(link.connect({ host: '10.0.0.3', port: 80 }), { message: 'not here' });
    assert.deepEqual(steps.slice(2), ['locate', 'own names: jump.example', 'dial']);
    assert.ok(servers.contains(SERVER));
    await link.close();
  });

  it('leaves an address of the jump host out before a connection needs it', async () => {
    const { link, steps, servers, now } = lab({ filtered: true, onDemandBy: [] });
    await link.start();
    assert.deepEqual(steps, ['prepare', 'own names: ', 'locate']);
    assert.ok(servers.contains(SERVER));
    assert.equal(now(), WITHOUT);
    await link.close();
  });
});
