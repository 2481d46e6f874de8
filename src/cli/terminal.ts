/**
 * Asks one question at the controlling terminal, whatever stdin and stderr are connected to.
 *
 * The terminal is opened only for the question. Meanwhile it is in raw mode: the terminal echoes
 * nothing, and keys that would stop the program arrive here as characters. So the terminal is
 * always restored first. It is also restored when the question is aborted, when the program exits
 * in the middle, and when the terminal goes away.
 *
 * A program in the background can't ask: the kernel would stop it at its first write (SIGTTOU), and
 * every captured connection with it, until somebody notices. For the same reason nothing waits for
 * a terminal that takes nothing, as when its emulator hangs: a lost link may be made again, and
 * ask, while other connections go on. What doesn't fit is written when there is room.
 */
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { ReadStream } from 'node:tty';
import { TunnelError } from '../errors/errors.ts';
import { systemCodeOf } from '../errors/reason.ts';
import { LineWriter } from '../observe/linewriter.ts';
import { ownsTerminal, TERMINAL } from '../system/terminal.ts';

const { O_WRONLY, O_NONBLOCK, O_NOCTTY } = constants;

/** No server takes more; OpenSSH reads at most this much, too. */
export const MAX_ANSWER_LENGTH = 1024;
/** After Ctrl-C at a question that no signal aborts. */
const INTERRUPT_GRACE_MS = 1000;

const KEY = {
  interrupt: '\x03',
  endOfInput: '\x04',
  backspace: '\b',
  enter: '\r',
  lineFeed: '\n',
  eraseLine: '\x15',
  quit: '\x1c',
  delete: '\x7f',
} as const;

export interface TerminalQuestion {
  /** Printable. */
  readonly question: string;
  /** Printable lines, shown above it. */
  readonly preamble: readonly string[];
  /** Whether the answer is shown while it is typed. */
  readonly echo: boolean;
  readonly signal: AbortSignal | undefined;
}

/** Rejects with TunnelError `no-terminal` or `auth-cancelled`, or with the signal's reason. */
export async function askAtTerminal(asked: TerminalQuestion): Promise<string> {
  asked.signal?.throwIfAborted();
  if (!ownsTerminal()) throw noTerminal(asked.question);
  const terminal = new Terminal(asked);
  try {
    return await terminal.readLine(asked.signal);
  } finally {
    terminal.restore();
  }
}

class Terminal {
  readonly #fd: number;
  readonly #output: number;
  readonly #writer: LineWriter;
  readonly #input: ReadStream;
  readonly #restore = () => this.restore();
  readonly #echo: boolean;
  #restored = false;

  constructor({ question, preamble, echo }: TerminalQuestion) {
    this.#echo = echo;
    let fd: number | undefined;
    try {
      fd = openSync(TERMINAL, 'r');
      // A file description of our own: other programs that share the terminal may wait for it.
      this.#output = openSync(TERMINAL, O_WRONLY | O_NONBLOCK | O_NOCTTY);
    } catch (cause) {
      if (fd !== undefined) closeSync(fd);
      throw noTerminal(question, cause);
    }
    const output = this.#output;
    this.#writer = new LineWriter((bytes) => writeNow(output, bytes));
    this.#fd = fd;
    this.#input = new ReadStream(fd);
    process.once('exit', this.#restore);
    this.#input.setRawMode(true);
    this.#writer.write(`${preamble.map((line) => `${line}\n`).join('')}${question} `);
  }

  readLine(signal: AbortSignal | undefined): Promise<string> {
    return new Promise((resolve, reject) => {
      const line = new TypedLine();
      let grace: NodeJS.Timeout | undefined;
      const finish = (settle: () => void) => {
        clearTimeout(grace);
        signal?.removeEventListener('abort', onAbort);
        this.restore();
        settle();
      };
      const onAbort = () => finish(() => reject(signal?.reason));
      const raise = (name: 'SIGINT' | 'SIGQUIT') => {
        this.restore();
        process.kill(process.pid, name);
        // The program's own handler should abort `signal`; this is for a question without one.
        grace ??= setTimeout(
          () => finish(() => reject(cancelled('interrupted at a question'))),
          INTERRUPT_GRACE_MS,
        );
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#input.setEncoding('utf8');
      this.#input.on('data', (text: string) => {
        for (const character of text) {
          if (character === KEY.enter || character === KEY.lineFeed)
            return finish(() => resolve(line.text));
          if (character === KEY.interrupt) return raise('SIGINT');
          if (character === KEY.quit) return raise('SIGQUIT');
          if (character === KEY.endOfInput && line.text === '')
            return finish(() => reject(notAnswered()));
          const seen = line.key(character);
          if (this.#echo) this.#writer.write(seen);
        }
      });
      this.#input.once('end', () => finish(() => reject(notAnswered())));
      this.#input.on('error', (cause) => finish(() => reject(notAnswered(cause))));
    });
  }

  /** May be called more than once. */
  restore(): void {
    if (this.#restored) return;
    this.#restored = true;
    process.removeListener('exit', this.#restore);
    this.#input.setRawMode(false);
    this.#writer.write('\n');
    this.#writer.flush(0);
    this.#input.destroy();
    closeSync(this.#output);
    try {
      // libuv has opened the terminal again, and has closed only its own descriptor.
      closeSync(this.#fd);
    } catch {
      // EBADF: libuv could not open it again, used ours, and has just closed it.
    }
  }
}

/** As a LineWriter needs it. If the terminal has gone, the input reports that. */
function writeNow(fd: number, bytes: Uint8Array): number {
  try {
    return writeSync(fd, bytes);
  } catch (error) {
    if (systemCodeOf(error) === 'EAGAIN') return 0;
    throw error;
  }
}

/** Removes the last character from the screen. */
const RUB_OUT = '\b \b';

/** A line being typed: editing as the terminal's own line mode does it. */
class TypedLine {
  #characters: string[] = [];

  get text(): string {
    return this.#characters.join('');
  }

  /** Returns the output that shows the change, for a line that is echoed. */
  key(character: string): string {
    if (character === KEY.delete || character === KEY.backspace)
      return this.#characters.pop() === undefined ? '' : RUB_OUT;
    if (character === KEY.eraseLine) {
      const erased = this.#characters.length;
      this.#characters = [];
      return RUB_OUT.repeat(erased);
    }
    if (character < ' ' && character !== '\t') return '';
    if (this.#characters.length >= MAX_ANSWER_LENGTH) return '';
    this.#characters.push(character);
    return character;
  }
}

function noTerminal(question: string, cause?: unknown): TunnelError {
  return new TunnelError('no-terminal', `there is no terminal to ask at: ${question}`, {
    hint: 'start it from a terminal and leave it in the foreground, set SSH_ASKPASS, or use a key that needs no passphrase, for example from ssh-agent (ssh-add)',
    cause,
  });
}

function notAnswered(cause?: unknown): TunnelError {
  return cancelled('a question was not answered', cause);
}

function cancelled(message: string, cause?: unknown): TunnelError {
  return new TunnelError('auth-cancelled', message, {
    hint: 'start again and answer it; with keys in ssh-agent (ssh-add) and --host-key nothing is asked',
    cause,
  });
}
