import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { TunnelEvents } from '../../../src/embed/events.ts';
import { type DestinationLike, Tunnel } from '../../../src/embed/tunnel.ts';
import { silentObserver } from '../../../src/observe/observer.ts';

describe('Tunnel', () => {
  it('refuses what is no destination, whatever it is', async () => {
    const connector = { connect: () => assert.fail('it is dialled') };
    const close = async (): Promise<void> => {};
    const tunnel = new Tunnel(new TunnelEvents(), { connector, observer: silentObserver, close });
    const wrong: readonly unknown[] = [
      ...['', 'host', 'host:', 'host:0', '::1:5', 'a b:5', 'http://host:80'],
      ...[undefined, null, 5, {}, { port: 5 }, { host: 5, port: 5 }, { host: 'host' }],
    ];
    for (const destination of wrong)
      await assert.rejects(tunnel.connect(destination as DestinationLike), {
        name: 'UsageError',
        message: /^the destination is wrong/,
      });
    await tunnel.close();
  });
});
