/**
 * The sshd of this machine, asked what it makes of a configuration. It reads the files, prints, and
 * ends (sshd(8), -t and -T): nothing listens, and no account or key of this machine is used.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findProgram, pathDirectories } from '../path.ts';

/** Users often don't have them in PATH. */
const DIRECTORIES = ['/usr/sbin', '/usr/local/sbin', '/sbin'];
const TIMEOUT_MS = 10_000;
const MAX_OUTPUT_BYTES = 4 * 1024 * 1024;

export interface LocalSshd {
  /** `9.2` */
  readonly version: string;
  /** What it refuses the configuration for; undefined: nothing. */
  readonly complaint: string | undefined;
  /** The lines of `sshd -T` for the login. */
  readonly effective: readonly string[];
}

/**
 * `configuration` is a whole sshd_config, `user` a login that needn't exist here. Resolves with
 * undefined where there is no sshd, or where it refuses an empty file as well, as without
 * /run/sshd. Never rejects.
 */
export async function askSshd(configuration: string, user: string): Promise<LocalSshd | undefined> {
  const directories = [...pathDirectories(), ...DIRECTORIES];
  const program = findProgram('sshd', directories);
  const keygen = findProgram('ssh-keygen', directories);
  if (program === undefined || keygen === undefined) return undefined;
  const { stderr } = await run(program, ['-V']);
  const [, version] = /OpenSSH_(\d+\.\d+)/.exec(stderr) ?? [];
  if (version === undefined) return undefined;
  let directory: string | undefined;
  try {
    directory = mkdtempSync(join(tmpdir(), 'tunnel-sshd-'));
    const config = join(directory, 'config');
    const empty = join(directory, 'empty');
    const key = join(directory, 'key');
    writeFileSync(config, configuration);
    writeFileSync(empty, '');
    const made = await run(keygen, ['-q', '-t', 'ed25519', '-N', '', '-f', key]);
    const able = made.failed ? made : await run(program, ['-t', '-f', empty, '-h', key]);
    if (able.failed) return undefined;
    const file = ['-f', config, '-h', key];
    const checked = await run(program, ['-t', ...file]);
    if (checked.failed)
      return { version, complaint: firstLine(checked.stderr, config), effective: [] };
    const of = ['-C', `user=${user},host=x,addr=192.0.2.1`];
    const { stdout } = await run(program, ['-T', ...of, ...file]);
    return { version, complaint: undefined, effective: stdout.split('\n') };
  } catch {
    return undefined; // no room for files, say
  } finally {
    if (directory !== undefined) rmSync(directory, { recursive: true, force: true });
  }
}

interface Outcome {
  readonly failed: boolean;
  readonly stdout: string;
  readonly stderr: string;
}

function run(program: string, args: readonly string[]): Promise<Outcome> {
  return new Promise((resolve) => {
    const env = { ...process.env, LC_ALL: 'C' };
    const options = { timeout: TIMEOUT_MS, maxBuffer: MAX_OUTPUT_BYTES, env };
    execFile(program, args, options, (error, stdout, stderr) =>
      resolve({ failed: error !== null, stdout, stderr }),
    );
  });
}

/** Without the name of our own file, which is gone by then. */
function firstLine(text: string, file: string): string {
  const [line = ''] = text.replaceAll(`${file}: `, '').trim().split(/\r?\n/);
  return line === '' ? 'it says nothing about why' : line;
}
