/**
 * Proves, before anything is captured, that connections that enter the device come back to this process. They arrive
 * as inbound traffic on the device, which a host firewall's INPUT chain may drop.
 */
import { connect } from 'node:net';
import { TunnelError } from '../errors.ts';
import type { Observer } from '../observe/observer.ts';
import type { FlowRequest } from './capture.ts';

const PROBE_TIMEOUT_MS = 3000;
/** Any port does: the engine shows every connection to the probe's address to this process. */
const PROBE_PORT = 7;

/** Rejects with `capture-blocked` when the connection isn't completed in PROBE_TIMEOUT_MS. */
export function probe(address: string, device: string, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address, port: PROBE_PORT, signal });
    const fail = (cause?: Error) => {
      socket.destroy();
      if (signal.aborted) return reject(signal.reason);
      reject(
        new TunnelError(
          'capture-blocked',
          `connections captured by ${device} don't come back to this program`,
          {
            hint: `let the host's firewall accept input on ${device} (ufw allow in on ${device}; firewall-cmd --zone=trusted --add-interface=${device})`,
            cause,
          },
        ),
      );
    };
    socket.setTimeout(PROBE_TIMEOUT_MS, () => fail());
    socket.on('error', fail);
    socket.on('connect', () => {
      socket.destroy();
      resolve();
    });
  });
}

/** The other end of the probe. */
export function answerProbe(request: FlowRequest, observer: Observer): void {
  request.open().then(
    (stream) => {
      stream.on('error', () => {}); // the prober hangs up as soon as it is connected
      stream.resume().end();
    },
    () => observer.log('debug', 'the probe hung up before it was answered'),
  );
}
