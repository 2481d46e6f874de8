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
  livesOn,
  MAX_SOCKETS,
  ownDirectories,
  type SocketFile,
  socketsIn,
  type Whose,
  whoseProcess,
} from './directory.ts';
import { readStatus } from './shape.ts';
import type { Status } from './status.ts';
import { fieldOf, MAX_ANSWER_BYTES, OTHER_VERSION, readLines, textOf } from './wire.ts';

/** For an answer of a tunnel that lives. */
export const ANSWER_MS = 5_000;
/** The system errors of a socket whose tunnel has gone. */
const GONE: ReadonlySet<string> = new Set(['ECONNREFUSED', 'ENOENT']);
/** Those of a connection that the tunnel's end has cut off. */
const CUT_OFF: ReadonlySet<string> = new Set(['ECONNRESET', 'EPIPE']);
export const CUT_OFF_TWICE = 'it closes the connection without an answer';

export interface RunningTunnel extends SocketFile {
  readonly status: Status;
  /** Of an answer. Default: MAX_ANSWER_BYTES. */
  readonly maxBytes?: number;
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
  const all = socketsIn(allDirectories(whose), whose);
  const look = async (file: SocketFile, maxBytes: number): Promise<void> => {
    const { pid } = file;
    try {
      const answer = await askAgain(file, { do: 'status' }, { maxBytes });
      if (answer === undefined) {
        if (livesOn(pid)) silent.push({ pid, why: CUT_OFF_TWICE });
        return;
      }
      const status = readStatus(fieldOf(answer, 'status'), pid);
      if (status !== undefined) tunnels.push({ ...file, status, maxBytes });
      else silent.push({ pid, why: 'its answer is not understood' });
    } catch (error) {
      if (hasGone(error)) removeIfDead(file, whose);
      else silent.push({ pid, why: reasonOf(error) });
    }
  };
  for (const { directory, leftOut } of all) {
    const [first] = leftOut;
    const why = `it is one of ${leftOut.length} that are left out: ${directory} has over ${MAX_SOCKETS} sockets`;
    if (first !== undefined) silent.push({ pid: first.pid, why });
  }
  await Promise.all(
    all.flatMap(({ files }) =>
      files.map((file) => look(file, maxBytesOf(file, files.length, whose))),
    ),
  );
  const order = (a: { pid: number }, b: { pid: number }): number => a.pid - b.pid;
  return {
    tunnels: tunnels.sort((a, b) => a.status.startedAt - b.status.startedAt || order(a, b)),
    silent: silent.sort(order),
  };
}

/**
 * Asks once more if the connection is closed without an answer: a tunnel that ends does that to
 * whoever asks just then. Its socket is gone the next time, or its process is. undefined: it has
 * closed both. Rejects as ask() does.
 */
export async function askAgain(
  file: SocketFile,
  request: unknown,
  options: AskOptions = {},
): Promise<unknown> {
  for (let attempt = 0; attempt < 2; attempt++) {
    try {
      const talk = converse(file.path, request, { limit: ANSWER_MS, listener: file, ...options });
      for await (const answer of talk) return answer;
    } catch (error) {
      if (!isCutOff(error)) throw error;
    }
  }
  return undefined;
}

/** Another user's sockets share what one answer may have, so that nobody can fill root's memory. */
function maxBytesOf({ user }: SocketFile, sockets: number, { uid }: Whose): number {
  return user === uid ? MAX_ANSWER_BYTES : Math.floor(MAX_ANSWER_BYTES / sockets);
}

/** Removes the sockets of this user's killed tunnels. Never rejects. */
export async function sweep(whose: Whose = whoseProcess()): Promise<void> {
  // In a container that shares the directory, a process that isn't seen here may listen.
  const all = socketsIn(ownDirectories(whose), whose).flatMap(({ files, leftOut }) => [
    ...files,
    ...leftOut,
  ]);
  const dead = all.filter(({ pid }) => !lives(pid));
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

/**
 * The running tunnel of this process id or name. A name may be any text, so an id goes first, and
 * the caller's own tunnel before those of others. Without a name it is the caller's only one: root,
 * who sees the tunnels of all users, has to name those of others. Throws TunnelError
 * `no-such-tunnel`, or `control-failed` for a process that doesn't answer.
 */
export function tunnelNamed(
  { tunnels, silent }: Found,
  name: string | undefined,
  whose: Whose = whoseProcess(),
): RunningTunnel {
  const { uid } = whose;
  const matching = tunnelsNamed(tunnels, name, uid);
  const [only, ...others] = matching;
  if (only !== undefined && others.length === 0) return only;
  if (only !== undefined) {
    const message =
      name === undefined ? 'several tunnels run' : `several tunnels are called ${name}`;
    throw new TunnelError('no-such-tunnel', `${message}: ${listed(matching, uid)}`, {
      hint: 'name one, or give its process id',
    });
  }
  const hung = silent.find(({ pid }) => String(pid) === name);
  if (hung !== undefined) {
    throw new TunnelError('control-failed', `process ${hung.pid} does not answer: ${hung.why}`, {
      hint: `"ps -fp ${hung.pid}" shows what it is; a tunnel ends in order by "kill ${hung.pid}"`,
    });
  }
  const quiet = silent.map(({ pid, why }) => `pid ${pid} does not answer (${why})`);
  const [first] = tunnels;
  const none = silent.length === 0 ? 'no tunnel runs' : 'no tunnel answers';
  const hints =
    first === undefined
      ? [name === undefined ? '"tunnel list" shows what can be started' : none]
      : [`these run: ${listed(tunnels, uid)}`];
  if (name === undefined && first !== undefined)
    hints.push(`name one to take another user's, or give its process id, as in ${first.pid}`);
  const hint = [...hints, ...quiet, ...otherUsers(whose)].join('; ');
  if (name !== undefined)
    throw new TunnelError('no-such-tunnel', `no tunnel is called ${name === '' ? '""' : name}`, {
      hint,
    });
  const message = first === undefined ? none : 'none of your own tunnels runs';
  throw new TunnelError('no-such-tunnel', message, { hint });
}

function listed(tunnels: readonly RunningTunnel[], uid: number): string {
  const whose = (user: number): string => (user === uid ? '' : `, user ${user}`);
  return tunnels
    .map(({ status, pid, user }) => `${status.name} (pid ${pid}${whose(user)})`)
    .join(', ');
}

/** Under sudo and doas the program is its caller's, and sees no other tunnels. */
function otherUsers({ env, uid }: Whose): string[] {
  if (uid === 0) return [];
  const variable =
    env['SUDO_UID'] === String(uid)
      ? 'SUDO_UID'
      : env['DOAS_USER'] !== undefined && env['DOAS_USER'] === env['USER']
        ? 'DOAS_USER'
        : undefined;
  if (variable === undefined) return [];
  return [
    `here it looks for your own tunnels, also as root: without ${variable} in the environment root finds those of all users`,
  ];
}

function tunnelsNamed(
  tunnels: readonly RunningTunnel[],
  name: string | undefined,
  uid: number,
): readonly RunningTunnel[] {
  if (name === undefined) return tunnels.filter(({ user }) => user === uid);
  const numbered = tunnels.filter(({ pid }) => String(pid) === name);
  if (numbered.length > 0) return numbered;
  const named = tunnels.filter(({ status }) => status.name === name);
  const own = named.filter(({ user }) => user === uid);
  return own.length > 0 ? own : named;
}

export interface AskOptions {
  /** Milliseconds; undefined: without a limit. Default: ANSWER_MS. */
  readonly limit?: number | undefined;
  readonly signal?: AbortSignal;
  /** Who is to listen there. The kernel tells who does, and nobody else is asked anything. */
  readonly listener?: Pick<SocketFile, 'pid' | 'user'>;
  /** Of one answer. Default: MAX_ANSWER_BYTES. */
  readonly maxBytes?: number;
  /**
   * Answers the tunnel's questions, which may be anything at all. `signal`: the tunnel has given
   * the question up, or asks another one. Rejects where nobody can be asked.
   */
  readonly questions?: (question: unknown, peer: Peer, signal: AbortSignal) => Promise<string>;
}

/** Who listens at a socket. undefined: the kernel doesn't tell. */
export interface Peer {
  readonly user: number | undefined;
  /** 0: one of another container. */
  readonly pid: number | undefined;
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
  throw new TunnelError('control-failed', 'the tunnel ended without an answer', {
    hint: 'its log says why; "tunnel status" shows what runs',
  });
}

/** All answers to one request. Ends when the tunnel closes the connection. */
export async function* converse(
  path: string,
  request: unknown,
  { limit, signal, questions, listener, maxBytes = MAX_ANSWER_BYTES }: AskOptions = {},
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
          () =>
            fail(
              new TunnelError('control-failed', `no answer within ${limit / 1_000} s`, {
                hint: 'it may be stopped (Ctrl-Z), or very busy: try again, or see its log',
              }),
            ),
          limit,
        );
  const abort = (): void => fail(signal?.reason);
  signal?.addEventListener('abort', abort, { once: true });
  socket.on('error', fail);
  socket.on('close', () => {
    ended = true;
    wake();
  });
  readLines(socket, maxBytes, {
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
    broken: () => fail(notUnderstood()),
  });
  socket.on('connect', () => {
    const problem = listener === undefined ? undefined : impostor(peerOf(socket), listener);
    if (problem === undefined) socket.write(`${JSON.stringify(request)}\n`);
    else
      fail(
        new TunnelError('control-failed', problem, {
          hint: `nothing was asked there; remove ${path} if nobody needs it`,
        }),
      );
  });
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

/**
 * The statuses of a tunnel, one every so often. Ends when it does. Rejects with TunnelError
 * `control-failed` for what is no status, or as converse() does.
 */
export async function* followStatus(
  tunnel: RunningTunnel,
  everyMs: number,
  signal: AbortSignal,
): AsyncGenerator<Status> {
  const { path, pid, maxBytes = MAX_ANSWER_BYTES } = tunnel;
  const options = { signal, listener: tunnel, maxBytes };
  for await (const answer of converse(path, { do: 'watch', everyMs }, options)) {
    const status = readStatus(fieldOf(answer, 'status'), pid);
    if (status === undefined) throw notUnderstood();
    yield status;
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
    const [user, pid] = typeof fd === 'number' ? addon().socketPeer(fd) : [];
    return { user, pid };
  } catch {
    // The addon isn't built, or the tunnel has gone.
    return { user: undefined, pid: undefined };
  }
}

/**
 * What is wrong with who listens; undefined: nothing that is known. A tunnel could otherwise have
 * the number of any process, and whoever stops it would be told to kill that one. One of another
 * container has no number here, and is believed where nobody else can have made its socket.
 */
function impostor(
  { user, pid }: Peer,
  listener: Pick<SocketFile, 'pid' | 'user'>,
): string | undefined {
  if (user === undefined || pid === undefined) return undefined;
  if (user !== listener.user) return `user ${user} listens there, not user ${listener.user}`;
  const isKnown = pid === listener.pid || (pid === 0 && user === whoseProcess().uid);
  return isKnown ? undefined : `process ${pid} listens there`;
}

/** Throws the tunnel's own error, which may hold any text, but nothing else. */
function checked(answer: unknown): unknown {
  if (fieldOf(answer, 'ok') === true) return answer;
  const error = fieldOf(answer, 'error');
  const said = textOf(error, 'message');
  if (said === undefined) throw notUnderstood();
  const hint = textOf(error, 'hint') ?? 'its log has more';
  throw new TunnelError('control-failed', said, { hint });
}

function notUnderstood(): TunnelError {
  return new TunnelError('control-failed', 'its answer is not understood', { hint: OTHER_VERSION });
}

/** Whether nobody listens any more. */
export function hasGone(error: unknown): boolean {
  const code = systemCodeOf(error);
  return code !== undefined && GONE.has(code);
}

/** Whether the tunnel has ended while it was asked. */
export function isCutOff(error: unknown): boolean {
  return CUT_OFF.has(systemCodeOf(error));
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
