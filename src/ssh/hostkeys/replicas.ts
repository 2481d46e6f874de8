/**
 * One jump host with several names (several -r). All of them must present the same key, whichever
 * transport dials them and in whatever order they are reached. The first proven key applies for the
 * rest of the run. A machine may have a different key if an authority that the user trusts has
 * signed its certificate (docs/decisions/0012).
 */
import { TunnelError } from '../../errors/errors.ts';

export interface ReplicaKey {
  /** `host:port`, for messages. */
  readonly at: string;
  /** `ssh-ed25519` */
  readonly type: string;
  /** `SHA256:...` */
  readonly fingerprint: string;
}

export class ReplicaKeys {
  #first: ReplicaKey | undefined;

  get first(): ReplicaKey | undefined {
    return this.#first;
  }

  /** The server at `shown.at` has proven that it has the private key, and is the jump host. */
  prove(shown: ReplicaKey): void {
    this.#first ??= shown;
  }

  /** Throws TunnelError `host-key-differs`. */
  check(shown: ReplicaKey): void {
    const first = this.#first;
    if (first !== undefined && first.fingerprint !== shown.fingerprint)
      throw differentReplica(shown, first);
  }
}

function differentReplica(shown: ReplicaKey, first: ReplicaKey): TunnelError {
  const [a, b] = [shown, first].map(({ type, fingerprint: text }) => `${type} ${text}`);
  const leave = 'leave the other machine out, or give it the same host keys';
  return new TunnelError(
    'host-key-differs',
    `${shown.at} shows the host key ${a}, but ${first.at}, the same jump host, has ${b}`,
    {
      hint:
        shown.type === first.type
          ? `addresses of one jump host share one key: ${leave}`
          : `addresses of one jump host show one key: ask for one type with -o HostKeyAlgorithms=${first.type}, ${leave}`,
    },
  );
}
