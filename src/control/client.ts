/** Speaks to running tunnels over their sockets (server.ts). */
import { unlinkSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { TunnelError } from '../errors/errors.ts';
import { reasonOf, systemCodeOf } from '../errors/reason.ts';
import { addon } from '../native/addon.ts';
import {
  allDirectories,
  lives,
  ownDirectories,
  type SocketFile,
  socketsIn,
  type Whose,
  whoseProcess,
} from './directory.ts';
import type { Status } from './status.ts';
import { fieldOf, MAX_ANSWER_BYTES, readLines, type WireError } from './wire.ts';

/** For an answer of a tunnel that lives. */
export const ANSWER_MS = 5_000;
/** The system errors of a socket whose tunnel has gone. */
const GONE: ReadonlySet<string> = new Set(['ECONNREFUSED', 'ENOENT']);

export interface RunningTunnel {
  readonly pid: number;
  readonly path: string;
  readonly status: Status;
}

export interface Unanswering {
  readonly pid: number;
  readonly why: string;
}

export interface Found {
  readonly tunnels: readonly RunningTunnel[];
  /** Those that live but don't answer. */
  readonly silent: readonly Unanswering[];
}

/** All running tunnels of this user; root finds those of all users. Never rejects. */
export async function findTunnels(whose: Whose = whoseProcess()): Promise<Found> {
  const tunnels: RunningTunnel[] = [];
  const silent: Unanswering[] = [];
  const sockets = socketsIn(allDirectories(whose), whose);
  await Promise.all(
    sockets.map(async ({ path, pid }) => {
      try {
        const status = fieldOf(await ask(path, { do: 'status' }), 'status');
        if (isStatus(status, pid)) tunnels.push({ pid, path, status });
        else silent.push({ pid, why: 'its answer is not understood' });
      } catch (error) {
        if (hasGone(error)) removeIfDead({ path, pid }, whose);
        else silent.push({ pid, why: reasonOf(error) });
      }
    }),
  );
  const order = (a: { pid: number }, b: { pid: number }): number => a.pid - b.pid;
  return {
    tunnels: tunnels.sort((a, b) => a.status.startedAt - b.status.startedAt || order(a, b)),
    silent: silent.sort(order),
  };
}

/** Removes the sockets of this user's killed tunnels. Never rejects. */
export async function sweep(whose: Whose = whoseProcess()): Promise<void> {
  // In a container that shares the directory, a process that isn't seen here may listen.
  const dead = socketsIn(ownDirectories(whose), whose).filter(({ pid }) => !lives(pid));
  await Promise.all(
    dead.map(async (socket) => {
      const error = await failureOf(socket.path);
      if (hasGone(error)) removeIfDead(socket, whose);
    }),
  );
}

/** Why nobody can be connected to; undefined: somebody listens. */
function failureOf(path: string): Promise<unknown> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.on('error', resolve);
    socket.on('connect', () => {
      socket.destroy();
      resolve(undefined);
    });
  });
}

/** The running tunnel of this name or process id. Throws TunnelError `no-such-tunnel`. */
export function tunnelNamed({ tunnels, silent }: Found, name: string | undefined): RunningTunnel {
  const matching =
    name === undefined
      ? tunnels
      : tunnels.filter(({ pid, status }) => status.name === name || String(pid) === name);
  const [only, ...others] = matching;
  if (only !== undefined && others.length === 0) return only;
  const listed = (all: readonly RunningTunnel[]): string =>
    all.map(({ pid, status }) => `${status.name} (pid ${pid})`).join(', ');
  if (only !== undefined) {
    const message =
      name === undefined ? 'several tunnels run' : `several tunnels are called ${name}`;
    throw new TunnelError('no-such-tunnel', `${message}: ${listed(matching)}`, {
      hint: 'name one, or give its process id',
    });
  }
  const quiet = silent.map(({ pid, why }) => `pid ${pid} does not answer (${why})`).join('; ');
  const rest = tunnels.length === 0 ? 'no tunnel runs' : `these run: ${listed(tunnels)}`;
  throw new TunnelError(
    'no-such-tunnel',
    name === undefined ? 'no tunnel runs' : `no tunnel is called ${name}`,
    {
      hint: [name === undefined ? '"tunnel list" shows what can be started' : rest, quiet]
        .filter((it) => it !== '')
        .join('; '),
    },
  );
}

export interface AskOptions {
  /** Milliseconds; undefined: without a limit. Default: ANSWER_MS. */
  readonly limit?: number | undefined;
  readonly signal?: AbortSignal;
  /**
   * Answers the tunnel's questions, which may be anything at all. `signal`: the tunnel has given
   * the question up, or asks another one. Rejects where nobody can be asked.
   */
  readonly questions?: (question: unknown, peer: Peer, signal: AbortSignal) => Promise<string>;
}

/** Who listens at a socket. undefined: the kernel doesn't tell. */
export interface Peer {
  readonly user: number | undefined;
}

/** Asks once. Rejects with TunnelError, or with the system's error. */
export async function ask(
  path: string,
  request: unknown,
  options: AskOptions = {},
): Promise<unknown> {
  // Not as a parameter's default: an explicit `undefined` stays, and means no limit.
  const talk = converse(path, request, { limit: ANSWER_MS, ...options });
  for await (const answer of talk) return answer;
  throw new TunnelError('control-failed', 'the tunnel ended without an answer');
}

/** All answers to one request. Ends when the tunnel closes the connection. */
export async function* converse(
  path: string,
  request: unknown,
  { limit, signal, questions }: AskOptions = {},
): AsyncGenerator<unknown> {
  const socket = connect(path);
  const answers: unknown[] = [];
  let asked = new AbortController();
  let failure: unknown;
  let ended = false;
  let wake: () => void = () => {};
  const fail = (error: unknown): void => {
    failure ??= error;
    ended = true;
    wake();
  };
  const timer =
    limit === undefined
      ? undefined
      : setTimeout(
          () => fail(new TunnelError('control-failed', `no answer within ${limit / 1_000} s`)),
          limit,
        );
  const abort = (): void => fail(signal?.reason);
  signal?.addEventListener('abort', abort, { once: true });
  socket.on('error', fail);
  socket.on('close', () => {
    ended = true;
    wake();
  });
  readLines(socket, MAX_ANSWER_BYTES, {
    line(value) {
      const question = fieldOf(value, 'ask');
      if (question === undefined) answers.push(value);
      else {
        // A tunnel has one question at a time: the one before has been given up.
        asked.abort(new TunnelError('auth-cancelled', 'the question was given up'));
        asked = new AbortController();
        void reply(socket, question, { questions, signal: asked.signal });
      }
      wake();
    },
    broken: () => fail(new TunnelError('control-failed', 'its answer is not understood')),
  });
  socket.write(`${JSON.stringify(request)}\n`);
  try {
    for (;;) {
      const answer = answers.shift();
      if (answer !== undefined) yield checked(answer);
      else if (failure !== undefined) throw failure;
      else if (ended) return;
      else
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
    }
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
    asked.abort(new TunnelError('auth-cancelled', 'the tunnel has answered'));
    socket.destroy();
  }
}

/** Answers nothing once the question has been given up. Never rejects. */
async function reply(
  socket: Socket,
  question: unknown,
  { questions, signal }: { questions: AskOptions['questions']; signal: AbortSignal },
): Promise<void> {
  let answer: unknown = { declined: true, code: 'no-terminal', why: 'nobody can be asked' };
  try {
    if (questions !== undefined)
      answer = { answer: await questions(question, peerOf(socket), signal) };
  } catch (error) {
    const { code, message } =
      error instanceof TunnelError ? error : { code: 'auth-cancelled', message: String(error) };
    answer = { declined: true, code, why: message };
  }
  if (!socket.destroyed && !signal.aborted) socket.write(`${JSON.stringify(answer)}\n`);
}

function peerOf(socket: Socket): Peer {
  const { _handle: handle } = socket as unknown as { _handle?: { readonly fd?: unknown } | null };
  const fd = handle?.fd;
  try {
    return { user: typeof fd === 'number' ? addon().socketPeer(fd)[0] : undefined };
  } catch {
    // The addon isn't built, or the tunnel has gone.
    return { user: undefined };
  }
}

/** Throws the tunnel's own error. */
function checked(answer: unknown): unknown {
  if (fieldOf(answer, 'ok') === true) return answer;
  const error = fieldOf(answer, 'error') as WireError | undefined;
  const said = error?.message ?? 'its answer is not understood';
  throw new TunnelError(
    'control-failed',
    said,
    error?.hint === undefined ? {} : { hint: error.hint },
  );
}

/** Root asks the tunnels of all users, which may answer anything. */
function isStatus(value: unknown, pid: number): value is Status {
  const texts = ['name', 'command', 'version', 'remote'].map((name) => fieldOf(value, name));
  const numbers = ['startedAt', 'at'].map((name) => fieldOf(value, name));
  const lists = ['targets', 'proxies', 'forwards', 'refusals', 'checks'].map((name) =>
    fieldOf(value, name),
  );
  const flows = fieldOf(value, 'flows');
  const counts = ['live', 'opening', 'opened', 'refused', 'sentBytes', 'receivedBytes'];
  return (
    fieldOf(value, 'pid') === pid &&
    texts.every((text) => typeof text === 'string') &&
    [...numbers, ...counts.map((name) => fieldOf(flows, name))].every(Number.isFinite) &&
    [...lists, fieldOf(flows, 'list'), fieldOf(fieldOf(value, 'link'), 'via')].every(
      Array.isArray,
    ) &&
    typeof fieldOf(fieldOf(value, 'link'), 'state') === 'string' &&
    typeof fieldOf(value, 'counters') === 'object'
  );
}

function hasGone(error: unknown): boolean {
  const code = systemCodeOf(error);
  return code !== undefined && GONE.has(code);
}

/**
 * Nobody listens. A process that lives may be about to. Root leaves the directories of users alone:
 * they could be something else by the time that it removes anything.
 */
function removeIfDead({ path, pid }: SocketFile, whose: Whose): void {
  if (lives(pid) || !ownDirectories(whose).includes(dirname(path))) return;
  try {
    unlinkSync(path);
  } catch {
    // Somebody else has removed it, or it may not be removed.
  }
}
