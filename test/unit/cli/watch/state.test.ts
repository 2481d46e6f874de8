import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { History } from '../../../../src/cli/watch/history.ts';
import {
  firstState,
  type Key,
  type Model,
  press,
  shownFlows,
  type ViewState,
} from '../../../../src/cli/watch/state.ts';
import { flowStatus, NOW, tunnelStatus } from './fixture.ts';

function watched(name: string, pid: number): History {
  const quiet = [1, 2, 3].map((id) => flowStatus(id, { askedAt: NOW - id * 1_000 }));
  const history = new History(tunnelStatus(quiet, { name, pid, at: NOW - 2_000 }), NOW);
  const now = [
    flowStatus(1, { receivedBytes: 500, askedAt: NOW - 3_000 }),
    flowStatus(2, { sentBytes: 9_000, askedAt: NOW - 1_000, names: ['db.internal'] }),
    flowStatus(3, { receivedBytes: 2_000, askedAt: NOW - 2_000, destination: '10.0.0.20:443' }),
  ];
  history.add(tunnelStatus(now, { name, pid }), NOW);
  return history;
}

const one: Model = { tunnels: [watched('lab', 1)], silent: [], now: NOW };
const two: Model = { ...one, tunnels: [watched('lab', 1), watched('office', 2)] };

const NAMES: Readonly<Record<string, string>> = { '\r': 'return', '\x1b': 'escape', '\t': 'tab' };
function key(text: string): Key {
  const named = ['up', 'down', 'end', 'home', 'backspace'].includes(text);
  return { name: named ? text : (NAMES[text] ?? text), text: named ? '' : text, ctrl: false };
}

function after(model: Model, ...keys: readonly string[]): ViewState {
  let state = firstState(model);
  for (const text of keys) {
    const next = press(state, key(text), model);
    assert.ok(next !== undefined, `${JSON.stringify(text)} ends the view`);
    state = next;
  }
  return state;
}

function ids(state: ViewState, model = one): number[] {
  const [tunnel] = model.tunnels;
  assert.ok(tunnel);
  return shownFlows(tunnel, state).map(({ id }) => id);
}

describe('the flows', () => {
  it('are sorted by rate, bytes, age and destination', () => {
    assert.deepEqual(ids(after(one)), [2, 3, 1]);
    assert.deepEqual(ids(after(one, 'b')), [2, 3, 1]);
    assert.deepEqual(ids(after(one, 'a')), [2, 3, 1]);
    assert.deepEqual(ids(after(one, 'd')), [1, 2, 3]);
  });

  it('are filtered by destination and name', () => {
    assert.deepEqual(ids(after(one, '/', 'D', 'B', '.', '\r')), [2]);
    assert.deepEqual(ids(after(one, '/', '.', '2', '0', '\r')), [3]);
    assert.deepEqual(ids(after(one, '/', 'x', '\x1b')), [2, 3, 1]);
    assert.equal(after(one, '/', 'q', 'backspace', 'r').filter, 'r');
    assert.equal(after(one, '/', 'x', '\r', '\x1b').filter, '');
  });

  it('keep the cursor on its flow', () => {
    const state = after(one, 'down');
    assert.equal(state.flow, 3);
    assert.equal(after(one, 'end').flow, 1);
    assert.equal(after(one, 'end', 'home', 'up').flow, 2);
  });

  it('open with Enter and close with Escape', () => {
    const state = after(one, 'down', '\r');
    assert.deepEqual([state.page, state.flow], ['flow', 3]);
    assert.equal(after(one, 'down', '\r', '\x1b').page, 'flows');
  });
});

describe('the pages', () => {
  it('begin at the flows of a single tunnel, at the list of several', () => {
    assert.equal(after(one).page, 'flows');
    assert.equal(after(two).page, 'tunnels');
    assert.deepEqual([after(two, 'down', '\r').pid, after(two, 'down', '\r').page], [2, 'flows']);
    assert.equal(after(two, '\r', '\t').pid, 2);
    assert.deepEqual([after(two, '\r', '\t', '\x1b').page, after(two).row], ['tunnels', 0]);
  });

  it('go to the list when the tunnel has ended', () => {
    const state = press(after(two, 'down', '\r', '\r'), key('x'), one);
    assert.deepEqual([state?.page, state?.row], ['tunnels', 0]);
  });

  it('show refusals with r and help with ?', () => {
    assert.equal(after(one, 'r').page, 'refusals');
    assert.equal(after(one, 'r', 'r').page, 'flows');
    assert.equal(after(one, '?').help, true);
    assert.equal(after(one, '?', 'x').help, false);
  });

  it('end with q, except in a filter', () => {
    assert.equal(press(after(one), key('q'), one), undefined);
    assert.equal(press(after(one, '?'), key('q'), one), undefined);
    assert.equal(after(one, '/', 'q').filter, 'q');
  });
});
