/**
 * Finds out whether an account may forward at all, and says so once. A single prohibited connection
 * is nothing special where PermitOpen lists what may be reached; but when nothing has been
 * permitted so far, a person wants to hear at the first of them that the account, and not the
 * destination, may be the reason.
 *
 *   undecided -> the first connection that isn't prohibited (open, refused, unreachable)
 *        -> silent from then on
 *             -> the first one that is prohibited -> one warning, then silent
 *
 * sshd gives every prohibition the same answer (RFC 4254 §5.1, reason 1). But it tells the client
 * in debug messages (tried with 9.2) which options stand before its key in authorized_keys: `key
 * options: port-forwarding pty permitopen`, without `port-forwarding` where `restrict` or
 * `no-port-forwarding` took it away, and with `permitopen` only where AllowTcpForwarding permits
 * local forwards at all. So the key's part can be told from that of sshd_config.
 */

import { ConnectError } from '../../../flow/connector.ts';
import type { Observer } from '../../../observe/observer.ts';

const SSHD_CONFIG =
  'in its sshd_config, AllowTcpForwarding must be yes, all or local, DisableForwarding no, and PermitOpen must list the destination as it is dialled';

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

  /** Nothing more is to be found out. */
  get decided(): boolean {
    return this.#decided;
  }

  /**
   * For what the server says in SSH_MSG_DEBUG. Of several keys the last is the one that let us in.
   */
  readonly debugMessage = (text: string): void => {
    const options = /\bkey options:([a-z0-9 -]*)$/.exec(text)?.[1];
    if (options !== undefined) this.#keyOptions = new Set(options.split(' '));
  };

  /**
   * For each connection while it isn't decided: with undefined, or with what connect() rejected
   * with.
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
    const { what, hint } = this.#explain();
    this.#observer.count('tunnel_forwarding_prohibited_total');
    this.#observer.log(
      'warning',
      `${this.#at} has not permitted any connection so far: ${error.message}; ${what}`,
      {
        hint,
      },
    );
  }

  #explain(): { what: string; hint: string } {
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
