/**
 * Turns connections to virtual addresses back into connections to names. It sits between a capture
 * and the flows.
 *
 *   SYN to 198.18.64.93:443 -> FlowRequest with the name as its destination
 *        -> policy, transport: `api.example.com:443`
 *
 * The address keeps its name while the flow lives. A connection to an address without a name is
 * refused as "unreachable": the program has kept the address from an earlier run, or made it up.
 */
import type { FlowRequest } from '../../flow/request.ts';
import type { Observer } from '../../observe/observer.ts';
import type { VirtualAddresses } from './virtual.ts';

/** Wraps `accept`; pass the result to `Capture.start`. */
export function translateRequests(
  virtual: VirtualAddresses,
  observer: Observer,
  accept: (request: FlowRequest) => void,
): (request: FlowRequest) => void {
  return (request) => {
    const { host, port } = request.destination;
    if (!virtual.contains(host)) return accept(request);
    const hold = virtual.hold(host);
    if (hold === undefined) {
      observer.count('tunnel_dns_unknown_addresses_total');
      observer.log('info', `${host}:${port}: this address no longer has a name`, {
        flow: request.id,
      });
      return request.refuse('unreachable');
    }
    // A request that the application gives up is neither opened nor refused.
    request.signal.addEventListener('abort', () => hold.release(), { once: true });
    accept({
      id: request.id,
      source: request.source,
      destination: { host: hold.name, port },
      peer: request.destination,
      signal: request.signal,
      open() {
        const conduit = request.open();
        if (conduit === undefined) hold.release();
        else conduit.whenOver(() => hold.release());
        return conduit;
      },
      ...(request.defer === undefined
        ? {}
        : {
            defer() {
              hold.release();
              request.defer?.();
            },
          }),
      refuse(...answer) {
        hold.release();
        request.refuse(...answer);
      },
    });
  };
}
