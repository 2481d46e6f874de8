/**
 * Other tunnels with names beside `tunnel connect` (dns/server/neighbours.ts): found by their
 * devices, and asked on sockets that are bound to these. When a device has gone, its queries fail
 * and don't leave by another way.
 */
import { DirectConnector } from '../connect/direct.ts';
import { Neighbours } from '../dns/server/neighbours.ts';
import { socketOf } from '../dns/upstream/datagram.ts';
import { streamOf } from '../flow/conduitstream.ts';
import { family } from '../net/address.ts';
import type { Observer } from '../observe/observer.ts';
import type { Machine } from './machine.ts';

export function createNeighbours(
  machine: Pick<Machine, 'sockets' | 'bindsSockets' | 'otherTunnels'>,
  device: string,
  observer: Observer,
): Neighbours {
  const binds = machine.bindsSockets();
  return new Neighbours({
    find: () => machine.otherTunnels(device),
    socketFor: (tunnel, server) => {
      const of = family(server.host);
      return socketOf(
        binds ? machine.sockets.datagramSocketOnDevice(of, tunnel.device) : undefined,
        server,
      );
    },
    connect: (tunnel) => {
      const connector = new DirectConnector({
        uplinkFor: () => (binds ? tunnel.device : undefined),
        socketOnDevice: (of, name) => machine.sockets.socketOnDevice(of, name),
      });
      return async (destination, options) =>
        streamOf(await connector.connect(destination, options));
    },
    observer,
  });
}
