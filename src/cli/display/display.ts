/**
 * The report below the messages of a run at a terminal. It is drawn again each second, and after
 * each message; between two drawings the cursor stands on the line below it.
 *
 *   hidden ── a second, a message, a resize ──► shown ── a message, a question, a stop ──► hidden
 *
 * It is hidden while somebody is asked at the terminal (by this program, or by ssh, sudo and the
 * like, which is known from what is waited for), and while this is no foreground job: then another
 * program has the terminal, and what was drawn is left where it is.
 *
 * Nothing waits for a slow terminal. A drawing is made only when all that was written before has
 * been taken, so that at most one is on its way, and the next one shows what is by then. Nothing is
 * drawn more often than every LEAST_MS.
 *
 * The terminal's modes are never changed, and the cursor is never hidden: a program that is killed
 * leaves nothing behind except the last report.
 */
import ansi from 'ansi-escapes';
import stringWidth from 'string-width';
import type { Glance } from '../../control/status.ts';
import type { Waits } from '../../observe/waits.ts';
import type { ConfirmOptions, Prompter, QuestionOptions } from '../../ssh/prompter.ts';
import { duration, formatBytes } from '../status.ts';
import type { Line } from '../watch/text.ts';
import { layout, MAX_REFUSALS, type Size } from './layout.ts';
import { Sight } from './sight.ts';

/** Between two columns of the plots. */
const EVERY_MS = 1_000;
/** Between two drawings. */
const LEAST_MS = 100;
/** Of a terminal that does not say. */
const USUAL_SIZE: Size = { columns: 80, rows: 24 };

/** A LineWriter. */
export interface TerminalWriter {
  readonly broken: boolean;
  /** Octets that the terminal has not taken. */
  readonly waiting: number;
  write(text: string): void;
}

export interface DisplayParts {
  readonly writer: TerminalWriter;
  readonly encode: (line: Line) => string;
  /** The terminal as it is now: Addon.terminalView(). */
  readonly view: () => readonly [columns: number, rows: number, mayDraw: boolean] | undefined;
  readonly waits: Pick<Waits, 'texts' | 'mayAsk' | 'onChange'>;
  /** Stops the process as Ctrl-Z does, and returns when it is continued. */
  readonly stopSelf: () => void;
  /** Whether the terminal breaks lines anew when it becomes narrower, as all do except xterm. */
  readonly reflows: boolean;
}

export class Display {
  readonly #parts: DisplayParts;
  readonly #sight = new Sight();
  #glance: ((refusals: number) => Glance) | undefined;
  /** The lines on the screen, from the top, as they were written. */
  #drawn: readonly string[] = [];
  /** The columns that the terminal had then. */
  #columns = 0;
  #lastDraw = 0;
  /** Our own stop is over, and the CONT that has ended it is still to be handled. */
  #continues = false;
  /** Questions that are being asked. */
  #asked = 0;
  #soon: NodeJS.Timeout | undefined;
  #clock: NodeJS.Timeout | undefined;
  readonly #resized = () => this.#drawSoon();
  readonly #stopped = () => {
    this.hide();
    this.#parts.stopSelf();
    this.#continues = true;
    this.#drawSoon();
  };
  readonly #continued = () => {
    // After our own stop: what is on the screen has been drawn since.
    if (this.#continues) {
      this.#continues = false;
      return;
    }
    // A shell, or another job, has written below it.
    this.#drawn = [];
    this.#drawSoon();
  };

  constructor(parts: DisplayParts) {
    this.#parts = parts;
  }

  /** Begins to show a run. Returns what ends it, and says in one line what the run has carried. */
  begin(glance: (refusals: number) => Glance): () => string | undefined {
    this.#glance = glance;
    this.#sight.tick(glance(MAX_REFUSALS));
    this.#clock = setInterval(() => {
      this.#sight.tick(glance(MAX_REFUSALS));
      this.#draw();
    }, EVERY_MS).unref();
    this.#parts.waits.onChange(() => {
      if (this.#parts.waits.mayAsk) this.hide();
      this.#drawSoon();
    });
    process.on('SIGWINCH', this.#resized);
    process.on('SIGTSTP', this.#stopped);
    process.on('SIGCONT', this.#continued);
    this.#drawSoon();
    return () => this.#end();
  }

  /** Before anything else is written to the terminal. It comes back by itself. */
  hide(): void {
    if (this.#drawn.length === 0) return;
    const [columns, , mayDraw] = this.#parts.view() ?? [0, 0, false];
    if (mayDraw) this.#parts.writer.write(this.#erasing(columns));
    this.#drawn = [];
    this.#drawSoon();
  }

  /** A prompter that finds the terminal free of the report. */
  around(prompter: Prompter): Prompter {
    return {
      canAsk: () => prompter.canAsk(),
      secret: (question: string, options?: QuestionOptions) =>
        this.#during(() => prompter.secret(question, options)),
      line: (question: string, options?: QuestionOptions) =>
        this.#during(() => prompter.line(question, options)),
      confirm: (question: string, options?: ConfirmOptions) =>
        this.#during(() => prompter.confirm(question, options)),
    };
  }

  async #during<T>(ask: () => Promise<T>): Promise<T> {
    this.#asked++;
    this.hide();
    try {
      return await ask();
    } finally {
      this.#asked--;
      this.#drawSoon();
    }
  }

  #end(): string | undefined {
    const glance = this.#glance?.(0);
    this.hide();
    this.#glance = undefined;
    clearInterval(this.#clock);
    clearTimeout(this.#soon);
    this.#parts.waits.onChange(() => {});
    process.removeListener('SIGWINCH', this.#resized);
    process.removeListener('SIGTSTP', this.#stopped);
    process.removeListener('SIGCONT', this.#continued);
    return glance?.ready === true ? summary(glance) : undefined;
  }

  #drawSoon(): void {
    if (this.#soon !== undefined || this.#glance === undefined) return;
    const wait = Math.max(0, this.#lastDraw + LEAST_MS - performance.now());
    this.#soon = setTimeout(() => {
      this.#soon = undefined;
      this.#draw();
    }, wait).unref();
  }

  #draw(): void {
    const { writer, view, waits, encode } = this.#parts;
    const glance = this.#glance;
    if (glance === undefined || this.#asked > 0 || writer.waiting > 0 || writer.broken) return;
    const [columns, rows, mayDraw] = view() ?? [0, 0, false];
    if (!mayDraw || waits.mayAsk) {
      if (!mayDraw) this.#drawn = [];
      return;
    }
    const size = columns > 0 && rows > 0 ? { columns, rows } : USUAL_SIZE;
    const shown = this.#sight.shown(glance(MAX_REFUSALS), waits.texts);
    const lines = layout(shown, size).map(encode);
    const text = this.#changing(lines, size.columns);
    this.#lastDraw = performance.now();
    this.#drawn = lines;
    this.#columns = size.columns;
    if (text !== '') writer.write(ansi.synchronizedOutput(text));
  }

  /** What makes these lines of those on the screen. Only lines that differ are written. */
  #changing(lines: readonly string[], columns: number): string {
    const before = this.#drawn;
    const same = before.length === lines.length && this.#columns === columns;
    if (!same) return `${this.#erasing(columns)}${lines.map((line) => `${line}\r\n`).join('')}`;
    if (lines.length === 0 || lines.every((line, i) => line === before[i])) return '';
    const written = lines.map((line, i) =>
      line === before[i] ? '\n' : `${line}${ansi.eraseEndLine}\r\n`,
    );
    // What somebody has typed stands below.
    return `\r${ansi.cursorUp(lines.length)}${written.join('')}${ansi.eraseLine}`;
  }

  #erasing(columns: number): string {
    if (this.#drawn.length === 0) return '';
    const rows = this.#drawn.map((line) => this.#rowsOf(line, columns)).reduce((a, b) => a + b, 0);
    // Line by line: tmux takes what is erased at once for a page that belongs to the history.
    return ansi.eraseLines(rows + 1);
  }

  /** A terminal that has become narrower has broken longer lines. */
  #rowsOf(line: string, columns: number): number {
    if (!this.#parts.reflows || columns <= 0 || columns >= this.#columns) return 1;
    return Math.max(1, Math.ceil(stringWidth(line) / columns));
  }
}

/** The last line of a run. */
function summary({ startedAt, at, flows }: Glance): string {
  const { opened, refused, sentBytes, receivedBytes } = flows;
  const bytes = `${formatBytes(receivedBytes)} received, ${formatBytes(sentBytes)} sent`;
  return `ended after ${duration(at - startedAt)}: ${opened} connections, ${refused} refused; ${bytes}`;
}
