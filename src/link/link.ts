/**
 * The link to the jump host as everything else sees it: one Connector that is there all the time,
 * whatever becomes of the connections under it.
 *
 *   Dialler (addresses, settings, one connection) -> Opens (how many flows at a time)
 *        -> Supervisor (again, as often as it is lost)
 *
 * Before a connection is dialled, the addresses that it goes to are left out of the captured
 * prefixes, and those of the one before only after it stands: the tunnel never swallows its own
 * connection.
 */

import { TunnelError } from '../errors/errors.ts';
import type { Observer } from '../observe/observer.ts';
import type { CapturedPrefixes } from '../policy/captured.ts';
import type { SshOptions } from '../ssh/options.ts';
import type { Prompter } from '../ssh/prompter.ts';
import { watchClock } from '../system/watch/clock.ts';
import { watchNetwork } from '../system/watch/network.ts';
import { dialPatience } from './backoff.ts';
import { Dialler, type Located, withPatience } from './dialler.ts';
import { Supervisor } from './supervisor.ts';

export interface LinkParts {
  readonly observer: Observer;
  readonly prompter: Prompter;
}

/**
 * `captured`: undefined where nothing is captured that the link could fall into. `onNames`: is told
 * the names that are resolved to find the jump host, before anything is dialled.
 */
export function createLink(
  ssh: SshOptions,
  { observer, prompter }: LinkParts,
  captured?: CapturedPrefixes,
  onNames: (names: readonly string[]) => void = () => {},
): Supervisor {
  const dialler = new Dialler({ ssh, prompter, observer });
  let known: Located | undefined;
  return new Supervisor({
    hold: ssh.reconnectHold,
    observer,
    async dial({ signal, attempt, usual }) {
      const patience = (limit: number) => dialPatience(limit, attempt, usual);
      const located = await dialler.locate(signal, patience).catch((error: unknown) => {
        // The resolver may be what is down; then its last answer is the best that there is.
        if (known === undefined || signal.aborted || !isDnsFailure(error)) throw error;
        observer.log('info', `${error.message}; the addresses that it had are tried`);
        return known;
      });
      onNames(located.names);
      await captured?.leaveOutToo(located.own);
      const transport = await dialler.dial(withPatience(located, patience), signal);
      known = located;
      try {
        await captured?.leaveOutOnly(located.own);
      } catch (error) {
        await transport.close();
        throw error;
      }
      return transport;
    },
  });
}

/**
 * Has the link looked after when there is a reason to. Returns what ends that. `device`: our own,
 * whose changes are none.
 */
export function watchDisturbances(
  supervisor: Supervisor,
  device: string,
  observer: Observer,
): () => void {
  const endings = [
    watchNetwork({
      ignoredDevice: device,
      changed: () => supervisor.disturbed('the network has changed'),
      observer,
    }),
    watchClock({ jumped: () => supervisor.disturbed('the clock has jumped') }),
  ];
  return () => {
    for (const end of endings) end();
  };
}

function isDnsFailure(error: unknown): error is TunnelError {
  return error instanceof TunnelError && error.code === 'jumphost-dns';
}
