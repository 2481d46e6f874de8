import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { follow, TunnelEvents } from '../../../src/embed/events.ts';
import { TunnelError } from '../../../src/errors/errors.ts';

describe('follow', () => {
  it('tells changes of the link, each once, and nothing of probes', async () => {
    let state = 'up';
    let listener = (): void => {};
    let end: (error: TunnelError | undefined) => void = () => {};
    const ended = new Promise<TunnelError | undefined>((resolve) => {
      end = resolve;
    });
    const error = new TunnelError('link-lost', 'lost');
    const events = new TunnelEvents();
    const told: unknown[] = [];
    events.on('lost', (why) => told.push(why));
    for (const name of ['up', 'reconnecting', 'reconnected', 'closed'] as const)
      events.on(name, () => told.push(name));
    follow(events, {
      view: () => ({ state, error }),
      onChange(added) {
        listener = added;
        return () => {
          listener = () => {};
        };
      },
      ended,
    });
    const become = (next: string): void => {
      state = next;
      listener();
    };
    assert.deepEqual(told, [], 'no listener is called by the link');
    for (const next of ['probing', 'up', 'waiting', 'connecting', 'waiting', 'connecting', 'up'])
      become(next);
    for (const next of ['idle', 'connecting', 'up']) become(next);
    end(undefined);
    await turn();
    const again = ['reconnecting', 'reconnected'];
    assert.deepEqual(told, ['up', error, 'reconnecting', ...again, ...again, 'closed']);
  });
});
