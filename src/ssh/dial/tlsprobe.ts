/**
 * Finds out whether a port that closes SSH connections without a word speaks TLS. Most TLS servers
 * do close them so: OpenSSL sends no alert for what doesn't look like TLS at all.
 */
import { connect as connectTls } from 'node:tls';
import { within } from '../../base/within.ts';
import { isAddress } from '../../net/address.ts';
import type { RemoteAddress } from './addresses.ts';
import type { DialDevice } from './device.ts';
import { connectTcp } from './tcp.ts';

/** Seconds. Somebody waits for the error that this only explains. */
const PATIENCE = 2;
/** OpenSSL's reasons for an answer that is no TLS (ERR_SSL_...). */
const NOT_TLS = /WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|HTTP_REQUEST|UNEXPECTED_EOF/;

/**
 * Makes one connection, which sends a ClientHello and nothing else. `name`: the host's own, for the
 * server to choose its certificate by. Rejects with the signal's reason only.
 */
export async function speaksTls(
  address: RemoteAddress,
  name: string,
  signal: AbortSignal,
  deviceFor?: DialDevice,
): Promise<boolean> {
  try {
    const options = { timeout: PATIENCE, role: 'jump host', signal, deviceFor } as const;
    const socket = await connectTcp(address, options);
    const time = { milliseconds: PATIENCE * 1_000, late: () => new Error('no answer') };
    const tls = connectTls({
      socket,
      // Nothing is sent to it: who it is doesn't matter.
      rejectUnauthorized: false,
      ...(isAddress(name) ? {} : { servername: name }),
    });
    try {
      return await within(
        { signal, time },
        () =>
          new Promise<boolean>((resolve) => {
            tls.once('secureConnect', () => resolve(true));
            // A refused handshake is TLS as well.
            tls.on('error', ({ code = '' }: NodeJS.ErrnoException) =>
              resolve(code.startsWith('ERR_SSL_') && !NOT_TLS.test(code)),
            );
            tls.once('close', () => resolve(false));
          }),
      );
    } finally {
      tls.destroy();
      socket.destroy();
    }
  } catch {
    signal.throwIfAborted();
    return false;
  }
}
