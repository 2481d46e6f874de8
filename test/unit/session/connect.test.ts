/**
 * `tunnel connect`, whole, on a machine in memory: from an application's packets to the SSH
 * connection.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { TunnelError } from '../../../src/errors/errors.ts';
import { runConnect } from '../../../src/session/connect.ts';
import { pseudoRandomBytes } from '../../support/bytes.ts';
import { FakeRouting } from '../../support/fakerouting.ts';
import { JUMP_HOST, MemoryMachine, until } from '../../support/memorymachine.ts';
import { udpFrame } from '../../support/tcpframes.ts';
import { SeededRandom } from '../../support/tcprandom.ts';
import { type TwinStream, TwinTransport } from '../../support/twin.ts';
import { queryBytes } from '../dns/server/support.ts';

const TARGET = '10.1.2.3';
const NAMED = ['10.0.0.0/8', 'api.example.com'];
const BYTES = 100_000;

/** Answers with other bytes than it gets, once it has got all. */
function answering(download: Buffer): (far: TwinStream) => void {
  return (far) => {
    far.on('error', () => {}); // reset by a test
    far.resume();
    far.on('end', () => far.end(download));
  };
}

function running(machine: MemoryMachine, targets: readonly string[] = ['10.0.0.0/8']) {
  return machine.running(runConnect(MemoryMachine.configuration(targets), machine.options()));
}

/** The machine has this route of the tunnel's once the helper has set them. */
function routesTo(machine: MemoryMachine, routing: FakeRouting, route: string): void {
  machine.atStep = (step) => {
    if (step === 'set the routes') routing.add(route, { protocol: 116 });
    return undefined;
  };
}

describe('connect', { timeout: 20_000 }, () => {
  it('carries what an application sends and gets', async () => {
    const machine = new MemoryMachine();
    const [upload, download] = [pseudoRandomBytes(BYTES, 'up'), pseudoRandomBytes(BYTES, 'down')];
    const received: Buffer[] = [];
    machine.twin.serve(`${TARGET}:80`, (far) => {
      far.on('data', (chunk: Buffer) => received.push(chunk));
      far.on('end', () => far.end(download));
    });
    const { stop } = await running(machine);
    assert.deepEqual(machine.routes, ['10.0.0.0/8']);
    await machine.request(TARGET, 80, upload, download);
    assert.ok(Buffer.concat(received).equals(upload));
    await stop();
  });

  it('loses no byte where the device loses frames', async () => {
    const machine = new MemoryMachine();
    const random = new SeededRandom(7);
    const [upload, download] = [pseudoRandomBytes(BYTES, 'up'), pseudoRandomBytes(BYTES, 'down')];
    machine.twin.serve(`${TARGET}:80`, answering(download));
    const { stop } = await running(machine);
    machine.tun.loses = () => random.chance(0.1);
    const done = machine.request(TARGET, 80, upload, download);
    const over = { yet: false };
    void done.finally(() => {
      over.yet = true;
    });
    while (!over.yet) await machine.advance(1000);
    await done;
    await stop();
  });

  it('refuses what the far side refuses, with a reset or an ICMP error', async () => {
    const machine = new MemoryMachine();
    machine.twin.refuse(`${TARGET}:81`, 'unreachable');
    const { stop } = await running(machine);
    const nothing = Buffer.alloc(0);
    await assert.rejects(machine.request(TARGET, 80, nothing, nothing), { message: 'R.' });
    await assert.rejects(machine.request(TARGET, 81, nothing, nothing), { message: 'icmp' });
    await stop();
  });

  it('resets flows when the link is lost, and carries new ones over the next', async () => {
    const machine = new MemoryMachine();
    machine.twin.serve(`${TARGET}:80`, () => {});
    const { stop } = await running(machine);
    const lost = machine.twin;
    const open = machine.request(TARGET, 80, Buffer.from('hello'), Buffer.alloc(0));
    open.catch(() => {}); // looked at below
    await until(() => lost.flows === 1, 'a flow');
    const next = new TwinTransport();
    const download = Buffer.from('again');
    next.serve(`${TARGET}:80`, answering(download));
    machine.twin = next;
    lost.lose();
    await assert.rejects(open, /^Error: R/);
    await machine.request(TARGET, 80, Buffer.from('hello'), download);
    assert.equal(machine.steps.filter((step) => step === 'dial').length, 2);
    await stop();
  });

  it('lets a connect wait for a link for half a minute, and then refuses it', async () => {
    const machine = new MemoryMachine();
    const { stop } = await running(machine);
    const down = new TunnelError('jumphost-unreachable', 'no route');
    machine.atStep = (step) => (step === 'dial' ? Promise.reject(down) : undefined);
    machine.twin.lose();
    await machine.said('link lost');
    const nothing = Buffer.alloc(0);
    let outcome: unknown;
    const connect = machine
      .request(TARGET, 80, nothing, nothing)
      .catch((error: Error) => (outcome = error.message));
    await until(() => machine.counters.get('tunnel_held_total') === 1, 'the connect');
    await machine.advance(29_000);
    assert.equal(outcome, undefined);
    await machine.advance(2_000);
    await connect;
    assert.equal(outcome, 'R.');
    // Meanwhile it was dialled again and again, at growing distances.
    assert.ok(machine.steps.filter((step) => step === 'dial').length >= 5);
    await stop();
  });

  it('answers a query for a name target, and carries connections to its address by name', async () => {
    const machine = new MemoryMachine();
    const download = Buffer.from('by name');
    machine.twin.serve('api.example.com:443', answering(download));
    const { stop } = await running(machine, NAMED);
    assert.ok(machine.standing.has('resolv.conf'));
    const answer = await new Promise<Buffer>((resolve) => {
      const sourcePort = machine.tun.freePort();
      machine.tun.listen(sourcePort, (frame) => {
        if (frame.kind === 'udp') resolve(frame.data);
      });
      const ends = { source: '192.168.7.2', destination: '198.18.0.53' };
      const data = queryBytes('api.example.com', 1);
      machine.tun.give(udpFrame({ ...ends, sourcePort, destinationPort: 53, data }));
    });
    const address = [...answer.subarray(-4)].join('.');
    assert.match(address, /^198\.18\./);
    await machine.request(address, 443, Buffer.from('hello'), download);
    assert.deepEqual(machine.twin.requested.at(-1)?.destination, {
      host: 'api.example.com',
      port: 443,
    });
    await stop();
  });

  it("leaves the jump host's own address out", async () => {
    const machine = new MemoryMachine();
    const { stop } = await running(machine, ['192.0.2.20/30']);
    assert.deepEqual(machine.routes, ['192.0.2.20/31', '192.0.2.23']);
    await stop();
  });

  it('calls captured only what leads to the device', async () => {
    const machine = new MemoryMachine();
    const routing = new FakeRouting().address('10.9.0.0/24', 'eth0');
    machine.routing = routing;
    routesTo(machine, routing, '10.1.0.0/16 dev tun7');
    const { stop } = await running(machine, ['10.1.0.0/16', '10.9.0.0/24']);
    assert.ok(machine.messages.some(({ message }) => message === 'captured by tun7: 10.1.0.0/16'));
    await stop();
  });

  it('binds the SSH connection instead, where it can, and captures the rest', async () => {
    const machine = new MemoryMachine();
    machine.binds = true;
    const routing = new FakeRouting().add('192.0.2.0/24 dev eth0');
    machine.routing = routing;
    routesTo(machine, routing, '192.0.2.20/30 dev tun7');
    const { stop } = await running(machine, ['192.0.2.20/30']);
    assert.deepEqual(machine.routes, ['192.0.2.20/30']);
    const device = (host: string) => machine.deviceFor?.({ host, port: 22 });
    assert.equal(device(JUMP_HOST), 'eth0');
    assert.equal(device('192.0.2.99'), undefined, 'not captured');
    assert.equal(device('fe80::1%eth0'), undefined);
    // Another program's connection to it goes the same way; to its other ports it is a target's.
    const nothing = Buffer.alloc(0);
    await assert.rejects(machine.request(JUMP_HOST, 22, nothing, nothing));
    assert.deepEqual(machine.twin.requested, []);
    await assert.rejects(machine.request(JUMP_HOST, 443, nothing, nothing), { message: 'R.' });
    assert.equal(machine.twin.requested.length, 1);
    await stop();
  });

  it('refuses a network that another tunnel captures before anybody is dialled', async () => {
    const machine = new MemoryMachine();
    const routing = new FakeRouting().add('10.1.0.0/16 dev tun7', { protocol: 116 });
    machine.routing = routing;
    const start = (targets: readonly string[]) =>
      runConnect(MemoryMachine.configuration(targets), machine.options());
    await assert.rejects(start(['10.9.0.0/16', '10.1.0.0/16']), {
      code: 'already-running',
      message: 'another tunnel captures 10.1.0.0/16 on tun7',
    });
    assert.deepEqual(
      machine.steps.filter((step) => /dial|helper/.test(step)),
      [],
    );
    // A route of another program is no tunnel's, and a single address may be shared.
    routing.remove('10.1.0.0/16').add('10.1.0.0/16 dev eth0').add('10.3.0.1 dev tun7', {
      protocol: 116,
    });
    await assert.rejects(start(['10.1.0.0/16', '10.3.0.1']), { code: 'capture-diverted' });
    assert.ok(machine.steps.includes('dial'));
  });

  it('takes no way where the kernel does not say which', async () => {
    const machine = new MemoryMachine();
    machine.binds = true;
    machine.routing.lookUp = () => {
      throw new Error('EMFILE');
    };
    const run = runConnect(MemoryMachine.configuration(['192.0.2.20/30']), machine.options());
    await assert.rejects(run, { code: 'capture-diverted' });
    assert.equal(machine.deviceFor?.({ host: JUMP_HOST, port: 22 }), null);
  });

  it('binds it also to what may be captured later', async () => {
    const machine = new MemoryMachine();
    machine.binds = true;
    const { stop } = await running(machine, NAMED);
    assert.notEqual(machine.deviceFor?.({ host: '192.0.2.99', port: 22 }), undefined);
    await stop();
  });

  it('gives an application up that has not answered for five minutes', async () => {
    const machine = new MemoryMachine();
    let reset = false;
    let received = 0;
    machine.twin.serve(`${TARGET}:80`, (far) => {
      far.on('error', () => {
        reset = true;
      });
      far.on('data', (chunk: Buffer) => {
        received += chunk.length;
      });
    });
    const { stop } = await running(machine);
    const open = machine.request(TARGET, 80, Buffer.from('hello'), Buffer.from('never comes'));
    open.catch(() => {}); // its answers are lost from here on
    await until(() => received === 5, 'what the application has sent');
    await machine.advance(1000);
    machine.tun.deaf = true;
    await machine.clock.advance(4 * 60_000);
    assert.equal(machine.twin.flows, 1);
    await machine.clock.advance(6 * 60_000);
    await until(() => machine.twin.flows === 0, 'the end of the flow');
    assert.ok(reset);
    await stop();
  });

  it('ends in order where the kernel can not be asked while the helper waits for a password', async (t) => {
    const machine = new MemoryMachine();
    const failure = Object.assign(new Error('too many open files'), { code: 'EMFILE' });
    const unhandled: unknown[] = [];
    const note = (error: unknown) => unhandled.push(error);
    process.on('unhandledRejection', note);
    t.after(() => process.removeListener('unhandledRejection', note));
    let asked = () => {};
    const hasAsked = new Promise<void>((resolve) => {
      asked = resolve;
    });
    machine.incoming = {
      ...machine.incoming,
      connections() {
        asked();
        return Promise.reject(failure);
      },
    };
    machine.atStep = (step) =>
      step === 'start the helper'
        ? hasAsked.then(() => new Promise((resolve) => setImmediate(resolve)))
        : undefined;
    const run = runConnect(MemoryMachine.configuration(['10.0.0.0/8']), machine.options());
    await assert.rejects(run, (error) => error === failure);
    assert.ok(machine.steps.includes('create the device'), 'it went on until it came to the error');
    assert.deepEqual([...machine.standing], []);
    assert.deepEqual(unhandled, []);
  });

  it('ends with the error of a device that is taken away', async () => {
    const machine = new MemoryMachine();
    const { run } = await running(machine);
    machine.tun.take(77);
    await assert.rejects(run, { code: 'capture-device-lost' });
    assert.deepEqual([...machine.standing], []);
  });
});

/** All that the session asks of the machine until it is ready. */
async function stepsUntilReady(): Promise<readonly string[]> {
  const machine = new MemoryMachine();
  const { stop } = await running(machine, NAMED);
  const steps = [...machine.steps];
  await stop();
  return steps;
}

const STEPS = await stepsUntilReady();

describe('a connect that is stopped while it starts', { timeout: 60_000 }, () => {
  it('takes these steps', () => {
    assert.deepEqual(STEPS, [
      'locate',
      'dial',
      'start the helper',
      'create the device',
      'set the routes',
      'change resolv.conf',
    ]);
  });

  for (const [index, name] of STEPS.entries()) {
    for (const [how, after] of [
      ['goes on', () => Promise.resolve()],
      ['goes on a little later', () => new Promise<void>((resolve) => setTimeout(resolve, 30))],
      ['fails', () => Promise.reject(new TunnelError('helper-lost', 'it has failed'))],
    ] as const) {
      it(`leaves nothing behind, stopped at "${name}", which then ${how}`, async () => {
        const machine = new MemoryMachine();
        let taken = 0;
        machine.atStep = () => {
          taken += 1;
          if (taken !== index + 1) return undefined;
          machine.stop.abort();
          return after();
        };
        const run = runConnect(MemoryMachine.configuration(NAMED), machine.options());
        await assert.rejects(run);
        await new Promise((resolve) => setTimeout(resolve, 50));
        assert.deepEqual([...machine.standing], []);
      });
    }

    it(`leaves nothing behind when "${name}" fails`, async () => {
      const machine = new MemoryMachine();
      const failure = new TunnelError('helper-lost', 'it has failed');
      machine.atStep = (step) => (step === name ? Promise.reject(failure) : undefined);
      const run = runConnect(MemoryMachine.configuration(NAMED), machine.options());
      await assert.rejects(run, failure);
      assert.deepEqual([...machine.standing], []);
    });
  }
});

const CLOSING = ['put back resolv.conf', 'close the helper', 'close the link'];

describe('a connect of which one part can not be closed', { timeout: 60_000 }, () => {
  for (const name of CLOSING) {
    for (const [how, fault] of [
      ['rejects', () => Promise.reject(new Error('no such luck'))],
      ['never returns', () => new Promise<void>(() => {})],
    ] as const) {
      it(`undoes everything else when "${name}" ${how}, and says so`, async () => {
        const machine = new MemoryMachine();
        machine.atStep = (step) => (step === name ? fault() : undefined);
        const { run } = await running(machine, NAMED);
        machine.stop.abort();
        await assert.rejects(run, { code: 'unclean' });
        assert.ok(
          machine.messages.some(
            ({ level, message }) => level === 'error' && /could not be/.test(message),
          ),
        );
        const untouched = {
          'put back resolv.conf': ['resolv.conf'],
          'close the helper': ['routes', 'helper'],
          'close the link': ['link'],
        }[name];
        for (const what of machine.standing)
          assert.ok(untouched?.includes(what), `${what} was left behind`);
      });
    }
  }

  it('ends with the error for which it ended, when there is one', async () => {
    const machine = new MemoryMachine();
    machine.atStep = (step) =>
      step === 'put back resolv.conf' ? Promise.reject(new Error('no such luck')) : undefined;
    const { run } = await running(machine, NAMED);
    machine.tun.take(77);
    await assert.rejects(run, { code: 'capture-device-lost' });
    assert.deepEqual([...machine.standing], ['resolv.conf']);
  });
});
