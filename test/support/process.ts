/**
 * Runs programs from tests: to the end (`run`), or beside the test (`Child`), and keeps everything
 * they print.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { LabError } from './laberror.ts';

/**
 * How much a program may print on one stream before it is killed; tests compare digests of larger
 * outputs.
 */
const MAX_OUTPUT_CHARACTERS = 64 * 1024 * 1024;
/** How much of the output is quoted when something about the program failed. */
const QUOTED_CHARACTERS = 2000;
const DEFAULT_RUN_TIMEOUT_MS = 30_000;
const DEFAULT_LINE_TIMEOUT_MS = 10_000;
const DEFAULT_STOP_TIMEOUT_MS = 10_000;
/**
 * A program's children may keep its output open; we wait at most this long for their output after
 * its end.
 */
const OUTPUT_GRACE_MS = 200;

/** PATH for everything the lab runs: administrators' programs are often not in a user's. */
export const SEARCH_PATH = `${process.env['PATH'] ?? '/usr/bin:/bin'}:/usr/local/sbin:/usr/sbin:/sbin`;

export interface ExitStatus {
  /** null when a signal ended it */
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface ExecResult extends ExitStatus {
  readonly stdout: string;
  readonly stderr: string;
}

export interface SpawnOptions {
  /** The whole environment; by default this process's, with SEARCH_PATH. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /**
   * Written to standard input, which is then closed. Without it standard input is /dev/null, or
   * open (`stdin: 'open'`).
   */
  readonly input?: string | Uint8Array;
  /**
   * 'open': a pipe that stays open until the test ends it or the process that owns the test dies.
   */
  readonly stdin?: 'open';
  /** A descriptor for standard error (a log file) instead of the collected text. */
  readonly stderrTo?: number;
}

export interface RunOptions extends SpawnOptions {
  /** Milliseconds; then the program is killed and the promise rejects. 30 s by default. */
  readonly timeout?: number;
}

/** A running program. */
export class Child {
  readonly pid: number;
  /** Resolves once the program has ended and its output has been read. */
  readonly exited: Promise<ExitStatus>;
  readonly #process: ChildProcess;
  readonly #argv: readonly string[];
  readonly #output = { stdout: '', stderr: '' };
  readonly #watchers = new Set<() => void>();
  #ended: ExitStatus | undefined;
  #flooded = false;

  /** Use `start`: a program that can't be started has no pid. */
  private constructor(child: ChildProcess, argv: readonly string[], pid: number) {
    this.#process = child;
    this.#argv = argv;
    this.pid = pid;
    for (const name of ['stdout', 'stderr'] as const) {
      child[name]?.setEncoding('utf8').on('data', (text: string) => {
        this.#output[name] += text;
        if (this.#output[name].length > MAX_OUTPUT_CHARACTERS) {
          this.#flooded = true;
          child.kill('SIGKILL');
        }
        this.#notify();
      });
    }
    this.exited = new Promise((resolve) => {
      const end = (status: number | null, signal: NodeJS.Signals | null) => {
        this.#ended = { status, signal };
        this.#notify();
        resolve(this.#ended);
      };
      child.once('close', end);
      // After the time, first read what has arrived meanwhile: this process may have been busy all
      // along.
      const read = (...ended: Parameters<typeof end>) =>
        setImmediate(() => setImmediate(end, ...ended));
      child.once('exit', (status, signal) =>
        setTimeout(read, OUTPUT_GRACE_MS, status, signal).unref(),
      );
    });
  }

  /** Throws `LabError` with code `program-missing` if the program doesn't exist. */
  static async start(argv: readonly string[], options: SpawnOptions = {}): Promise<Child> {
    const [file, ...args] = argv;
    if (file === undefined) throw new LabError('program-missing', 'no program given');
    const stdin = options.input !== undefined || options.stdin === 'open' ? 'pipe' : 'ignore';
    const child = spawn(file, args, {
      stdio: [stdin, 'pipe', options.stderrTo ?? 'pipe'],
      env: options.env ?? { ...process.env, PATH: SEARCH_PATH },
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    if (child.pid === undefined) {
      const cause = await new Promise((resolve) => child.once('error', resolve));
      throw new LabError('program-missing', `${file} can't be started`, { cause });
    }
    const started = new Child(child, argv, child.pid);
    // A program that ends without reading its input makes the write fail; the test looks at its
    // status.
    child.stdin?.on('error', () => undefined);
    if (options.input !== undefined) child.stdin?.end(options.input);
    return started;
  }

  get stdout(): string {
    return this.#output.stdout;
  }

  get stderr(): string {
    return this.#output.stderr;
  }

  /** Undefined while it runs. */
  get ended(): ExitStatus | undefined {
    return this.#ended;
  }

  /** Writes to standard input, opened by `stdin: 'open'`. */
  write(text: string): void {
    this.#process.stdin?.write(text);
  }

  endInput(): void {
    this.#process.stdin?.end();
  }

  /**
   * The first match of `pattern` in the output so far or to come, on either stream. A pattern that
   * must see a whole line ends with \n. Throws `LabError` with code `child-ended` or
   * `child-timeout`, quoting the output.
   */
  async waitForLine(
    pattern: RegExp,
    timeoutMs: number = DEFAULT_LINE_TIMEOUT_MS,
  ): Promise<RegExpMatchArray> {
    const look = () => this.stdout.match(pattern) ?? this.stderr.match(pattern);
    const seen = look();
    if (seen !== null) return seen;
    return new Promise((resolve, reject) => {
      const finish = (outcome: () => void) => {
        clearTimeout(timer);
        this.#watchers.delete(check);
        outcome();
      };
      const check = () => {
        const match = look();
        if (match !== null) finish(() => resolve(match));
        else if (this.#ended !== undefined)
          finish(() => reject(this.#failure('child-ended', `ended before it printed ${pattern}`)));
      };
      const timer = setTimeout(
        () =>
          finish(() =>
            reject(this.#failure('child-timeout', `didn't print ${pattern} in ${timeoutMs} ms`)),
          ),
        timeoutMs,
      );
      this.#watchers.add(check);
      check();
    });
  }

  /**
   * Waits for the end. Kills the program and throws `child-timeout` when it takes longer; throws
   * `child-output` when it was killed for printing too much.
   */
  async wait(timeoutMs: number): Promise<ExitStatus> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<undefined>((resolve) => {
      timer = setTimeout(resolve, timeoutMs, undefined);
    });
    const ended = await Promise.race([this.exited, late]);
    clearTimeout(timer);
    if (this.#flooded)
      throw this.#failure('child-output', `printed more than ${MAX_OUTPUT_CHARACTERS} characters`);
    if (ended !== undefined) return ended;
    const failure = this.#failure('child-timeout', `didn't end in ${timeoutMs} ms`);
    this.kill('SIGKILL');
    await this.exited;
    throw failure;
  }

  /** Sends a signal, without waiting. False when the program has ended already. */
  kill(signal: NodeJS.Signals): boolean {
    return this.#ended === undefined && this.#process.kill(signal);
  }

  /** Sends a signal and waits for the end, as `wait` does. */
  async stop(
    signal: NodeJS.Signals = 'SIGTERM',
    timeoutMs = DEFAULT_STOP_TIMEOUT_MS,
  ): Promise<ExitStatus> {
    this.kill(signal);
    return this.wait(timeoutMs);
  }

  #notify(): void {
    for (const watcher of [...this.#watchers]) watcher();
  }

  #failure(code: string, what: string): LabError {
    const ended =
      this.#ended === undefined
        ? 'still running'
        : `status ${this.#ended.status ?? this.#ended.signal}`;
    const quote = (text: string) => text.slice(-QUOTED_CHARACTERS);
    return new LabError(
      code,
      `"${this.#argv.join(' ')}" ${what} (${ended})\n--- stdout\n${quote(this.stdout)}\n--- stderr\n${quote(this.stderr)}`,
    );
  }
}

/**
 * Runs a program to its end. A status other than 0 is a result, not an error; a timeout is an
 * error.
 */
export async function run(argv: readonly string[], options: RunOptions = {}): Promise<ExecResult> {
  const child = await Child.start(argv, options);
  const ended = await child.wait(options.timeout ?? DEFAULT_RUN_TIMEOUT_MS);
  return { ...ended, stdout: child.stdout, stderr: child.stderr };
}

/** The same for commands that must succeed: any status except 0 throws `lab-command`. */
export async function mustRun(argv: readonly string[], options: RunOptions = {}): Promise<string> {
  const result = await run(argv, options);
  if (result.status !== 0) {
    throw new LabError(
      'lab-command',
      `"${argv.join(' ')}" failed with ${result.status ?? result.signal}: ${printed(result)}`,
    );
  }
  return result.stdout;
}

/** What it said: some programs report their findings on stdout, such as linters. */
function printed({ stdout, stderr }: ExecResult): string {
  return [stderr, stdout]
    .map((text) => text.trim())
    .filter((text) => text !== '')
    .map((text) => text.slice(-QUOTED_CHARACTERS))
    .join('\n');
}
