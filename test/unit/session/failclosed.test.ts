/** When routes are left behind, when they are removed, and in which order. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { formatPrefix, type Prefix, parsePrefix } from '../../../src/net/prefix.ts';
import { FailClosed, reportLeftUnreachable, warnOfNames } from '../../../src/session/failclosed.ts';
import { FakeRouting } from '../../support/fakerouting.ts';

const prefixes = (...texts: readonly string[]) => texts.map((text) => parsePrefix(text).prefix);
const shown = (list: readonly Prefix[]) => list.map(formatPrefix).join(' ');

function lab({ enabled = true, past = [] as string[] } = {}) {
  const routing = new FakeRouting().add('0.0.0.0/0 via 192.0.2.1 dev eth0');
  const done: string[] = [];
  const said: string[] = [];
  const state = { inOrder: true, fails: false };
  const failClosed = new FailClosed({
    capture: {
      deviceName: 'tun0',
      setPrefixes: async (list) => void done.push(`routes ${shown(list)}`),
    },
    setUnreachable: async (list) => {
      if (state.fails) throw new Error('EPERM');
      done.push(`unreachable ${shown(list)}`);
    },
    routing,
    enabled,
    alsoRouted: prefixes('198.18.64.0/18'),
    past: () => past,
    inOrder: () => state.inOrder,
    named: () => ['10.0.0.0/8', '172.16.0.0/12'],
    observer: { log: (level, message) => said.push(`${level}: ${message}`), count: () => {} },
  });
  return { routing, done, said, state, failClosed };
}

describe('FailClosed', () => {
  it('closes what is captured, and the addresses that stand for names', async () => {
    const { failClosed, done, said } = lab();
    await failClosed.start(prefixes('10.0.0.0/8'));
    await failClosed.setPrefixes(prefixes('10.0.0.0/9'));
    assert.deepEqual(done, [
      'unreachable 10.0.0.0/8 198.18.64.0/18',
      'routes 10.0.0.0/9',
      'unreachable 10.0.0.0/9 198.18.64.0/18',
    ]);
    await failClosed.close();
    assert.equal(done.at(-1), 'unreachable ');
    assert.deepEqual(said, []);
  });

  it('keeps it closed, and says so, unless the end is in order', async () => {
    const { failClosed, done, said, state } = lab();
    await failClosed.start(prefixes('10.0.0.0/8'));
    state.inOrder = false;
    await failClosed.close();
    assert.equal(done.length, 1);
    assert.deepEqual(said, ['warning: 10.0.0.0/8, 172.16.0.0/12 stays unreachable: tunnel clean']);
  });

  it('changes and says nothing without the option, except what others have left', async () => {
    const { failClosed, done, said, state, routing } = lab({ enabled: false });
    await failClosed.start(prefixes('10.0.0.0/8'));
    assert.deepEqual(done, []);
    state.inOrder = false;
    await failClosed.close();
    assert.deepEqual(said, []);
    const next = lab({ enabled: false });
    next.routing.add('10.0.0.0/8', { protocol: 116, type: 7, device: 0 });
    await next.failClosed.start(prefixes('10.0.0.0/8'));
    assert.deepEqual(next.done, ['unreachable ']);
    assert.equal(routing.all.length, 1);
  });

  it('never makes an unreachable route more specific than its own', async () => {
    const past = ['10.0.0.1'];
    const { failClosed, done } = lab({ past });
    await failClosed.start(prefixes('10.0.0.0/30'));
    assert.deepEqual(done, [
      'routes 10.0.0.0/30 10.0.0.0 10.0.0.2/31',
      'unreachable 10.0.0.0 10.0.0.2/31 198.18.64.0/18',
    ]);
    past.splice(0);
    await failClosed.refresh();
    assert.deepEqual(done.slice(2), [
      'unreachable 10.0.0.0/30 198.18.64.0/18',
      'routes 10.0.0.0/30',
    ]);
  });

  it('says it when it can not follow, and rejects where somebody waits', async () => {
    const { failClosed, said, state } = lab();
    await failClosed.start(prefixes('10.0.0.0/8'));
    state.fails = true;
    await failClosed.refresh();
    assert.match(said.join(), /warning: what fails closed is not up to date: .*EPERM/);
    await assert.rejects(failClosed.setPrefixes(prefixes('10.0.0.0/9')), /EPERM/);
    await assert.rejects(failClosed.close(), /EPERM/);
  });
});

describe('reportLeftUnreachable', () => {
  it('names what a killed tunnel has left', () => {
    const said: string[] = [];
    const observer = { log: (_: string, message: string) => said.push(message), count: () => {} };
    const routing = new FakeRouting();
    reportLeftUnreachable(routing, observer);
    assert.deepEqual(said, []);
    for (const text of ['10.0.0.0/8', '172.16.0.0/12'])
      routing.add(text, { protocol: 116, type: 7, device: 0 });
    reportLeftUnreachable(routing, observer);
    assert.match(said.join(), /10\.0\.0\.0\/8 and 1 more are unreachable until this one is ready/);
  });
});

describe('warnOfNames', () => {
  it('says for which names nothing is kept', () => {
    const said: string[] = [];
    const observer = { log: (_: string, message: string) => said.push(message), count: () => {} };
    warnOfNames([], observer);
    assert.deepEqual(said, []);
    warnOfNames(['api.example.com', '*.corp.example'], observer);
    assert.match(said.join(), /not for names: .*answer for api\.example\.com, \*\.corp\.example/);
  });
});
