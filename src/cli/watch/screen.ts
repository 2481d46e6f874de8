/**
 * The whole screen of the terminal, while a view has it: raw keys, the alternative screen, no
 * cursor. It is given back at the end, whatever ends the program, and while the program is stopped
 * (Ctrl-Z).
 *
 * Nothing waits for a slow terminal: a frame is left out while the one before is still on its way.
 */
import { closeSync, openSync } from 'node:fs';
import { emitKeypressEvents, type Interface } from 'node:readline';
import { ReadStream } from 'node:tty';
import ansi from 'ansi-escapes';
import { TunnelError } from '../../errors/errors.ts';
import { LineWriter } from '../../observe/linewriter.ts';
import { standardErrorWriter } from '../../observe/standarderror.ts';
import { ownsTerminal, TERMINAL } from '../../system/terminal.ts';
import { encoder, movesCursor, PLAIN } from './encode.ts';
import type { Key } from './state.ts';
import type { Line } from './text.ts';
import type { Size } from './view.ts';

/** For the last octets, at the end. */
const FLUSH_MS = 500;
/**
 * After an Escape, the rest of a key that begins with one (the arrows) has come. Node waits for
 * half a second; a person has pressed the next key by then.
 */
const ESCAPE_MS = 100;
/** Of a terminal that does not say. */
const USUAL_SIZE: Size = { columns: 80, rows: 24 };

export interface ScreenEvents {
  key(key: Key): void;
  /** Everything must be drawn again. */
  resized(): void;
  /** The terminal has gone. */
  gone(): void;
}

/** Whether standard output is a terminal that a view can have. Throws TunnelError `no-terminal`. */
export function checkTerminal(env: NodeJS.ProcessEnv): void {
  const why = !process.stdout.isTTY
    ? 'standard output is no terminal'
    : !movesCursor(env)
      ? 'this terminal has no full screen (TERM)'
      : ownsTerminal()
        ? undefined
        : 'this runs in the background';
  if (why === undefined) return;
  throw new TunnelError('no-terminal', `--watch can't show anything: ${why}`, {
    hint: 'for programs: tunnel status --json',
  });
}

/** What node:readline says of a key. */
interface Keypress extends Partial<Pick<Key, 'name' | 'ctrl'>> {
  readonly sequence?: string;
}

export class Screen {
  readonly #events: ScreenEvents;
  readonly #writer = new LineWriter(standardErrorWriter(() => undefined, { fd: 1 }));
  readonly #fd: number;
  readonly #input: ReadStream;
  readonly #encode: (line: Line) => string;
  readonly #leave = () => this.#giveBack();
  readonly #again = () => this.#take();
  readonly #resized = () => {
    this.#drawn = [];
    this.#events.resized();
  };
  #drawn: string[] = [];
  #has = false;
  #closed = false;

  constructor(events: ScreenEvents, env: NodeJS.ProcessEnv) {
    this.#events = events;
    this.#encode = encoder(env);
    this.#fd = openSync(TERMINAL, 'r');
    this.#input = new ReadStream(this.#fd);
    // Of an Interface, only this is read; its type doesn't have it.
    const patience = { escapeCodeTimeout: ESCAPE_MS } as unknown as Interface;
    emitKeypressEvents(this.#input, patience);
    this.#input.on('keypress', (text: string | undefined, { name, ctrl, sequence }: Keypress) => {
      // Escape, and a key right after it.
      const [, after] = /^\x1b([^\x1b])$/s.exec(sequence ?? '') ?? [];
      if (after !== undefined) this.#pressed({ name: 'escape', text: '', ctrl: false });
      this.#pressed({ name, text: text ?? after ?? '', ctrl: ctrl === true });
    });
    this.#input.once('end', () => events.gone());
    this.#input.on('error', () => events.gone());
  }

  /** Takes the screen. close() gives it back. */
  open(): void {
    process.once('exit', this.#leave);
    process.on('SIGCONT', this.#again);
    process.stdout.on('resize', this.#resized);
    this.#take();
  }

  get size(): Size {
    const { columns, rows } = process.stdout;
    return columns > 0 && rows > 0 ? { columns, rows } : USUAL_SIZE;
  }

  /** Writes what differs from the frame before. */
  draw(lines: readonly Line[]): void {
    if (!this.#has || this.#writer.waiting > 0) return;
    const frame = lines.map(this.#encode);
    const changes = frame.map((text, y) =>
      text === this.#drawn[y] ? '' : `${ansi.cursorTo(0, y)}${text}`,
    );
    const clear = this.#drawn.length === 0 ? ansi.eraseScreen : '';
    this.#drawn = frame;
    const text = clear + changes.join('');
    if (text !== '') this.#writer.write(ansi.synchronizedOutput(text));
  }

  /** May be called more than once. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    process.removeListener('exit', this.#leave);
    process.removeListener('SIGCONT', this.#again);
    process.stdout.removeListener('resize', this.#resized);
    this.#giveBack();
    this.#input.destroy();
    try {
      // libuv has opened the terminal again, and has closed only its own descriptor.
      closeSync(this.#fd);
    } catch {
      // EBADF: libuv could not open it again, used ours, and has just closed it.
    }
  }

  #pressed(key: Key): void {
    // Raw mode makes characters of what stops programs: the signals are sent as usual.
    if (key.ctrl && key.name === 'c') process.kill(process.pid, 'SIGINT');
    else if (key.ctrl && key.name === 'z') {
      this.#giveBack();
      // As the terminal does it: to all programs of the line.
      process.kill(0, 'SIGTSTP');
    } else this.#events.key(key);
  }

  #take(): void {
    if (this.#has || this.#closed || !ownsTerminal()) return;
    this.#has = true;
    this.#input.setRawMode(true);
    this.#writer.write(ansi.enterAlternativeScreen + ansi.cursorHide);
    this.#resized();
  }

  #giveBack(): void {
    if (!this.#has) return;
    this.#has = false;
    this.#input.setRawMode(false);
    this.#writer.writeSurely(PLAIN + ansi.cursorShow + ansi.exitAlternativeScreen);
    this.#writer.flush(FLUSH_MS);
  }
}
