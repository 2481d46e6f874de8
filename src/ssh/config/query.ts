/**
 * Asks the system's ssh for the configuration of one host: `ssh -G`. Like every ssh, it reads files
 * and runs the commands of `Match exec`. It opens no connection, and resolves names only with
 * CanonicalizeHostname.
 *
 * It prints one `keyword value` per line: keywords in lower case, algorithm lists without `+ - ^`,
 * times in seconds. The paths of known_hosts files and of the agent's socket are expanded. Identity
 * files and commands are printed as written.
 */
import { spawn } from 'node:child_process';
import { TunnelError, UsageError } from '../../errors/errors.ts';
import { withStreams } from '../../errors/spawned.ts';
import { shellWord } from '../../net/notation.ts';
import { printable } from '../../observe/printable.ts';
import { presentName } from './keywords.ts';
import type { KeywordValues } from './syntax.ts';

/**
 * Enough for a `Match exec` that asks a name server or a token. If it takes longer, it is probably
 * waiting for a user who isn't there.
 */
const QUERY_TIMEOUT_MS = 15_000;
/** ssh prints about 5,000. If it prints more than this, it is killed, which counts as a refusal. */
const MAX_OUTPUT_CHARACTERS = 1024 * 1024;

export interface Query {
  /** The ssh program. */
  readonly program: string;
  /** Options of ssh. `--` and the host come after them. */
  readonly args: readonly string[];
  readonly host: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Replaces file names in ssh's error messages by those that the user knows. */
  readonly originalNames?: (message: string) => string;
  readonly signal?: AbortSignal | undefined;
  /** Default: QUERY_TIMEOUT_MS. */
  readonly timeoutMs?: number;
}

/**
 * Returns undefined if no ssh can answer: the program is missing, is older than -G (6.8), or
 * doesn't find the current user in the passwd file. Throws UsageError if ssh rejects the
 * configuration, and TunnelError `ssh-config-timeout`, `jumphost-dns`.
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
  if (/^(?:ssh: )?Could not resolve host/m.test(stderr)) throw unresolved(host);
  throw configurationError(host, query.originalNames?.(stderr) ?? stderr);
}

/**
 * The files that ssh reads at the Include lines of a configuration, by `FILE:LINE`, also where a
 * section doesn't apply. ssh expands the tokens of an Include only from some version on, so it is
 * asked. Empty: no ssh can answer, or it rejects the configuration.
 */
export async function queryIncludes(query: Query): Promise<ReadonlyMap<string, readonly string[]>> {
  const args = ['-v', '-v', '-v', ...query.args];
  const { stderr } = await runSsh({ ...query, args }, query.timeoutMs ?? QUERY_TIMEOUT_MS);
  query.signal?.throwIfAborted();
  const found = new Map<string, string[]>();
  for (const [, file = '', line = '', included = ''] of stderr.matchAll(INCLUDED)) {
    const place = `${query.originalNames?.(file) ?? file}:${line}`;
    const files = found.get(place) ?? [];
    // ssh may read the configuration twice.
    if (!files.includes(included)) found.set(place, [...files, included]);
  }
  return found;
}

const INCLUDED =
  /^debug3: (.+) line ([0-9]+): Including file (.+) depth [0-9]+(?: \(parse only\))?\r?$/gm;

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
    // -T: ssh would complain about a missing terminal otherwise. It gets its own session, so the
    // commands of `Match exec` can be killed with it, and no stdin, which belongs to this program.
    const options = { env: { ...environment, LC_ALL: 'C' }, detached: true } as const;
    const child = withStreams(
      spawn(program, ['-G', '-T', ...args, '--', host], {
        ...options,
        stdio: ['ignore', 'pipe', 'pipe'],
      }),
    );
    const end = (): void => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      } catch {
        // ESRCH: it has already ended.
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
    // ENOENT, EACCES: whatever the reason, there is no ssh to ask.
    child.once('error', () => {
      failure = 'missing';
      settle(null);
    });
    child.once('close', settle);
  });
}

/** Only with CanonicalizeFallbackLocal no; otherwise ssh leaves it to the connection. */
function unresolved(host: string): TunnelError {
  return new TunnelError(
    'jumphost-dns',
    `no domain of CanonicalDomains has the jump host ${host}, and CanonicalizeFallbackLocal is off`,
    { hint: 'check the spelling of the name, those two settings of ssh_config, and the resolver' },
  );
}

function configurationError(host: string, stderr: string): UsageError {
  const loop = /^jumphost loop via (.*)$/m.exec(stderr);
  if (loop !== null) return jumpLoop(printable(loop[1] ?? host));
  const lines = stderr.split(/[\r\n]+/).filter((line) => line.trim() !== '');
  // The last line only counts the errors before it.
  const errors = lines.filter(
    (line) => !/: terminating, \d+ bad configuration options$/.test(line),
  );
  const text = printable((errors.length > 0 ? errors : lines).join('; '));
  return new UsageError(
    `ssh refuses its configuration for ${host}: ${text === '' ? 'no reason given' : text}`,
    {
      hint: `"ssh -G ${shellWord(host)}" shows the same error; -F none ignores the files`,
    },
  );
}

/** The error for a host that would be reached through itself. */
export function jumpLoop(host: string): UsageError {
  return new UsageError(`ProxyJump: ${host} would be reached through itself`, {
    hint: `put "ProxyJump none" into the section of ${host}, before the section that sets ProxyJump for all hosts`,
  });
}

function parseOutput(stdout: string): KeywordValues {
  const values = new Map<string, string[]>();
  for (const line of stdout.split('\n')) {
    const space = line.indexOf(' ');
    if (space <= 0) continue;
    const keyword = presentName(line.slice(0, space).toLowerCase());
    const value = line.slice(space + 1);
    const all = /^((user|global)knownhostsfile|revokedhostkeys)$/.test(keyword)
      ? splitPaths(value)
      : [value];
    values.set(keyword, [...(values.get(keyword) ?? []), ...all]);
  }
  return values;
}

/**
 * ssh prints paths without quotes. They are expanded, so a word that can't begin a path belongs to
 * the path before it.
 */
function splitPaths(value: string): string[] {
  const paths: string[] = [];
  for (const word of value.split(' ')) {
    if (paths.length === 0 || /^[/~]/.test(word)) paths.push(word);
    else paths.push(`${paths.pop()} ${word}`);
  }
  return paths;
}
