/**
 * The host key check as ssh2 wants it. ssh2 calls the verifier in each key exchange with what the
 * server shows, and waits for the answer before it uses the new keys for what it sends and reports
 * 'handshake'. It has verified the signature then. What the server says meanwhile it would take:
 * guardFirstExchange keeps that away.
 *
 * Only the first key exchange of a connection is judged, since a person may be asked there. In a
 * later one the key must be the same: another would be a change in the middle of a session.
 */
import type { Client } from 'ssh2';
import type { HostKeyContext, HostKeyVerifier } from '../../hostkeys/verifier.ts';

export interface HostKeyCheckOptions extends HostKeyContext {
  readonly client: Client;
  readonly verifier: HostKeyVerifier;
  readonly host: string;
  readonly port: number;
  /** Called with the verifier's error, before ssh2 reports its own. */
  readonly onRejected: (error: unknown) => void;
}

/** For ssh2's `hostVerifier`. */
export function hostKeyCheck(
  options: HostKeyCheckOptions,
): (blob: Buffer, answer: (permitted: boolean) => void) => void {
  const { client, verifier, host, port, onRejected } = options;
  let accepted: Buffer | undefined;
  return (shown, answer) => {
    // ssh2 reuses the buffer that it is in.
    const blob = Buffer.from(shown);
    if (accepted !== undefined) {
      answer(accepted.equals(blob));
      return;
    }
    verifier.verify(host, port, blob, options).then(
      (key) => {
        accepted = blob;
        client.once('handshake', () => void key.proven());
        settle(() => answer(true));
      },
      (error: unknown) => {
        onRejected(error);
        settle(() => answer(false));
      },
    );
  };
}

/**
 * ssh2 throws when the connection has gone while somebody was asked; that has been reported where
 * it happened.
 */
function settle(answer: () => void): void {
  try {
    answer();
  } catch {
    // As said above.
  }
}
