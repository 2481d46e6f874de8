/**
 * Questions of the system's ssh, put to whoever the run asks. Where that one sits at another
 * terminal, as with `tunnel reconnect`, ssh itself could not ask: it would send an empty answer,
 * and the server would count a refused login.
 *
 *   ssh -> native/askpass.c -> the socket -> Prompter -> the answer, the same way back
 *                                               `-----> nobody answers: `failed`, which ends ssh
 *                                                       before it sends anything
 *
 * Which kind of question it is, ssh doesn't tell: one that offers yes and no is shown while it is
 * typed. With SSH_ASKPASS_PROMPT `confirm` a yes is wanted, and with `none` only that the text is
 * shown (touch your security key), until ssh has what it waits for.
 *
 * Limits: MAX_ASKING questions at a time, of MAX_QUESTION_BYTES each; what is beyond gets no answer
 * and is counted. The socket is in a directory
 * of mode 0700.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { listenOnSocket } from '../../base/unixsocket.ts';
import { TunnelError } from '../../errors/errors.ts';
import { ASKPASS_PATH } from '../../native/addon.ts';
import type { Observer } from '../../observe/observer.ts';
import type { Prompter } from '../prompter.ts';
import { serverText } from '../servertext.ts';

/** ssh asks one after the other; each hop of -J is an ssh of its own. */
const MAX_ASKING = 8;
/** The kernel passes no longer argument (MAX_ARG_STRLEN, execve(2)). */
const MAX_QUESTION_BYTES = 128 * 1024;
const MAX_LINES = 40;

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
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
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
    if (this.#asking.size >= MAX_ASKING) {
      this.#options.observer.count('tunnel_askpass_limit_total');
      socket.destroy();
      return;
    }
    this.#asking.add(socket);
    const gone = new AbortController();
    const read: Buffer[] = [];
    let length = 0;
    socket.on('data', (chunk: Buffer) => {
      read.push(chunk);
      length += chunk.length;
      if (length <= MAX_QUESTION_BYTES || socket.destroyed) return;
      this.#options.observer.count('tunnel_askpass_limit_total');
      socket.destroy();
    });
    socket.on('error', () => {}); // its close follows
    socket.on('close', () => {
      this.#asking.delete(socket);
      gone.abort();
    });
    const signal = AbortSignal.any([gone.signal, this.#closing.signal]);
    socket.once('end', () => {
      this.#answer(socket, Buffer.concat(read).toString(), signal).catch((error: unknown) => {
        // ssh has ended by itself, or what it wanted to know is known.
        if (!signal.aborted) this.#options.failed(error);
      });
    });
  }

  async #answer(socket: Socket, text: string, signal: AbortSignal): Promise<void> {
    const [hint = '', ...rest] = text.split('\n');
    const lines = rest.map((line) => serverText(line)).filter((line) => line !== '');
    const question = lines.at(-1) ?? '';
    const preamble = lines.slice(0, -1).slice(-MAX_LINES);
    const { prompter, observer } = this.#options;
    if (hint === 'none') {
      for (const line of lines.slice(-MAX_LINES)) observer.log('notice', `ssh: ${line}`);
      return;
    }
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
}
