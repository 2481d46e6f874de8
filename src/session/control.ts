/** The socket over which a running tunnel is asked and told (control/server.ts). */
import { sweep } from '../control/client.ts';
import { makeDirectory, removeIfTemporary, socketIn, whoseProcess } from '../control/directory.ts';
import { ControlServer } from '../control/server.ts';
import { TunnelError } from '../errors/errors.ts';
import { reasonOf } from '../errors/reason.ts';
import type { Supervisor } from '../link/supervisor.ts';
import type { Observer } from '../observe/observer.ts';
import type { Prompter } from '../ssh/prompter.ts';
import type { Overview } from './overview.ts';
import type { PrompterInUse } from './prompterinuse.ts';
import type { Reloads } from './reloads.ts';
import type { Session } from './session.ts';

export interface ControlParts {
  readonly overview: Overview;
  readonly link: Supervisor;
  readonly prompter: PrompterInUse;
  /** Ends the run in order. */
  readonly stop: () => void;
  readonly reloads: Reloads | undefined;
  readonly observer: Observer;
}

/**
 * Offers the socket until the session ends. Never rejects: without it the tunnel is as good, only
 * `tunnel status` doesn't see it, which is said once.
 */
export async function offerControl(session: Session, parts: ControlParts): Promise<void> {
  const { overview, link, prompter, stop, reloads, observer } = parts;
  try {
    const directory = makeDirectory(whoseProcess());
    await sweep();
    const path = socketIn(directory, process.pid);
    const handlers = {
      status: () => overview.status(),
      link: () => overview.link(),
      stop,
      // A question of the first login belongs to whoever starts the tunnel: it ends if that one is
      // not answered.
      reconnect: (asker: Prompter, signal: AbortSignal) =>
        link.started
          ? prompter.during(asker, () => reconnected(link, signal))
          : reconnected(link, signal),
      reload(asker: Prompter) {
        if (reloads === undefined)
          throw new TunnelError('control-request', 'this tunnel has no line to read again', {
            hint: 'stop it, and start it again with what is to be different',
          });
        return reloads.request((work) => prompter.unlessBusy(asker, work));
      },
    };
    const server = new ControlServer(path, handlers, observer);
    await server.start();
    session.own('the status socket', server, async (it) => {
      await it.close();
      removeIfTemporary(directory, whoseProcess());
    });
  } catch (error) {
    const hint = error instanceof TunnelError ? error.hint : undefined;
    observer.log('info', `"tunnel status" will not see this tunnel: ${reasonOf(error)}`, { hint });
  }
}

/** Resolves when there is a new link. Rejects with the error of a dial, or as `signal` does. */
function reconnected(link: Supervisor, signal: AbortSignal): Promise<void> {
  const before = link.view().upSince;
  link.reconnect();
  // The wait before the first dial is none for a dial that has failed.
  let dialled = false;
  return new Promise((resolve, reject) => {
    const over = (): void => {
      end();
      signal.removeEventListener('abort', abort);
    };
    const abort = (): void => {
      over();
      reject(signal.reason);
    };
    const look = (): void => {
      const { state, upSince, error } = link.view();
      dialled ||= state === 'connecting';
      if (state === 'up' && upSince !== before) {
        over();
        resolve();
      } else if (state === 'failed' || state === 'closed' || (state === 'waiting' && dialled)) {
        over();
        reject(error ?? new TunnelError('link-closed', 'the tunnel has ended'));
      }
    };
    const end = link.onChange(look);
    signal.addEventListener('abort', abort, { once: true });
    look();
  });
}
