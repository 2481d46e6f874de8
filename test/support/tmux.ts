/**
 * A terminal with a shell, driven through tmux: tests type keys as a person would, and read the
 * screen.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { LabError } from './laberror.ts';
import { type ExecResult, run, SEARCH_PATH } from './process.ts';

const POLL_MS = 30;
const TIMEOUT_MS = 10_000;

export class Tmux {
  readonly #socket: string;
  readonly #wrap: (argv: readonly string[]) => readonly string[];

  private constructor(socket: string, wrap: (argv: readonly string[]) => readonly string[]) {
    this.#socket = socket;
    this.#wrap = wrap;
  }

  /**
   * Starts one whose shell is bash with job control, 80 columns and 24 lines. `wrap` makes a
   * command line that runs a program in the shell's place; the directory must belong to its user.
   */
  static async start(
    directory: string,
    wrap: (argv: readonly string[]) => readonly string[],
    env: Readonly<Record<string, string>>,
  ): Promise<Tmux> {
    const tmux = new Tmux(join(directory, 'tmux'), wrap);
    const size = ['-x', '80', '-y', '24'];
    const shell = ['env', 'PS1=$ ', 'bash', '--norc', '--noprofile', '-i'];
    await tmux.#must(['-f', '/dev/null', 'new-session', '-d', ...size, ...shell], env);
    await tmux.waitFor(/^\$ $/m);
    return tmux;
  }

  /** Types text, then keys by their names in tmux(1): `Enter`, `C-c`. */
  async type(text: string, ...keys: readonly string[]): Promise<void> {
    if (text !== '') await this.#must(['send-keys', '-l', text]);
    if (keys.length > 0) await this.#must(['send-keys', ...keys]);
  }

  async clear(): Promise<void> {
    await this.type('clear', 'Enter');
    await this.waitFor(/^\$ \n*$/);
  }

  async resize(columns: number, lines: number): Promise<void> {
    await this.#must(['resize-window', '-x', String(columns), '-y', String(lines)]);
  }

  /**
   * The screen, including lines that have scrolled away, without trailing blanks except one after a
   * prompt.
   */
  async screen(): Promise<string> {
    const { stdout } = await this.#must(['capture-pane', '-p', '-J', '-S', '-']);
    return stdout.replace(/\n+$/, '\n');
  }

  /** Waits until the screen matches. Throws LabError `terminal-timeout`, quoting the screen. */
  async waitFor(pattern: RegExp, timeoutMs = TIMEOUT_MS): Promise<RegExpMatchArray> {
    for (const deadline = performance.now() + timeoutMs; ; await delay(POLL_MS)) {
      const screen = await this.screen();
      const match = screen.match(pattern);
      if (match !== null) return match;
      if (performance.now() > deadline)
        throw new LabError('terminal-timeout', `nothing like ${pattern} on the screen:\n${screen}`);
    }
  }

  async close(): Promise<void> {
    await this.#run(['kill-server']);
    rmSync(this.#socket, { force: true });
  }

  async #must(
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): Promise<ExecResult> {
    const result = await this.#run(args, env);
    if (result.status !== 0)
      throw new LabError('terminal-failed', `tmux ${args[0]}: ${result.stderr}`);
    return result;
  }

  #run(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<ExecResult> {
    return run(this.#wrap(['tmux', '-S', this.#socket, ...args]), {
      env: { PATH: SEARCH_PATH, LANG: 'C.UTF-8', TERM: 'xterm', SHELL: '/bin/sh', ...env },
    });
  }
}
