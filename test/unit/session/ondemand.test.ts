/** --on-demand, whole, on a machine in memory: everything is ready before the jump host is. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { buildExecConfiguration } from '../../../src/config/execoptions.ts';
import { buildConfiguration } from '../../../src/config/options.ts';
import { TunnelError } from '../../../src/errors/errors.ts';
import { silentObserver } from '../../../src/observe/observer.ts';
import {
  CatalogCache,
  cacheDirectory,
  MAX_CATALOG_AGE_S,
} from '../../../src/openstack/keystone/cache.ts';
import { loadConfiguredCloud } from '../../../src/openstack/targets/cloud.ts';
import { runConnect } from '../../../src/session/connect.ts';
import { runExec } from '../../../src/session/exec.ts';
import { runProxy } from '../../../src/session/proxy.ts';
import { MemoryMachine, until } from '../../support/memorymachine.ts';
import { given, type OptionTexts } from '../../support/options.ts';
import { Client } from '../../support/proxy.ts';
import { type TwinStream, TwinTransport } from '../../support/twin.ts';

const NAMED = ['10.0.0.0/8', 'api.example.com'];
const DEMAND = { remote: ['user@jump.example'], onDemand: true } satisfies OptionTexts;
const QUESTION = Buffer.from('question');
const ANSWER = Buffer.from('answer');
const DIALLED = ['locate', 'dial'];

function answer(far: TwinStream): void {
  far.resume();
  far.on('end', () => far.end(ANSWER));
}

function connected(machine: MemoryMachine, options: OptionTexts = {}) {
  const configuration = buildConfiguration(given({ ...DEMAND, ...options }, NAMED));
  return machine.running(runConnect(configuration, machine.options()), 'waiting (on demand)');
}

describe('a tunnel on demand', { timeout: 20_000 }, () => {
  it('connect captures without looking for the jump host, which the first request does', async () => {
    const machine = new MemoryMachine();
    machine.twin.serve('10.1.2.3:80', answer);
    const { stop } = await connected(machine);
    assert.deepEqual(machine.steps, [
      'prepare',
      'start the helper',
      'create the device',
      'set the routes',
      'change resolv.conf',
    ]);
    assert.deepEqual(machine.routes, [
      ...['10.0.0.0/8', '198.18.64.0/18', '2001:2:0:8000::/96'],
      ...['198.18.63.53', '2001:2:0:3f::35'],
    ]);
    assert.ok(!machine.messages.some(({ message }) => message === 'ready'));
    await machine.request('10.1.2.3', 80, QUESTION, ANSWER);
    assert.deepEqual(
      machine.steps.filter((step) => DIALLED.includes(step)),
      DIALLED,
    );
    await stop();
  });

  it('connect holds a request while the jump host is not there', async () => {
    const machine = new MemoryMachine();
    machine.twin.serve('10.1.2.3:80', answer);
    const { stop } = await connected(machine);
    const nobody = new TunnelError('jumphost-dns', 'no such name');
    machine.atStep = (step) => (step === 'locate' ? Promise.reject(nobody) : undefined);
    let over = false;
    const request = machine.request('10.1.2.3', 80, QUESTION, ANSWER).finally(() => {
      over = true;
    });
    await machine.said('no such name; trying again');
    await machine.advance(20_000);
    assert.ok(machine.steps.filter((step) => step === 'locate').length > 5);
    assert.equal(over, false);
    machine.atStep = () => undefined;
    await machine.advance(2_000);
    await request;
    await machine.said('connected after');
    await stop();
  });

  it('connect disconnects when nothing uses it, and connects again', async () => {
    const machine = new MemoryMachine();
    machine.twin.serve('10.1.2.3:80', answer);
    const { twin } = machine;
    const { stop } = await connected(machine, { idleDisconnect: '60' });
    await machine.request('10.1.2.3', 80, QUESTION, ANSWER);
    await until(() => twin.flows === 0, 'the end of the flow');
    await machine.advance(61_000);
    await until(() => !machine.standing.has('link'), 'the end of the link');
    assert.ok(machine.standing.has('routes'));
    machine.twin = new TwinTransport();
    machine.twin.serve('10.1.2.3:80', answer);
    await machine.request('10.1.2.3', 80, QUESTION, ANSWER);
    assert.equal(machine.steps.filter((step) => step === 'dial').length, 2);
    await stop();
  });

  it('connect ends with a host key that is not accepted, when it is seen', async () => {
    const machine = new MemoryMachine();
    const { run } = await connected(machine);
    const other = new TunnelError('host-key-changed', 'another key');
    machine.atStep = (step) => (step === 'dial' ? Promise.reject(other) : undefined);
    const nothing = Buffer.alloc(0);
    await Promise.all([
      assert.rejects(machine.request('10.1.2.3', 80, nothing, nothing)),
      assert.rejects(run, { code: 'host-key-changed' }),
    ]);
    assert.deepEqual([...machine.standing], []);
  });

  it('leaves nothing behind when it is stopped, or fails, before it has looked for anybody', async () => {
    for (const end of ['stop', 'fail']) {
      const machine = new MemoryMachine();
      machine.atStep = (step) => {
        if (step !== 'prepare') return undefined;
        if (end === 'fail') return Promise.reject(new TunnelError('usage', 'no such file'));
        machine.stop.abort();
        return undefined;
      };
      const configuration = buildConfiguration(given(DEMAND, NAMED));
      await assert.rejects(runConnect(configuration, machine.options()));
      assert.deepEqual([...machine.standing], []);
      assert.deepEqual(machine.steps, ['prepare']);
    }
  });

  it('exec starts its command at once', async () => {
    const machine = new MemoryMachine();
    machine.twin.serve('10.1.2.3:80', answer);
    const configuration = buildExecConfiguration(given(DEMAND, ['10.0.0.0/8']), ['true']);
    const run = runExec(configuration, machine.options());
    await until(() => machine.steps.includes('execute'), 'the command');
    await machine.said('waiting (on demand)');
    assert.ok(!machine.steps.includes('locate'));
    await machine.request('10.1.2.3', 80, QUESTION, ANSWER);
    machine.exit({ status: 7, signal: null });
    assert.equal(await run, 7);
  });

  it('exec starts its command at once also where there are no namespaces', async () => {
    const machine = new MemoryMachine();
    machine.refuseNamespaces();
    const configuration = buildExecConfiguration(given(DEMAND, ['10.0.0.0/8']), ['true']);
    const run = runExec(configuration, machine.options());
    await until(() => machine.steps.includes('execute'), 'the command');
    await machine.said('waiting (on demand), proxy at');
    assert.ok(!machine.steps.includes('locate'));
    machine.exit({ status: 0, signal: null });
    assert.equal(await run, 0);
  });

  it('takes the catalog of a cloud that an earlier run has kept, or is refused by name', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'tunnel-ondemand-'));
    const before = { ...process.env };
    const file = join(directory, 'clouds.yaml');
    const auth =
      '{auth_url: "https://keystone.example:5000", username: u, password: p, user_domain_id: default}';
    writeFileSync(file, `clouds: {one: {auth: ${auth}}}\n`, { mode: 0o600 });
    Object.assign(process.env, { OS_CLIENT_CONFIG_FILE: file, XDG_CACHE_HOME: directory });
    try {
      const options = { ...DEMAND, osCloud: 'one' };
      const refused = new MemoryMachine();
      await assert.rejects(
        runConnect(buildConfiguration(given(options, [])), refused.options()),
        (error) => error instanceof TunnelError && /^no catalog of the cloud/.test(error.message),
      );
      assert.deepEqual(refused.steps, ['prepare']);
      const { cloud } = loadConfiguredCloud(
        { cloud: 'one', region: undefined, catalog: 'cached', followLinks: false },
        silentObserver,
      );
      const url = 'https://nova.example:8774/';
      new CatalogCache({
        directory: cacheDirectory(process.env, directory),
        now: () => Date.now() - 1000 * MAX_CATALOG_AGE_S * 10,
      }).write(
        cloud,
        [{ type: 'compute', name: 'nova', interface: 'public', regions: [], url }],
        undefined,
      );
      const machine = new MemoryMachine();
      const run = runConnect(buildConfiguration(given(options, [])), machine.options());
      run.catch(() => {}); // looked at below
      await Promise.race([run, machine.said('waiting (on demand)')]);
      await machine.said('2 targets of the cloud one, from a catalog 120 h old');
      assert.ok(!machine.steps.includes('locate'));
      machine.stop.abort();
      await assert.rejects(run, (error) => error === machine.stop.signal.reason);
    } finally {
      process.env = before;
      rmSync(directory, { recursive: true });
    }
  });

  it('proxy says why it refuses', async () => {
    const machine = new MemoryMachine();
    const options = { ...DEMAND, listen: ['127.0.0.1:0'] };
    const run = runProxy(buildConfiguration(given(options, []), 'proxy'), machine.options());
    run.catch(() => {}); // looked at below
    await machine.said('waiting (on demand)');
    const denied = new TunnelError('auth-failed', 'the jump host does not let "user" in');
    machine.atStep = (step) => (step === 'dial' ? Promise.reject(denied) : undefined);
    const at = machine.messages.find(({ message }) => message.startsWith('proxy at '))?.message;
    const port = Number(at?.split(':').at(-1));
    const client = await Client.open(port);
    client.socket.write('CONNECT 10.1.2.3:80 HTTP/1.1\r\nHost: 10.1.2.3\r\n\r\n');
    await machine.said('the login is tried again only in');
    await machine.advance(10);
    assert.match(await client.rest(), /^HTTP\/1\.1 50\d .*does not let "user" in/s);
    machine.stop.abort();
    await assert.rejects(run, (error) => error === machine.stop.signal.reason);
  });
});
