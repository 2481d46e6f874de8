/**
 * The host key check, in the form that ssh2 wants. In each key exchange ssh2 calls the verifier
 * with the key that the server shows. It waits for the answer before it sends with the new keys and
 * reports 'handshake'. By then it has also verified the signature. Meanwhile ssh2 itself would
 * process what the server sends; guardLogin prevents that.
 *
 * Only the key of a connection's first key exchange is judged, and a person may be asked. In later
 * exchanges the key must be the same: another one would be a change in the middle of a session.
 */
import type { Client } from 'ssh2';
import type { AcceptedHostKey, HostKeyContext, HostKeyVerifier } from '../../hostkeys/verifier.ts';

export interface HostKeyCheckOptions extends HostKeyContext {
  readonly client: Client;
  readonly verifier: HostKeyVerifier;
  readonly host: string;
  readonly port: number;
  /** Called with the key that is trusted, once in a connection. */
  readonly onAccepted: (key: AcceptedHostKey) => void;
  /** Called with the verifier's error, before ssh2 reports its own. */
  readonly onRejected: (error: unknown) => void;
  /** Called with ssh2's error when it can't end the exchange; nothing else reports that. */
  readonly onFailed: (error: unknown) => void;
}

/** For ssh2's `hostVerifier`. */
export function hostKeyCheck(
  options: HostKeyCheckOptions,
): (blob: Buffer, answer: (permitted: boolean) => void) => void {
  const { client, verifier, host, port, onAccepted, onRejected, onFailed } = options;
  let accepted: Buffer | undefined;
  return (shown, answer) => {
    // Copied, because ssh2 reuses the buffer.
    const blob = Buffer.from(shown);
    if (accepted !== undefined) {
      answer(accepted.equals(blob));
      return;
    }
    verifier.verify(host, port, blob, options).then(
      (key) => {
        accepted = blob;
        onAccepted(key);
        client.once('handshake', () => void key.proven());
        settle(() => answer(true), onFailed);
      },
      (error: unknown) => {
        onRejected(error);
        settle(() => answer(false), onFailed);
      },
    );
  };
}

/**
 * Passes the answer to ssh2, which then ends the exchange. It throws if the connection was lost
 * while a person was asked, which has already been reported where it happened; and if the server's
 * part of the exchange can't be used.
 */
function settle(answer: () => void, onFailed: (error: unknown) => void): void {
  try {
    answer();
  } catch (error) {
    onFailed(error);
  }
}
