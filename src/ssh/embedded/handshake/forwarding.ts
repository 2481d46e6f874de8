/**
 * Finds out whether an account may forward at all, and warns once if it may not. Where PermitOpen
 * lists what may be reached, one prohibited connection is nothing special. But if the very first
 * one is prohibited, the user should know that the reason may be the account and not the
 * destination.
 *
 *   undecided -> a connection that isn't prohibited (open, refused, unreachable) -> silent
 *             -> a connection that is prohibited -> one warning, then silent
 *
 * sshd answers every prohibition in the same way (RFC 4254 §5.1, reason 1). But its debug messages
 * (tried with 9.2) tell the client which options its key has in authorized_keys: `key options:
 * port-forwarding pty permitopen`. `port-forwarding` is missing if `restrict` or
 * `no-port-forwarding` took it away, and `permitopen` is there only if AllowTcpForwarding permits
 * local forwards at all. So we can tell a restriction of the key from one in sshd_config.
 */

import { ConnectError } from '../../../flow/connector.ts';
import type { Observer } from '../../../observe/observer.ts';
import type { ForwardingLimits } from '../../established.ts';

const SSHD_CONFIG =
  'with OpenSSH, AllowTcpForwarding in its sshd_config must be yes, all or local, DisableForwarding no, and PermitOpen must list the destination as it is dialled';

export class ForwardingWatch {
  readonly #at: string;
  readonly #observer: Observer;
  #decided = false;
  #keyOptions: ReadonlySet<string> | undefined;

  /** `at`: the jump host, for messages. */
  constructor(at: string, observer: Observer) {
    this.#at = at;
    this.#observer = observer;
  }

  /** There is nothing more to find out. */
  get decided(): boolean {
    return this.#decided;
  }

  /**
   * Takes the text of an SSH_MSG_DEBUG. If it reports several keys, the last one is the key that
   * let us in.
   */
  readonly debugMessage = (text: string): void => {
    const options = /\bkey options:([a-z0-9 -]*)$/.exec(text)?.[1];
    if (options !== undefined) this.#keyOptions = new Set(options.split(' '));
  };

  /**
   * Call it for each connection until `decided`: with undefined if the connection opened, or with
   * the error of connect().
   */
  outcome(error: unknown): void {
    if (this.#decided) return;
    if (error === undefined) {
      this.#decided = true;
    } else if (error instanceof ConnectError) {
      this.#decided = true;
      if (error.refusal === 'prohibited') this.#warn(error);
    }
  }

  #warn(error: ConnectError): void {
    const { what, hint } = this.limits();
    this.#observer.count('tunnel_forwarding_prohibited_total');
    this.#observer.log(
      'warning',
      `${this.#at} has not permitted any connection so far: ${error.message}; ${what}`,
      {
        hint,
      },
    );
  }

  /** What may be the reason when a connection is prohibited. */
  limits(): ForwardingLimits {
    const options = this.#keyOptions;
    if (options !== undefined && !options.has('port-forwarding'))
      return {
        what: 'the key that was used may not forward',
        hint: 'have "restrict" or "no-port-forwarding" before this key in authorized_keys replaced by "restrict,port-forwarding"',
      };
    if (options?.has('permitopen'))
      return {
        what: 'the key that was used may only forward to what its permitopen options list, and sshd_config may prohibit more',
        hint: `have the destination added as permitopen="host:port" before this key in authorized_keys; ${SSHD_CONFIG}`,
      };
    return {
      what: 'the account may lack the right to forward',
      hint: `${SSHD_CONFIG}${options === undefined ? '; "restrict" or "no-port-forwarding" in authorized_keys forbid it as well' : ''}`,
    };
  }
}
