/** The socket over which a running tunnel is asked and told (control/server.ts). */
import { sweep } from '../control/client.ts';
import { makeDirectory, removeIfTemporary, socketIn, whoseProcess } from '../control/directory.ts';
import { ControlServer } from '../control/server.ts';
import { TunnelError } from '../errors/errors.ts';
import { reasonOf } from '../errors/reason.ts';
import type { Supervisor } from '../link/supervisor.ts';
import type { Observer } from '../observe/observer.ts';
import type { ConfirmOptions, Prompter, QuestionOptions } from '../ssh/prompter.ts';
import type { Overview } from './overview.ts';
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
      stop,
      // A question of the first login belongs to whoever starts the tunnel: it ends if that one is
      // not answered.
      reconnect: (asker: Prompter, signal: AbortSignal) =>
        link.started
          ? prompter.during(asker, () => reconnected(link, signal))
          : reconnected(link, signal),
      reload(asker: Prompter) {
        if (reloads === undefined)
          throw new TunnelError('control-request', 'this tunnel has no line to read again');
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

/**
 * Asks at the run's own terminal, or at that of whoever has asked for a new link or a reload, as
 * long as that one is there.
 */
export class PrompterInUse implements Prompter {
  readonly #own: Prompter;
  #other: Prompter | undefined;

  constructor(own: Prompter) {
    this.#own = own;
  }

  /** Throws TunnelError if somebody else is being asked already. */
  during<T>(other: Prompter, work: () => Promise<T>): Promise<T> {
    if (this.#isBusy) {
      const message = 'somebody else has asked for a new link, or a reload, already';
      return Promise.reject(new TunnelError('control-busy', message));
    }
    return this.#asking(other, work);
  }

  /** As `during`; if somebody else is being asked already, that one gets the questions. */
  unlessBusy<T>(other: Prompter, work: () => Promise<T>): Promise<T> {
    return this.#isBusy ? work() : this.#asking(other, work);
  }

  async #asking<T>(other: Prompter, work: () => Promise<T>): Promise<T> {
    this.#other = other;
    try {
      return await work();
    } finally {
      // Another one takes its place when this one has left before its work was done.
      if (this.#other === other) this.#other = undefined;
    }
  }

  /** Whoever has left is not asked any more, whatever becomes of what they wanted. */
  get #isBusy(): boolean {
    return this.#other?.canAsk() ?? false;
  }

  get #asks(): Prompter {
    return this.#isBusy && this.#other !== undefined ? this.#other : this.#own;
  }

  canAsk(): boolean {
    return this.#asks.canAsk();
  }

  secret(question: string, options?: QuestionOptions): Promise<string> {
    return this.#asks.secret(question, options);
  }

  line(question: string, options?: QuestionOptions): Promise<string> {
    return this.#asks.line(question, options);
  }

  confirm(question: string, options?: ConfirmOptions): Promise<boolean> {
    return this.#asks.confirm(question, options);
  }
}
