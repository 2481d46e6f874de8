/** Reloads of whole sessions on a machine in memory. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import type { Configuration } from '../../../src/config/configuration.ts';
import { MAX_FORWARDS } from '../../../src/config/forwardoptions.ts';
import { TunnelError, UsageError } from '../../../src/errors/errors.ts';
import { parseForward } from '../../../src/net/forward.ts';
import { runConnect } from '../../../src/session/connect.ts';
import { SWEEP_MS } from '../../../src/session/keptroutes.ts';
import { runProxy } from '../../../src/session/proxy.ts';
import { Reloads } from '../../../src/session/reloads.ts';
import { JUMP_HOST, MemoryMachine, until } from '../../support/memorymachine.ts';
import type { OptionTexts } from '../../support/options.ts';
import { udpFrame } from '../../support/tcpframes.ts';
import type { TwinStream } from '../../support/twin.ts';
import { queryBytes } from '../dns/server/support.ts';

const NOTHING = Buffer.alloc(0);
const directory = mkdtempSync(join(tmpdir(), 'tunnel-reload-'));
after(() => rmSync(directory, { recursive: true, force: true }));

function allowFile(...rules: string[]): string {
  const file = join(directory, 'allow');
  writeFileSync(file, `${rules.join('\n')}\n`);
  return file;
}

/** A tunnel whose command line says something else each time that `says` is called. */
async function running(
  targets: readonly string[],
  options: OptionTexts = {},
  prepare: (machine: MemoryMachine) => void = () => {},
  runs = runConnect,
) {
  const machine = new MemoryMachine();
  prepare(machine);
  let read = () => MemoryMachine.configuration(targets, options);
  const reloads = new Reloads(async () => read());
  const first = read();
  const { stop } = await machine.running(runs(first, { ...machine.options(), reloads }));
  const says = (next: () => Configuration) => {
    read = next;
    return reloads.request();
  };
  const reload = (nextTargets: readonly string[], nextOptions: OptionTexts = options) =>
    says(() => MemoryMachine.configuration(nextTargets, nextOptions));
  return { machine, reloads, reload, says, stop };
}

/** Serves a destination, whose connections stay open until they are ended. */
function heldOpen(machine: MemoryMachine, at: string): TwinStream[] {
  const streams: TwinStream[] = [];
  machine.twin.serve(at, (far) => {
    far.on('error', () => {});
    far.resume();
    streams.push(far);
  });
  return streams;
}

const answering = (far: TwinStream) => {
  far.resume();
  far.on('end', () => far.end('there'));
};
const there = Buffer.from('there');

async function lookUp(machine: MemoryMachine, name: string): Promise<Buffer> {
  return new Promise((resolve) => {
    const sourcePort = machine.tun.freePort();
    machine.tun.listen(sourcePort, (frame) => {
      if (frame.kind === 'udp') resolve(frame.data);
    });
    const ends = { source: '192.168.7.2', destination: '198.18.0.53' };
    const data = queryBytes(name, 1);
    machine.tun.give(udpFrame({ ...ends, sourcePort, destinationPort: 53, data }));
  });
}

const addressIn = (answer: Buffer) => [...answer.subarray(-4)].join('.');
const rcodeOf = (answer: Buffer) => (answer[3] ?? 0) & 0xf;

describe('a reload', { timeout: 30_000 }, () => {
  it('captures what is added, and no longer what is removed', async () => {
    const { machine, reload, stop } = await running(['10.0.0.0/8']);
    machine.twin.serve('192.0.2.200:80', answering);
    const { said } = await reload(['10.1.0.0/16', '192.0.2.128/25']);
    assert.equal(said, 'reloaded: 2 targets added, 1 removed');
    assert.deepEqual(machine.routes, ['10.1.0.0/16', '192.0.2.128/25']);
    await machine.request('192.0.2.200', 80, Buffer.from('hello'), there);
    assert.equal(
      (await reload(['10.1.0.0/16', '192.0.2.128/25'])).said,
      'reloaded: nothing has changed',
    );
    await stop();
  });

  it('keeps flows, and their routes until they end, whatever becomes of their targets', async () => {
    const { machine, reload, stop } = await running(['10.0.0.0/8', '172.16.0.0/12']);
    const far = heldOpen(machine, '*');
    const done = Array.from({ length: 20 }, (_, i) =>
      machine.request(`10.0.${i % 10}.1`, 1000 + i, Buffer.from('hello'), there),
    );
    await until(() => far.length === 20, '20 flows');
    await reload(['172.16.0.0/12']);
    assert.equal(machine.routes.filter((route) => route.startsWith('10.0.')).length, 10);
    assert.ok(!machine.routes.includes('10.0.0.0/8'));
    assert.ok(machine.routes.includes('172.16.0.0/12'));
    await reload(['10.0.0.0/8']);
    assert.deepEqual(machine.routes, ['10.0.0.0/8']);
    await reload(['172.16.0.0/12'], { exclude: ['10.0.0.0/8'] });
    assert.equal(machine.routes.length, 11);
    for (const stream of far) stream.end('there');
    await Promise.all(done);
    await until(() => {
      void machine.advance(SWEEP_MS);
      return machine.routes.length === 1;
    }, 'the end of the routes');
    assert.deepEqual(machine.routes, ['172.16.0.0/12']);
    await stop();
  });

  it('leaves no routes behind, however often it comes', async () => {
    const { machine, reload, stop } = await running(['10.0.0.0/8']);
    for (let i = 0; i < 50; i++)
      await reload(i % 2 === 0 ? [`10.${i}.0.0/16`, '203.0.113.0/24'] : ['10.0.0.0/8']);
    assert.deepEqual(machine.routes, ['10.0.0.0/8']);
    assert.equal(machine.counters.get('tunnel_reloads_total'), 50);
    await stop();
  });

  it('adds routes before, and removes them after the rules change', async () => {
    const { machine, reload, stop } = await running(['10.0.0.0/8']);
    const seen: (readonly string[])[] = [];
    machine.atStep = (step) => {
      if (step === 'set the routes' && seen.at(-1)?.join() !== machine.routes.join())
        seen.push(machine.routes);
      return undefined;
    };
    await reload(['192.0.2.128/25']);
    assert.deepEqual(seen.slice(0, 2), [['10.0.0.0/8'], ['10.0.0.0/8', '192.0.2.128/25']]);
    await stop();
  });

  it('changes nothing where something is wrong', async () => {
    const { machine, reload, says, stop } = await running(['10.0.0.0/8']);
    machine.twin.serve('10.0.0.1:80', answering);
    const wrong = (): Configuration => {
      throw new UsageError('targets:3: "x y" is more than one target', {
        hint: 'write one per line',
      });
    };
    await assert.rejects(says(wrong), UsageError);
    await machine.said('not reloaded, the tunnel goes on as before: targets:3');
    // The device has no IPv6.
    await assert.rejects(reload(['10.0.0.0/8', '2001:db8::/32']), { code: 'capture-family' });
    machine.atStep = (step) =>
      step === 'set the routes' && machine.routes.length === 1
        ? Promise.reject(new TunnelError('capture-failed', 'no'))
        : undefined;
    await assert.rejects(reload(['192.0.2.128/25']), { code: 'capture-failed' });
    machine.atStep = () => undefined;
    await assert.rejects(reload([]), UsageError);
    assert.deepEqual(machine.routes, ['10.0.0.0/8']);
    assert.equal(machine.counters.get('tunnel_reload_failures_total'), 4);
    await machine.request('10.0.0.1', 80, NOTHING, there);
    await stop();
  });

  for (const [command, runs] of [
    ['connect', runConnect],
    ['proxy', runProxy],
  ] as const) {
    it(`changes nothing of ${command} if there are too many forwards`, async () => {
      const socket = (name: string) => `${join(directory, `${command}-${name}`)}:db:5432`;
      const { machine, reload, stop } = await running(
        ['10.0.0.0/8'],
        { localForward: [socket('first')] },
        (it) => {
          it.forwards = {
            ...{ local: [parseForward(socket('of-ssh-config'))], dynamic: [] },
            ...{ unfit: [], cleared: false },
            ...{ gatewayPorts: false, exitOnFailure: false },
            ...{ socketMask: 0o177, unlinksSockets: false },
          };
        },
        runs,
      );
      const many = Array.from({ length: MAX_FORWARDS }, (_, i) => socket(String(i)));
      const { routes } = machine;
      await assert.rejects(reload(['192.0.2.128/25'], { localForward: many }), UsageError);
      await machine.said('not reloaded, the tunnel goes on as before: -L and ssh_config ask');
      assert.deepEqual(machine.routes, routes);
      const { said } = await reload(['10.0.0.0/8']);
      assert.equal(said, 'reloaded: nothing has changed');
      await stop();
    });
  }

  it('holds the next connection to another allow-list, and not the last one', async () => {
    const allow = allowFile('10.0.0.1:80');
    const { machine, reload, stop } = await running(['10.0.0.0/8'], { allow });
    const [far] = [heldOpen(machine, '10.0.0.1:80')];
    const open = machine.request('10.0.0.1', 80, Buffer.from('hello'), there);
    await until(() => far.length === 1, 'a flow');
    machine.twin.serve('10.0.0.2:80', answering);
    await assert.rejects(machine.request('10.0.0.2', 80, NOTHING, there));
    allowFile('10.0.0.2:80', '10.0.0.3');
    const { said } = await reload(['10.0.0.0/8']);
    assert.equal(said, 'reloaded: the allow-list has 2 rules (was 1)');
    await machine.request('10.0.0.2', 80, NOTHING, there);
    await assert.rejects(machine.request('10.0.0.1', 80, NOTHING, there));
    const gone = await reload(['10.0.0.0/8'], {});
    assert.equal(gone.said, 'reloaded: there is no allow-list any more');
    for (const stream of far) stream.end('there');
    await open;
    await stop();
  });

  it('answers for new names, keeps the addresses of others, and forgets what went', async () => {
    const { machine, reload, stop } = await running(['api.example.com', 'old.example.com']);
    const address = addressIn(await lookUp(machine, 'api.example.com'));
    const far = heldOpen(machine, 'old.example.com:443');
    const old = addressIn(await lookUp(machine, 'old.example.com'));
    const open = machine.request(old, 443, Buffer.from('hello'), there);
    await until(() => far.length === 1, 'a flow');
    await reload(['api.example.com', 'new.example.com']);
    assert.equal(addressIn(await lookUp(machine, 'api.example.com')), address);
    assert.match(addressIn(await lookUp(machine, 'new.example.com')), /^198\.18\./);
    assert.notEqual(rcodeOf(await lookUp(machine, 'old.example.com')), 0);
    for (const stream of far) stream.end('there');
    await open;
    await stop();
  });

  it('says which names nobody answers for until a restart', async () => {
    const { reload, stop } = await running(['10.0.0.0/8']);
    const { notices } = await reload(['10.0.0.0/8', 'api.example.com']);
    assert.match(notices.join(), /needs a restart before programs find api\.example\.com/);
    await stop();
  });

  it('leaves out the jump host that was dialled by a socket without a device', async () => {
    const { machine, reload, stop } = await running(['10.0.0.0/8'], {}, (it) => {
      it.binds = true;
      const { dialler } = it;
      it.dialler = (options) => {
        const made = dialler.call(it, options);
        options.deviceFor?.({ host: JUMP_HOST, port: 22 });
        return made;
      };
    });
    await reload(['10.0.0.0/8', '192.0.2.0/24']);
    assert.ok(machine.routes.length > 2);
    assert.ok(!machine.routes.includes('192.0.2.0/24'));
    await stop();
  });

  it('goes on in an outage', async () => {
    const { machine, reload, stop } = await running(['10.0.0.0/8']);
    const down = new TunnelError('jumphost-unreachable', 'no route');
    machine.atStep = (step) => (step === 'dial' ? Promise.reject(down) : undefined);
    machine.twin.lose();
    await machine.said('link lost');
    await reload(['203.0.113.0/24']);
    assert.deepEqual(machine.routes, ['203.0.113.0/24']);
    await stop();
  });

  it('is done once more for all that ask while one runs', async () => {
    const { machine, reloads, stop } = await running(['10.0.0.0/8']);
    const one = reloads.request();
    await Promise.resolve();
    await new Promise((resolve) => setImmediate(resolve));
    await Promise.all([one, reloads.request(), reloads.request(), reloads.request()]);
    assert.ok((machine.counters.get('tunnel_reloads_total') ?? 0) <= 2);
    await stop();
  });
});
