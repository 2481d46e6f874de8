/** `tunnel exec` and `tunnel proxy`, whole, on a machine in memory. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { buildExecConfiguration } from '../../../src/config/execoptions.ts';
import { buildConfiguration } from '../../../src/config/options.ts';
import { TunnelError } from '../../../src/errors/errors.ts';
import { runExec } from '../../../src/session/exec.ts';
import { runProxy } from '../../../src/session/proxy.ts';
import { MemoryMachine, until } from '../../support/memorymachine.ts';
import { given, type OptionTexts } from '../../support/options.ts';
import { Client } from '../../support/proxy.ts';

const REMOTE = { remote: ['user@jump.example'] };
const COMMAND = ['true', 'and', 'more'];

const execConfiguration = (targets: readonly string[], options: OptionTexts = {}) =>
  buildExecConfiguration(given({ ...REMOTE, ...options }, targets), COMMAND);

async function started(machine: MemoryMachine, targets: readonly string[], options = {}) {
  const run = runExec(execConfiguration(targets, options), machine.options());
  run.catch(() => {}); // looked at by the test
  await Promise.race([run, until(() => machine.steps.includes('execute'), 'the command')]);
  return run;
}

describe('exec', { timeout: 20_000 }, () => {
  it('carries what the command opens, and ends with its status', async () => {
    const machine = new MemoryMachine();
    const download = Buffer.from('answer');
    machine.twin.serve('10.1.2.3:80', (far) => {
      far.resume();
      far.on('end', () => far.end(download));
    });
    const run = started(machine, ['10.0.0.0/8']);
    await until(() => machine.steps.includes('execute'), 'the command');
    await machine.request('10.1.2.3', 80, Buffer.from('question'), download);
    machine.exit({ status: 7, signal: null });
    assert.equal(await run, 7);
    assert.deepEqual([...machine.standing], []);
  });

  it('refuses what is no target with --isolate', async () => {
    const machine = new MemoryMachine();
    const run = started(machine, ['10.0.0.0/8'], { isolate: true });
    await until(() => machine.steps.includes('execute'), 'the command');
    const nothing = Buffer.alloc(0);
    await assert.rejects(machine.request('192.0.2.1', 80, nothing, nothing), { message: 'icmp' });
    machine.exit({ status: 0, signal: null });
    assert.equal(await run, 0);
  });

  it('goes on without a link that is lost for good, and says so', async () => {
    const machine = new MemoryMachine();
    const run = started(machine, ['10.0.0.0/8'], { reconnectHold: '0' });
    await until(() => machine.steps.includes('execute'), 'the command');
    machine.atStep = (step) =>
      step === 'locate'
        ? Promise.reject(new TunnelError('host-key-changed', 'a new key'))
        : undefined;
    machine.twin.lose();
    // The link hadn't been up for long: it is dialled again only after a wait.
    await machine.advance(60_000);
    await machine.said('the command goes on');
    machine.exit({ status: 3, signal: null });
    assert.equal(await run, 3);
    assert.deepEqual([...machine.standing], []);
  });

  it('is told of a proxy where there are no namespaces, and refuses --isolate there', async () => {
    const machine = new MemoryMachine();
    machine.refuseNamespaces();
    const run = started(machine, ['10.0.0.0/8']);
    await until(() => machine.steps.includes('execute'), 'the command');
    const { https_proxy: proxy } = machine.variables as Record<string, string>;
    assert.match(proxy ?? '', /^http:\/\/127\.0\.0\.1:\d+$/);
    machine.twin.serve('10.1.2.3:443', (far) => far.end('tunnelled'));
    const client = await Client.open(Number(proxy?.split(':').at(-1)));
    client.socket.write('CONNECT 10.1.2.3:443 HTTP/1.1\r\nHost: 10.1.2.3:443\r\n\r\n');
    await until(() => machine.twin.requested.length === 1, 'the flow');
    client.socket.destroy();
    machine.exit({ status: 0, signal: null });
    assert.equal(await run, 0);
    assert.deepEqual([...machine.standing], []);

    machine.refuseNamespaces();
    await assert.rejects(runExec(execConfiguration([], { isolate: true }), machine.options()), {
      code: 'namespace-refused',
      message: /--isolate can't be kept/,
    });
  });

  for (const namespaces of [true, false]) {
    const where = namespaces ? '' : ', also where there are no namespaces';
    it(`ends at once when the launcher is lost while the link is dialled${where}`, async () => {
      const machine = new MemoryMachine();
      const lost = new TunnelError('launcher-failed', 'the launcher has ended');
      let refused = namespaces;
      machine.atStep = (step) => {
        if (step === 'start the launcher' && !refused) {
          refused = true;
          return Promise.reject(new TunnelError('namespace-refused', 'no namespaces here'));
        }
        if (step !== 'dial') return undefined;
        machine.loseLauncher(lost);
        return machine.said('stopping'); // the session ends, whatever becomes of the dial
      };
      await assert.rejects(runExec(execConfiguration(['10.0.0.0/8']), machine.options()), lost);
      assert.ok(!machine.steps.includes('execute'));
      assert.deepEqual([...machine.standing], []);
    });
  }

  const STEPS = ['start the launcher', 'locate', 'dial', 'execute'];
  for (const name of STEPS) {
    it(`leaves nothing behind when it is stopped at "${name}", or that fails`, async () => {
      const stopped = new MemoryMachine();
      stopped.atStep = (step) => {
        if (step !== name) return undefined;
        stopped.stop.abort();
        return new Promise((resolve) => setTimeout(resolve, 30));
      };
      const run = runExec(execConfiguration(['10.0.0.0/8', 'a.example']), stopped.options());
      // From `execute` on the stop is the command's.
      if (name === 'execute') assert.equal(await run, 128 + 15);
      else await assert.rejects(run, (error) => error === stopped.stop.signal.reason);
      await new Promise((resolve) => setTimeout(resolve, 50));
      assert.deepEqual([...stopped.standing], []);

      const failing = new MemoryMachine();
      const failure = new TunnelError('launcher-failed', 'it has failed');
      failing.atStep = (step) => (step === name ? Promise.reject(failure) : undefined);
      await assert.rejects(runExec(execConfiguration([]), failing.options()), failure);
      assert.deepEqual([...failing.standing], []);
    });
  }
});

describe('proxy', { timeout: 20_000 }, () => {
  const configuration = () =>
    buildConfiguration(given({ ...REMOTE, socks: ['127.0.0.1:0'] }), 'proxy');

  it('carries what its clients ask for, and resets them at the end', async () => {
    const machine = new MemoryMachine();
    machine.twin.serve('*', () => {});
    const run = runProxy(configuration(), machine.options());
    run.catch(() => {}); // looked at below
    await machine.said('ready');
    const [, port] =
      /proxy at 127\.0\.0\.1:(\d+)/.exec(
        machine.messages.map(({ message }) => message).join('\n'),
      ) ?? [];
    const client = await Client.open(Number(port));
    client.socket.write(Buffer.from([4, 1, 0, 80, 10, 1, 2, 3, 0]));
    await until(() => machine.twin.flows === 1, 'the flow');
    machine.stop.abort();
    await assert.rejects(run, (error) => error === machine.stop.signal.reason);
    await assert.rejects(Client.open(Number(port)), { code: 'ECONNREFUSED' });
    assert.deepEqual([...machine.standing], []);
  });

  for (const name of ['locate', 'dial']) {
    it(`listens nowhere when it is stopped at "${name}"`, async () => {
      const machine = new MemoryMachine();
      machine.atStep = (step) => {
        if (step !== name) return undefined;
        machine.stop.abort();
        return new Promise((resolve) => setTimeout(resolve, 30));
      };
      const run = runProxy(configuration(), machine.options());
      await assert.rejects(run, (error) => error === machine.stop.signal.reason);
      await new Promise((resolve) => setTimeout(resolve, 50));
      assert.deepEqual([...machine.standing], []);
      assert.ok(!machine.messages.some(({ message }) => message.startsWith('proxy at')));
    });
  }
});
