/**
 * What a tunnel says about this machine by itself: when its start is slow, and when it is ready.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { START_PATIENCE_MS } from '../../../src/session/advice.ts';
import { runConnect } from '../../../src/session/connect.ts';
import { runProxy } from '../../../src/session/proxy.ts';
import type { Finding } from '../../../src/system/doctor/diagnosis.ts';
import { MemoryMachine, until } from '../../support/memorymachine.ts';

const IN_THE_WAY: Finding = {
  name: 'routes',
  state: 'warning',
  detail: '10.0.0.0/16 dev wg0 wins over 10.0.0.0/8',
  hint: 'do this',
};
const WELL: Finding = { name: 'clock', state: 'ok', detail: 'now' };
const UNKNOWN: Finding = { name: 'firewall', state: 'note', detail: 'not known' };

function machineWith(...findings: readonly Finding[]): MemoryMachine {
  const machine = new MemoryMachine();
  machine.findings = findings;
  return machine;
}

function warnings({ messages }: MemoryMachine): string[] {
  return messages.filter(({ level }) => level === 'warning').map(({ message }) => message);
}

describe('advice', { timeout: 20_000 }, () => {
  it('is given once the tunnel is ready, if something is in its way', async () => {
    const machine = machineWith(WELL, UNKNOWN, IN_THE_WAY);
    const run = runConnect(MemoryMachine.configuration(['10.0.0.0/8']), machine.options());
    await machine.said('wins over');
    const said = machine.messages.map(({ message }) => message);
    assert.ok(said.indexOf('ready') < said.indexOf(IN_THE_WAY.detail));
    assert.deepEqual(warnings(machine), [IN_THE_WAY.detail]);
    assert.equal(machine.counters.get('tunnel_promises_doubtful_total'), 1);
    assert.deepEqual(machine.looked.at(-1), { device: 'tun7', answersQueries: true });
    machine.stop.abort();
    await assert.rejects(run);
  });

  it('leaves to connect what connect says by itself', async () => {
    const machine = machineWith({ ...IN_THE_WAY, name: 'ipv6', detail: 'IPv6 is not' }, IN_THE_WAY);
    const run = runConnect(MemoryMachine.configuration(['10.0.0.0/8']), machine.options());
    await machine.said('wins over');
    assert.deepEqual(warnings(machine), [IN_THE_WAY.detail]);
    machine.stop.abort();
    await assert.rejects(run);
  });

  it('is given while the start is slow, and each sentence once', async () => {
    const machine = machineWith(IN_THE_WAY);
    let goOn = (): void => {};
    machine.atStep = (name) =>
      name === 'dial' ? new Promise((resolve) => (goOn = resolve)) : undefined;
    const run = runConnect(MemoryMachine.configuration(['10.0.0.0/8']), machine.options());
    await until(() => machine.steps.includes('dial'), 'the dial');
    await machine.clock.advance(START_PATIENCE_MS - 1);
    assert.deepEqual(warnings(machine), []);
    await machine.clock.advance(1);
    await machine.said('wins over');
    goOn();
    await machine.said('ready');
    await until(() => machine.looked.length === 2, 'another look');
    assert.deepEqual(warnings(machine), [IN_THE_WAY.detail]);
    machine.stop.abort();
    await assert.rejects(run);
  });

  it('compares no routes for a tunnel that makes none, and fails nothing', async () => {
    const machine = machineWith();
    machine.lookAtNetwork = () => Promise.reject(new Error('no ip here'));
    let goOn = (): void => {};
    machine.atStep = (name) =>
      name === 'dial' ? new Promise((resolve) => (goOn = resolve)) : undefined;
    const configuration = MemoryMachine.configuration(['10.0.0.0/8'], { listen: ['0'] });
    const run = runProxy(configuration, machine.options());
    await until(() => machine.steps.includes('dial'), 'the dial');
    await machine.clock.advance(START_PATIENCE_MS);
    goOn();
    await machine.said('ready');
    assert.deepEqual(warnings(machine), []);
    machine.stop.abort();
    await assert.rejects(run);
  });
});
