import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { TunnelEvents } from '../../../src/embed/events.ts';
import { type ConnectOptions, type DestinationLike, Tunnel } from '../../../src/embed/tunnel.ts';
import { ConnectError } from '../../../src/flow/connector.ts';
import { silentObserver } from '../../../src/observe/observer.ts';

describe('Tunnel', () => {
  it('refuses what is no destination, whatever it is', async () => {
    const connector = { connect: () => assert.fail('it is dialled') };
    const close = async (): Promise<void> => {};
    const ended = new AbortController();
    const parts = { connector, observer: silentObserver, ended: ended.signal, close };
    const tunnel = new Tunnel(new TunnelEvents(), parts);
    const wrong: readonly unknown[] = [
      ...['', 'host', 'host:', 'host:0', '::1:5', 'a b:5', 'http://host:80'],
      ...[undefined, null, 5, {}, { port: 5 }, { host: 5, port: 5 }, { host: 'host' }],
    ];
    for (const destination of wrong)
      await assert.rejects(tunnel.connect(destination as DestinationLike), {
        name: 'UsageError',
        message: /^the destination is wrong/,
      });
    for (const signal of [5, 'x', {}])
      await assert.rejects(tunnel.connect('host:1', { signal } as unknown as ConnectOptions), {
        name: 'UsageError',
        message: 'signal: it must be an AbortSignal',
      });
    await tunnel.close();
  });

  it('refuses a connect after its end as such, not as an answer of the far side', async () => {
    const ended = new AbortController();
    const refusal = new ConnectError('refused', 'the connection to the jump host was closed');
    const connector = {
      async connect(): Promise<never> {
        ended.abort(new Error('why'));
        throw refusal;
      },
    };
    const parts = {
      connector,
      observer: silentObserver,
      ended: ended.signal,
      close: async () => {},
    };
    const tunnel = new Tunnel(new TunnelEvents(), parts);
    // The first one waits for its answer at the end.
    for (const host of ['first', 'second'])
      await assert.rejects(tunnel.connect({ host, port: 1 }), {
        code: 'link-closed',
        message: `${host}:1: the tunnel is closed`,
      });
  });
});
