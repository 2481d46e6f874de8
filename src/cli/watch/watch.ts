/**
 * `tunnel status --watch`: follows the running tunnels over their sockets, and shows them on the
 * whole screen until somebody leaves, or the last one has ended.
 */
import {
  type Found,
  findTunnels,
  followStatus,
  type RunningTunnel,
  tunnelNamed,
  type Unanswering,
} from '../../control/client.ts';
import { printable } from '../../observe/printable.ts';
import { History } from './history.ts';
import { checkTerminal, Screen } from './screen.ts';
import { firstState, type Key, type Model, press } from './state.ts';
import { render } from './view.ts';

/** Between two statuses of a tunnel, and two frames. */
const EVERY_MS = 1_000;
/** Between two looks for tunnels that have begun. */
const LOOK_MS = 2_000;

/**
 * Resolves with what is to be printed afterwards. Rejects with TunnelError, or with the signal's
 * reason.
 */
export async function watchTunnels(
  name: string | undefined,
  signal: AbortSignal,
  env: NodeJS.ProcessEnv,
): Promise<string> {
  checkTerminal(env);
  const found = await findTunnels();
  signal.throwIfAborted();
  const wanted = name === undefined ? found : { tunnels: [tunnelNamed(found, name)], silent: [] };
  if (wanted.tunnels.length + wanted.silent.length === 0) return 'no tunnel runs\n';
  const followed = new Followed(wanted);
  try {
    const why = await show(followed, signal, env, name === undefined);
    return why === '' ? '' : `${printable(why)}\n`;
  } finally {
    followed.close();
  }
}

/** Resolves with why it has ended, if nobody has ended it. */
async function show(
  followed: Followed,
  signal: AbortSignal,
  env: NodeJS.ProcessEnv,
  looks: boolean,
): Promise<string> {
  const { promise: ended, resolve: end, reject: fail } = withResolvers<string>();
  let state = firstState(followed.model());
  const screen = new Screen(
    {
      key(key: Key) {
        const next = press(state, key, followed.model());
        if (next === undefined) return end('');
        state = next;
        draw();
      },
      resized: () => draw(),
      gone: () => end(''),
    },
    env,
  );
  const draw = (): void => screen.draw(render(followed.model(), state, screen.size));
  const abort = (): void => fail(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  followed.begin({ changed: draw, ended: end });
  const clock = setInterval(draw, EVERY_MS);
  const look = looks ? setInterval(() => void followed.look(), LOOK_MS) : undefined;
  try {
    screen.open();
    return await ended;
  } finally {
    clearInterval(clock);
    clearInterval(look);
    signal.removeEventListener('abort', abort);
    screen.close();
  }
}

interface FollowedEvents {
  changed(): void;
  /** The last tunnel has gone. */
  ended(why: string): void;
}

class Followed {
  readonly #all = new Map<number, History>();
  readonly #first: readonly RunningTunnel[];
  readonly #closing = new AbortController();
  #silent: readonly Unanswering[];
  #events: FollowedEvents = { changed: () => {}, ended: () => {} };
  #looking = false;

  constructor({ tunnels, silent }: Found) {
    this.#first = tunnels;
    this.#silent = silent;
    for (const { pid, status } of tunnels) this.#all.set(pid, new History(status));
  }

  model(): Model {
    return { tunnels: [...this.#all.values()], silent: this.#silent, now: Date.now() };
  }

  begin(events: FollowedEvents): void {
    this.#events = events;
    for (const tunnel of this.#first) void this.#follow(tunnel);
  }

  /** Looks for tunnels that have begun. */
  async look(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    const { tunnels, silent } = await findTunnels();
    this.#looking = false;
    if (this.#closing.signal.aborted) return;
    // Those that are followed say themselves that they don't answer.
    this.#silent = silent.filter(({ pid }) => !this.#all.has(pid));
    for (const tunnel of tunnels) {
      if (this.#all.has(tunnel.pid)) continue;
      this.#all.set(tunnel.pid, new History(tunnel.status));
      void this.#follow(tunnel);
    }
  }

  close(): void {
    this.#closing.abort();
  }

  /** Until it ends. Never rejects. */
  async #follow(tunnel: RunningTunnel): Promise<void> {
    const { pid, status } = tunnel;
    try {
      for await (const next of followStatus(tunnel, EVERY_MS, this.#closing.signal)) {
        this.#all.get(pid)?.add(next);
        this.#events.changed();
      }
    } catch {
      // It has gone, which is what the end of its answers says as well.
    }
    const { signal } = this.#closing;
    if (signal.aborted) return;
    this.#all.delete(pid);
    if (this.#all.size + this.#silent.length === 0)
      this.#events.ended(`${status.name} (pid ${pid}) has ended`);
    else this.#events.changed();
  }
}

/** Promise.withResolvers(), which Node 20 has not. */
function withResolvers<T>() {
  let resolve: (value: T) => void = () => {};
  let reject: (reason: unknown) => void = () => {};
  const promise = new Promise<T>((done, failed) => {
    resolve = done;
    reject = failed;
  });
  return { promise, resolve, reject };
}
