/** What `tunnel clean` asks the helper for, and when it does without it. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { silentObserver } from '../../../src/observe/observer.ts';
import { cleanMachine } from '../../../src/session/clean.ts';
import { FakeRouting } from '../../support/fakerouting.ts';
import { MemoryMachine } from '../../support/memorymachine.ts';

const noDevices = () => Promise.resolve({ done: [], failed: [] });
const LEFT = { protocol: 116, type: 7, device: 0 };

describe('cleanMachine', () => {
  it('starts no helper where no route is left', async () => {
    const machine = new MemoryMachine();
    assert.deepEqual(await cleanMachine(silentObserver, machine, noDevices), {
      done: [],
      failed: [],
    });
    assert.deepEqual(machine.steps, []);
  });

  it('says that resolv.conf is still that of a tunnel whose journal is another user’s', async () => {
    const machine = new MemoryMachine();
    const { done, failed } = await cleanMachine(silentObserver, machine, noDevices, () => true);
    assert.deepEqual(done, []);
    assert.match(failed.join(), /resolv\.conf names the DNS server of a tunnel that is gone/);
  });

  it('removes devices first, whose routes hide what else is left', async () => {
    const machine = new MemoryMachine();
    const routing = new FakeRouting()
      .add('10.0.0.0/8 dev tun0', { protocol: 116 })
      .add('10.0.0.0/8', LEFT);
    machine.routing = routing;
    const removeDevices = async () => {
      routing.all.shift();
      return { done: ['the device tun0 was removed, with its routes'], failed: [] };
    };
    const { done } = await cleanMachine(silentObserver, machine, removeDevices);
    assert.deepEqual(done, [
      'the device tun0 was removed, with its routes',
      '10.0.0.0/8 is no longer unreachable',
    ]);
  });

  it('has the helper remove them, and ends it', async () => {
    const machine = new MemoryMachine();
    machine.routing = new FakeRouting().add('10.0.0.0/8', LEFT);
    assert.deepEqual(await cleanMachine(machine.observer, machine, noDevices), {
      done: ['10.0.0.0/8 is no longer unreachable'],
      failed: [],
    });
    assert.deepEqual(machine.steps, [
      'start the helper',
      'set what fails closed',
      'close the helper',
    ]);
    assert.equal(machine.counters.get('tunnel_recovered_total'), 1);
  });

  it('reports a helper that can not be started or refuses, and ends it', async () => {
    for (const step of ['start the helper', 'set what fails closed']) {
      const machine = new MemoryMachine();
      machine.routing = new FakeRouting().add('10.0.0.0/8', LEFT);
      machine.atStep = (name) => (name === step ? Promise.reject(new Error('no')) : undefined);
      const { done, failed } = await cleanMachine(machine.observer, machine, noDevices);
      assert.deepEqual(done, []);
      assert.match(failed.join(), /unreachable routes of a killed tunnel can't be removed: .*no/);
      assert.deepEqual([...machine.standing], []);
    }
  });
});
