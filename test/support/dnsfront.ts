/**
 * The DNS server alone, in a namespace: for tests with real clients and real resolvers.
 *
 *   node dnsfront.js '{"host": "127.0.0.1", "port": 53, "servers": [{"host": "10.77.0.11", "port":
 *   53}],
 *                      "nameTargets": ["api.example.com"], "domains": ["corp.example"], "local":
 *                      []}'
 *
 * Prints `ready`; ends when its standard input does. Upstream servers are dialled directly: a route
 * leads into the tunnel.
 */
import { once } from 'node:events';
import { connect } from 'node:net';
import { createNaming } from '../../src/dns/naming.ts';
import { DnsServer } from '../../src/dns/server/server.ts';
import { VirtualAddresses, virtualBlocks } from '../../src/dns/server/virtual.ts';
import { CachingResolver } from '../../src/dns/upstream/cache.ts';
import { DatagramUpstream } from '../../src/dns/upstream/datagram.ts';
import type { Resolver } from '../../src/dns/upstream/resolver.ts';
import { StreamUpstream } from '../../src/dns/upstream/stream.ts';
import type { Destination } from '../../src/net/destination.ts';
import { parseNamePattern } from '../../src/net/name.ts';
import { silentObserver } from '../../src/observe/observer.ts';
import { DnsListener } from './dnslistener.ts';

export interface FrontOptions {
  readonly host: string;
  readonly port: number;
  /** Resolvers behind the jump host. */
  readonly servers: readonly Destination[];
  readonly nameTargets: readonly string[];
  /** Empty: all names. */
  readonly domains: readonly string[];
  /** This machine's own resolvers. */
  readonly local: readonly Destination[];
}

const options = JSON.parse(process.argv[2] ?? '{}') as FrontOptions;
const observer = silentObserver;

function overStreams(servers: readonly Destination[]): Resolver {
  return new StreamUpstream({
    servers,
    connect: async ({ host, port }, { signal }) => {
      const socket = connect({ host, port, noDelay: true });
      signal.addEventListener('abort', () => socket.destroy(), { once: true });
      await once(socket, 'connect');
      return socket;
    },
    observer,
  });
}

const cached = (upstream: Resolver) => new CachingResolver({ upstream, observer });
const blocks = virtualBlocks({ address4: '198.18.0.1', address6: '2001:2::1' });
if (blocks === undefined) throw new Error('no blocks for names');
const { servers, local, domains, nameTargets, host, port } = options;
const tunnel = servers.length === 0 ? undefined : cached(overStreams(servers));
const own =
  local.length === 0
    ? undefined
    : cached(
        new DatagramUpstream({
          servers: local,
          overStream: (server) => overStreams([server]),
          observer,
        }),
      );
const server = new DnsServer({
  naming: createNaming({
    nameTargets: nameTargets.map(parseNamePattern),
    nameExclusions: [],
    domains,
    beyond: domains.length === 0 ? 'tunnel' : 'local',
  }),
  virtual: new VirtualAddresses({ blocks, observer }),
  tunnel,
  local: own,
  observer,
});
const listener = new DnsListener({ server, host, port });
await listener.start();
process.stdout.write('ready\n');
process.stdin.resume();
await once(process.stdin, 'end');
await listener.close();
tunnel?.close();
own?.close();
