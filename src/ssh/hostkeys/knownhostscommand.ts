/**
 * KnownHostsCommand of ssh_config(5): a program that prints lines of known_hosts, besides those of
 * the files. It is run as ssh runs it (load_hostkeys_command in sshconnect.c): without a shell,
 * with this program's environment and nothing to read.
 *
 * It is run twice for a connection: before the key exchange (%I is ORDER, and %t %f %K are NONE),
 * to know which types of keys to ask for, and with the key that the host shows (HOSTNAME). If it
 * can't be started, exits with another status than 0, takes longer than COMMAND_TIMEOUT_MS or
 * prints more than MAX_COMMAND_OUTPUT_BYTES, no host key is accepted: it may have meant to revoke
 * this one.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { isAbsolute } from 'node:path';
import { withStreams } from '../../errors/spawned.ts';
import { type Observer, silentObserver } from '../../observe/observer.ts';
import { printable } from '../../observe/printable.ts';
import { fingerprint, type PublicKey } from '../keys/publickey.ts';
import type { KnownHostsCommand } from '../settings.ts';
import { uncheckedKey } from './errors.ts';

/** ssh waits for ever. If it takes longer, it is probably waiting for a user who isn't there. */
export const COMMAND_TIMEOUT_MS = 15_000;
export const MAX_COMMAND_OUTPUT_BYTES = 1024 * 1024;
/** For messages. Bytes. */
const MAX_COMPLAINT_BYTES = 4096;

export interface CommandSubject {
  /** The host's name in known_hosts, `[host]:2222`. */
  readonly name: string;
  /** undefined: the host has not shown its key yet. */
  readonly key: PublicKey | undefined;
}

export interface CommandOptions {
  readonly observer?: Observer;
  readonly signal?: AbortSignal | undefined;
  /** Default: COMMAND_TIMEOUT_MS. */
  readonly timeoutMs?: number;
}

/** What it prints. Throws TunnelError `host-key-unchecked`, or the signal's reason. */
export async function runKnownHostsCommand(
  command: KnownHostsCommand,
  subject: CommandSubject,
  { observer = silentObserver, signal, timeoutMs = COMMAND_TIMEOUT_MS }: CommandOptions = {},
): Promise<string> {
  signal?.throwIfAborted();
  const [program, ...args] = expand(command, subject);
  if (!isAbsolute(program)) throw failed(subject, `${printable(program)} is not an absolute path`);
  const { status, stdout, complaint, failure } = await run(program, args, signal, timeoutMs);
  signal?.throwIfAborted();
  if (complaint !== '') observer.log('info', `KnownHostsCommand says: ${printable(complaint)}`);
  if (failure !== undefined) throw failed(subject, failure);
  if (status !== 0) {
    const how = status === null ? 'a signal ended it' : `it ended with status ${status}`;
    const last = complaint.trim().split('\n').at(-1) ?? '';
    throw failed(subject, last === '' ? how : `${how}: ${printable(last)}`);
  }
  return stdout;
}

function failed({ name }: CommandSubject, why: string): Error {
  return uncheckedKey(
    name,
    `KnownHostsCommand failed: ${why}`,
    'run the command alone, as ssh_config names it; it must exit with status 0 also if it knows no key',
  );
}

function expand(
  { words, fingerprintHash }: KnownHostsCommand,
  { name, key }: CommandSubject,
): [string, ...string[]] {
  const tokens: Readonly<Record<string, string>> = {
    '%': '%',
    H: name,
    I: key === undefined ? 'ORDER' : 'HOSTNAME',
    t: key?.type ?? 'NONE',
    f: key === undefined ? 'NONE' : fingerprintWith(fingerprintHash, key),
    K: key?.blob.toString('base64') ?? 'NONE',
  };
  const [program, ...args] = words;
  return [
    program,
    ...args.map((word) => word.replace(/%(.)/gs, (whole, token: string) => tokens[token] ?? whole)),
  ];
}

/** As ssh prints it: MD5 as pairs of digits, others in base64. */
function fingerprintWith(hash: string, { blob }: PublicKey): string {
  if (hash === 'sha256') return fingerprint(blob);
  const digest = createHash(hash).update(blob).digest();
  if (hash === 'md5') return `MD5:${digest.toString('hex').replace(/..(?!$)/g, '$&:')}`;
  return `${hash.toUpperCase()}:${digest.toString('base64').replace(/=+$/, '')}`;
}

interface Outcome {
  /** null: a signal ended it. */
  readonly status: number | null;
  readonly stdout: string;
  readonly complaint: string;
  /** Why its status doesn't count. */
  readonly failure: string | undefined;
}

function run(
  program: string,
  args: readonly string[],
  signal: AbortSignal | undefined,
  timeoutMs: number,
): Promise<Outcome> {
  return new Promise((resolve) => {
    let failure: string | undefined;
    // In its own session, so that what it has started can be ended with it.
    const child = withStreams(
      spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true }),
    );
    const end = (why?: string): void => {
      failure ??= why;
      try {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      } catch {
        // ESRCH: it has already ended.
      }
    };
    const abort = (): void => end();
    const timer = setTimeout(() => end(`it took longer than ${timeoutMs / 1000} s`), timeoutMs);
    signal?.addEventListener('abort', abort, { once: true });
    const output: Buffer[] = [];
    const complaints: Buffer[] = [];
    let size = 0;
    let complained = 0;
    child.stdout.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > MAX_COMMAND_OUTPUT_BYTES)
        end(`it printed more than ${MAX_COMMAND_OUTPUT_BYTES} bytes`);
      else output.push(chunk);
    });
    child.stderr.on('data', (chunk: Buffer) => {
      if (complained < MAX_COMPLAINT_BYTES) complaints.push(chunk);
      complained += chunk.length;
    });
    const settle = (status: number | null): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
      const complaint = Buffer.concat(complaints).toString('utf8', 0, MAX_COMPLAINT_BYTES).trim();
      resolve({ status, stdout: Buffer.concat(output).toString('utf8'), complaint, failure });
    };
    child.once('error', (error: NodeJS.ErrnoException) => {
      failure ??= `${printable(program)} can't be run (${error.code ?? error.message})`;
      settle(null);
    });
    child.once('close', settle);
  });
}
