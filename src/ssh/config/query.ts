/**
 * Asks the system's ssh what its configuration comes to for one host: `ssh -G`. It reads files and
 * may run what `Match exec` says, as every ssh does; it opens no connection (names are looked up
 * only with CanonicalizeHostname).
 *
 * It prints one `keyword value` a line, keywords in lower case, algorithm lists without `+ - ^`,
 * times in seconds, names of known_hosts files and the agent's socket expanded; identity files and
 * commands are printed as they are written.
 */
import { spawn } from 'node:child_process';
import { TunnelError, UsageError } from '../../errors/errors.ts';
import { shellWord } from '../../net/notation.ts';
import { printable } from '../../observe/printable.ts';
import type { KeywordValues } from './syntax.ts';

/**
 * `Match exec` may ask a name server or a token; longer, and it waits for somebody who isn't there.
 */
const QUERY_TIMEOUT_MS = 15_000;
/** It prints about 5,000; more is an answer that can't be used, and counts as a refusal. */
const MAX_OUTPUT_CHARACTERS = 1024 * 1024;

export interface Query {
  /** The ssh program. */
  readonly program: string;
  /** Options of ssh; the host follows them behind `--`. */
  readonly args: readonly string[];
  readonly host: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Names the files in what ssh complains about as the user knows them. */
  readonly originalNames?: (message: string) => string;
  readonly signal?: AbortSignal | undefined;
  /** Default: QUERY_TIMEOUT_MS. */
  readonly timeoutMs?: number;
}

/**
 * undefined: there is no ssh that could answer. The program is missing, older than -G (6.8), or
 * doesn't find the calling user in the passwd file. Throws UsageError when ssh finds fault with the
 * configuration, TunnelError `ssh-config-timeout`.
 */
export async function queryConfig(query: Query): Promise<KeywordValues | undefined> {
  const { host, signal, timeoutMs = QUERY_TIMEOUT_MS } = query;
  signal?.throwIfAborted();
  const { status, stdout, stderr, failure } = await runSsh(query, timeoutMs);
  signal?.throwIfAborted();
  if (failure === 'missing') return undefined;
  if (failure === 'timeout') {
    throw new TunnelError(
      'ssh-config-timeout',
      `"ssh -G ${host}" has not answered within ${timeoutMs / 1000} s`,
      { hint: 'check what a "Match exec" in ~/.ssh/config runs, or name another file with -F' },
    );
  }
  if (status === 0) return parseOutput(stdout);
  if (/(unknown|illegal|invalid) option -- '?G|^No user exists for uid/m.test(stderr))
    return undefined;
  throw complaint(host, query.originalNames?.(stderr) ?? stderr);
}

interface Outcome {
  /** null: a signal ended it. */
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly failure: 'missing' | 'timeout' | undefined;
}

function runSsh(query: Query, timeoutMs: number): Promise<Outcome> {
  const { program, args, host, environment, signal } = query;
  return new Promise((resolve) => {
    const output = { stdout: '', stderr: '' };
    let failure: Outcome['failure'];
    // -T: it isn't about a terminal, and says so otherwise. A session of its own, so that what
    // `Match exec` runs can be ended with it; and no stdin, which is meant for this program.
    const child = spawn(program, ['-G', '-T', ...args, '--', host], {
      env: { ...environment, LC_ALL: 'C' },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    const end = (): void => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      } catch {
        // ESRCH: it has ended meanwhile.
      }
    };
    const timer = setTimeout(() => {
      failure = 'timeout';
      end();
    }, timeoutMs);
    signal?.addEventListener('abort', end, { once: true });
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].setEncoding('utf8').on('data', (text: string) => {
        output[name] += text;
        if (output[name].length > MAX_OUTPUT_CHARACTERS) end();
      });
    }
    const settle = (status: number | null): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', end);
      resolve({ status, ...output, failure });
    };
    // ENOENT, EACCES: whatever keeps it from being started, there is no ssh to ask.
    child.once('error', () => {
      failure = 'missing';
      settle(null);
    });
    child.once('close', settle);
  });
}

function complaint(host: string, stderr: string): UsageError {
  const loop = /^jumphost loop via (.*)$/m.exec(stderr);
  if (loop !== null) return jumpLoop(printable(loop[1] ?? host));
  const lines = stderr.split(/[\r\n]+/).filter((line) => line.trim() !== '');
  // The last line only counts what the ones before it say.
  const said = lines.filter((line) => !/: terminating, \d+ bad configuration options$/.test(line));
  const text = printable((said.length > 0 ? said : lines).join('; '));
  return new UsageError(
    `ssh refuses its configuration for ${host}: ${text === '' ? 'no reason given' : text}`,
    {
      hint: `"ssh -G ${shellWord(host)}" shows the same; -F none leaves the files out`,
    },
  );
}

/** A host is passed on the way to itself. */
export function jumpLoop(host: string): UsageError {
  return new UsageError(`ProxyJump: ${host} would be passed on the way to itself`, {
    hint: `put "ProxyJump none" into the section of ${host}, before the one that names it for all hosts`,
  });
}

function parseOutput(stdout: string): KeywordValues {
  const values = new Map<string, string[]>();
  for (const line of stdout.split('\n')) {
    const space = line.indexOf(' ');
    if (space <= 0) continue;
    const keyword = line.slice(0, space).toLowerCase();
    const value = line.slice(space + 1);
    const all = /^(user|global)knownhostsfile$/.test(keyword) ? splitPaths(value) : [value];
    values.set(keyword, [...(values.get(keyword) ?? []), ...all]);
  }
  return values;
}

/**
 * Paths are printed without quotes. They have been expanded, so a word that begins no path belongs
 * to the one before it.
 */
function splitPaths(value: string): string[] {
  const paths: string[] = [];
  for (const word of value.split(' ')) {
    if (paths.length === 0 || /^[/~]/.test(word)) paths.push(word);
    else paths.push(`${paths.pop()} ${word}`);
  }
  return paths;
}
