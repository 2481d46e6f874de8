/**
 * Questions of the system's ssh, put to whoever the run asks. Where that one sits at another
 * terminal, as with `tunnel reconnect`, ssh itself could not ask: it would send an empty answer,
 * and the server would count a refused login.
 *
 *   ssh -> native/askpass.c -> the socket -> Prompter -> the answer, the same way back
 *                                               `-----> nobody answers: `failed`, which ends ssh
 *                                                       before it sends anything
 *
 *   reading -> asked -> answered      the connection is closed when the other side has read it
 *      |         `----> failed        the connection stays open, and ssh waits, until close()
 *      |         `----> gone          the other side has closed: ssh wants no answer any more
 *      `--------------> failed        a question that can't be put: too many, too long, or empty
 *
 * Which kind of question it is, ssh doesn't tell: one that offers yes and no is shown while it is
 * typed. With SSH_ASKPASS_PROMPT `confirm` a yes is wanted, and with `none` only that the text is
 * shown (touch your security key), until ssh has what it waits for.
 *
 * Limits: MAX_ASKING questions at a time, of MAX_QUESTION_BYTES each; with what is beyond, the
 * login fails, and it is counted. The socket is in a directory of mode 0700.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { listenOnSocket } from '../../base/unixsocket.ts';
import { TunnelError } from '../../errors/errors.ts';
import { reasonOf } from '../../errors/reason.ts';
import { ASKPASS_PATH } from '../../native/addon.ts';
import type { Observer } from '../../observe/observer.ts';
import { harmless } from '../../observe/printable.ts';
import type { Prompter } from '../prompter.ts';

/** ssh asks one after the other; each hop of -J is an ssh of its own. */
export const MAX_ASKING = 8;
/** The kernel passes no longer argument (MAX_ARG_STRLEN, execve(2)). */
export const MAX_QUESTION_BYTES = 128 * 1024;
const MAX_LINES = 40;
/** Of which those beyond MAX_ASKING wait for the end of ssh. */
const MAX_CONNECTIONS = 4 * MAX_ASKING;
const NUL = 0;

export interface AskpassOptions {
  readonly path: string;
  readonly prompter: Prompter;
  readonly observer: Observer;
  /** A question is not answered. */
  readonly failed: (error: unknown) => void;
}

export class AskpassServer {
  readonly #options: AskpassOptions;
  readonly #server: Server;
  readonly #asking = new Set<Socket>();
  readonly #closing = new AbortController();

  private constructor(options: AskpassOptions) {
    this.#options = options;
    this.#server = createServer((socket) => this.#accept(socket));
    this.#server.maxConnections = MAX_CONNECTIONS;
  }

  /** Rejects with TunnelError `openssh-directory`. */
  static async start(options: AskpassOptions): Promise<AskpassServer> {
    const it = new AskpassServer(options);
    try {
      await listenOnSocket(it.#server, options.path);
    } catch (cause) {
      throw new TunnelError('openssh-directory', `can't listen at ${options.path}`, {
        hint: 'check that the file system supports sockets (XDG_RUNTIME_DIR, TMPDIR)',
        cause,
      });
    }
    it.#server.on('drop', () => options.observer.count('tunnel_askpass_limit_total'));
    it.#server.on('error', () => {}); // who could not be accepted has no answer
    return it;
  }

  /** For ssh: OpenSSH 8.4 and later obey it also where there is a terminal. */
  get environment(): Readonly<Record<string, string>> {
    return {
      SSH_ASKPASS: ASKPASS_PATH,
      SSH_ASKPASS_REQUIRE: 'force',
      TUNNEL_ASKPASS: this.#options.path,
    };
  }

  close(): void {
    this.#closing.abort();
    this.#server.close();
    for (const socket of this.#asking) socket.destroy();
  }

  #accept(socket: Socket): void {
    const gone = new AbortController();
    this.#asking.add(socket);
    socket.on('error', () => {}); // its close follows
    socket.on('close', () => {
      this.#asking.delete(socket);
      gone.abort();
    });
    if (this.#asking.size > MAX_ASKING) {
      this.#overLimit(`ssh asks more than ${MAX_ASKING} questions at a time`);
      return;
    }
    const signal = AbortSignal.any([gone.signal, this.#closing.signal]);
    let read = Buffer.alloc(0);
    const take = (chunk: Buffer): void => {
      read = Buffer.concat([read, chunk]);
      const hintEnd = read.indexOf(NUL);
      const end = hintEnd < 0 ? -1 : read.indexOf(NUL, hintEnd + 1);
      if (end < 0 && read.length <= MAX_QUESTION_BYTES) return;
      socket.off('data', take);
      // From here on only its end matters.
      socket.resume();
      if (end < 0) {
        this.#overLimit(`ssh asks a question of more than ${MAX_QUESTION_BYTES / 1024} KiB`);
        return;
      }
      const hint = read.toString('utf8', 0, hintEnd);
      const question = read.toString('utf8', hintEnd + 1, end);
      this.#answer(socket, { hint, question }, signal).catch((error: unknown) => {
        // ssh has ended by itself, or what it wanted to know is known.
        if (!signal.aborted) this.#options.failed(error);
      });
    };
    socket.on('data', take);
  }

  /** The connection stays open: if it ended, ssh would send an empty answer before it ends. */
  #overLimit(what: string): void {
    this.#options.observer.count('tunnel_askpass_limit_total');
    this.#options.failed(unanswerable(what));
  }

  async #answer(
    socket: Socket,
    { hint, question: text }: { readonly hint: string; readonly question: string },
    signal: AbortSignal,
  ): Promise<void> {
    const lines = text
      .split('\n')
      .map((line) => harmless(line))
      .filter((line) => line.trim() !== '');
    const question = lines.at(-1);
    if (question === undefined) throw unanswerable('ssh asks a question without a word');
    const preamble = lines.slice(0, -1).slice(-MAX_LINES);
    const { prompter } = this.#options;
    if (hint === 'none') return await this.#show([...preamble, question]);
    if (hint === 'confirm') {
      if (await prompter.confirm(question, { preamble, signal })) socket.end('+');
      else socket.end();
      return;
    }
    const shown = /\byes\b.*\bno\b/i.test(question);
    const ask = { preamble, signal };
    const answer = shown
      ? await prompter.line(question, ask)
      : await prompter.secret(question, ask);
    socket.end(`+${answer}`);
  }

  /** ssh goes on waiting, whether or not anybody has seen it. */
  async #show(lines: readonly string[]): Promise<void> {
    const { prompter, observer } = this.#options;
    for (const line of lines) observer.log('notice', `ssh: ${line.trim()}`);
    try {
      await prompter.show?.(lines);
    } catch (error) {
      observer.log('info', `what ssh says was not shown to whoever is asked: ${reasonOf(error)}`);
    }
  }
}

function unanswerable(what: string): TunnelError {
  return new TunnelError('auth-cancelled', `${what}: it is put to nobody`, {
    hint: 'the same with "ssh -v" shows what it asks',
  });
}
