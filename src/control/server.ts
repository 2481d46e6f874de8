/**
 * The socket of a running tunnel: it answers `tunnel status`, and does what `tunnel stop`,
 * `tunnel reconnect` and `tunnel reload` ask for. Only its user and root can connect
 * (directory.ts).
 *
 *   accepted ── a request within REQUEST_MS ──► answered ──► closed when it has been read
 *                                          └──► watch: a status every so often, the next one only
 *                                               when the one before has been taken
 *
 * Nothing here waits for a client, and what a client does not read costs at most one answer. Who
 * has not read it after READ_MS is closed.
 *
 * Limits: MAX_CLIENTS at a time; any more are closed at once. Both are counted.
 */
import { unlinkSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { listenOnSocket } from '../base/unixsocket.ts';
import { TunnelError } from '../errors/errors.ts';
import { reasonOf } from '../errors/reason.ts';
import { systemRefusal } from '../errors/system.ts';
import type { Observer } from '../observe/observer.ts';
import type { Prompter } from '../ssh/prompter.ts';
import { RemotePrompter } from './remoteprompter.ts';
import type { LinkStatus, ReloadAnswer, Status } from './status.ts';
import { fieldOf, MAX_REQUEST_BYTES, OTHER_VERSION, readLines, textOf } from './wire.ts';

export const MAX_CLIENTS = 32;
export const REQUEST_MS = 10_000;
export const READ_MS = 10_000;
const LEAST_EVERY_MS = 100;
const MOST_EVERY_MS = 60_000;

export interface ControlHandlers {
  status(): Status;
  /** That part of it alone, which costs little. */
  link(): LinkStatus;
  /** Ends the tunnel in order; returns at once. */
  stop(): void;
  /** Resolves when the link stands again. Questions go to `prompter`. */
  reconnect(prompter: Prompter, signal: AbortSignal): Promise<void>;
  /** Resolves when the line has been read again, with what came of it. */
  reload(prompter: Prompter): Promise<ReloadAnswer>;
}

export class ControlServer {
  readonly #path: string;
  readonly #handlers: ControlHandlers;
  readonly #observer: Observer;
  readonly #clients = new Set<Socket>();
  #server: Server | undefined;

  constructor(path: string, handlers: ControlHandlers, observer: Observer) {
    this.#path = path;
    this.#handlers = handlers;
    this.#observer = observer;
  }

  /** Rejects with the system's error. */
  async start(): Promise<void> {
    this.#removeSocket();
    const server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
    this.#server = server;
    await listenOnSocket(server, this.#path);
    // A client that could not be accepted finds out by itself.
    server.on('error', () => {});
    server.unref();
  }

  /** Never rejects. */
  async close(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
      for (const client of this.#clients) client.destroy();
    });
    this.#removeSocket();
  }

  #removeSocket(): void {
    try {
      unlinkSync(this.#path);
    } catch {
      // It isn't there.
    }
  }

  #accept(socket: Socket): void {
    if (this.#clients.size >= MAX_CLIENTS) {
      this.#observer.count('tunnel_control_over_limit_total');
      socket.destroy();
      return;
    }
    this.#clients.add(socket);
    this.#observer.count('tunnel_control_clients_total');
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#clients.delete(socket));
    new Client(socket, this.#handlers, this.#observer).begin();
  }
}

/** One connection, from its request to its end. */
class Client {
  readonly #socket: Socket;
  readonly #handlers: ControlHandlers;
  readonly #observer: Observer;
  #deadline: NodeJS.Timeout | undefined;
  #prompter: RemotePrompter | undefined;
  #asked = false;

  constructor(socket: Socket, handlers: ControlHandlers, observer: Observer) {
    this.#socket = socket;
    this.#handlers = handlers;
    this.#observer = observer;
  }

  begin(): void {
    const socket = this.#socket;
    this.#within(REQUEST_MS);
    socket.on('close', () => clearTimeout(this.#deadline));
    // Who has asked may close its side, as nc(1) does. Nobody else has a reason to.
    socket.on('end', () => {
      if (!this.#asked || this.#prompter !== undefined) socket.destroy();
    });
    readLines(socket, MAX_REQUEST_BYTES, {
      line: (value) => this.#take(value),
      broken: () => this.#refuse(noRequest('this is no request')),
    });
  }

  #take(value: unknown): void {
    if (this.#asked) {
      this.#prompter?.answered(value);
      return;
    }
    this.#asked = true;
    clearTimeout(this.#deadline);
    const what = textOf(value, 'do');
    try {
      if (what === 'status')
        this.#last({
          ok: true,
          status:
            textOf(value, 'only') === 'link'
              ? { link: this.#handlers.link() }
              : this.#handlers.status(),
        });
      else if (what === 'watch') this.#watch(Number(fieldOf(value, 'everyMs') ?? 1_000));
      else if (what === 'stop') {
        this.#last({ ok: true });
        this.#handlers.stop();
      } else if (what === 'reconnect')
        this.#prompted(async (prompter, signal) => {
          await this.#handlers.reconnect(prompter, signal);
          return { ok: true };
        });
      else if (what === 'reload')
        this.#prompted(async (prompter) => ({
          ok: true,
          reload: await this.#handlers.reload(prompter),
        }));
      else throw noRequest('a tunnel of this version does not know it');
    } catch (error) {
      this.#refuse(error);
    }
  }

  /** Sends what `work` resolves with. Its questions go to the client. */
  #prompted(work: (prompter: RemotePrompter, gone: AbortSignal) => Promise<unknown>): void {
    const gone = new AbortController();
    this.#socket.on('close', () => gone.abort());
    const prompter = new RemotePrompter(
      (question) => this.#write({ ask: question }),
      this.#observer,
    );
    this.#prompter = prompter;
    this.#socket.on('close', () => prompter.close());
    work(prompter, gone.signal).then(
      (answer) => this.#last(answer),
      (error: unknown) => this.#refuse(error),
    );
  }

  /** Each one is made only when the one before it has been taken. */
  #watch(wanted: number): void {
    const every = Math.min(Math.max(wanted || 0, LEAST_EVERY_MS), MOST_EVERY_MS);
    const show = (): void => {
      if (this.#socket.destroyed) return;
      this.#within(READ_MS);
      this.#write({ ok: true, status: this.#handlers.status() }, () => {
        this.#within(READ_MS + every);
        const timer = setTimeout(show, every);
        timer.unref();
      });
    };
    show();
  }

  #refuse(error: unknown): void {
    const known = error instanceof TunnelError ? error : systemRefusal(error);
    const { code, message, hint } = known ?? {
      code: 'unexpected',
      message: reasonOf(error),
      hint: 'this is a bug in the program: please report it, with the log of the tunnel',
    };
    this.#last({ ok: false, error: { code, message, hint } });
  }

  #last(answer: unknown): void {
    if (this.#socket.destroyed) return;
    this.#within(READ_MS);
    this.#write(answer);
    this.#socket.end();
  }

  #write(answer: unknown, taken?: () => void): void {
    this.#socket.write(`${JSON.stringify(answer)}\n`, () => taken?.());
  }

  #within(milliseconds: number): void {
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(() => {
      this.#observer.count('tunnel_control_timeouts_total');
      this.#socket.destroy();
    }, milliseconds);
    this.#deadline.unref();
  }
}

function noRequest(message: string): TunnelError {
  return new TunnelError('control-request', message, { hint: OTHER_VERSION });
}
