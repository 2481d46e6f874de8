/**
 * A real sshd on the loopback device, run by the current user (root or not) with its own
 * configuration in a temporary directory: host keys, one authorized user key, a log. For tests that
 * need SSH but no separate network.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { WITHOUT_PENALTIES } from './penalties.ts';

const run = promisify(execFile);
const SSHD = '/usr/sbin/sshd';
const START_TIMEOUT_MS = 10_000;

/** Why the tests that need it can't run here, or false. */
export const sshdMissing: string | false = existsSync(SSHD) ? false : `${SSHD} is not installed`;

export interface SshdOptions {
  /** Lines of sshd_config; they come first, so they win. */
  readonly config?: readonly string[];
  /** `Match` blocks. They come last, as they must. */
  readonly match?: readonly string[];
  /** A directory with another OpenSSH, unpacked. Default: this machine's. */
  readonly unpacked?: string | undefined;
  /** The address to listen on. Default: 127.0.0.1. */
  readonly listen?: string;
  /** Types for ssh-keygen -t. Default: ed25519. */
  readonly hostKeys?: readonly string[];
  /** Further lines of authorized_keys, or a replacement for the whole (`only`). */
  readonly authorizedKeys?: { readonly lines: readonly string[]; readonly only?: boolean };
}

export class LoopbackSshd {
  readonly directory: string;
  readonly port: number;
  readonly user: string = userInfo().username;
  readonly #process: ChildProcess;

  private constructor(directory: string, port: number, process: ChildProcess) {
    this.directory = directory;
    this.port = port;
    this.#process = process;
  }

  static async start(options: SshdOptions = {}): Promise<LoopbackSshd> {
    const directory = await mkdtemp(join(tmpdir(), 'tunnel-sshd-'));
    const types = options.hostKeys ?? ['ed25519'];
    for (const type of types) await makeKey(join(directory, `host_${type}`), type);
    await makeKey(join(directory, 'user_key'), 'ed25519');
    const own = await readFile(join(directory, 'user_key.pub'), 'utf8');
    const { lines = [], only = false } = options.authorizedKeys ?? {};
    await writeFile(
      join(directory, 'authorized_keys'),
      [...(only ? [] : [own.trim()]), ...lines, ''].join('\n'),
    );
    const { listen = '127.0.0.1' } = options;
    const port = await freePort(listen);
    const config = [
      // The first of a keyword's lines wins, except for MaxStartups, where it is the last.
      'MaxStartups 100',
      ...(options.config ?? []),
      ...(options.unpacked === undefined ? WITHOUT_PENALTIES : []),
      ...(options.unpacked === undefined ? [] : programsIn(options.unpacked)),
      `ListenAddress ${listen.includes(':') ? `[${listen}]` : listen}:${port}`,
      ...types.map((type) => `HostKey ${join(directory, `host_${type}`)}`),
      `AuthorizedKeysFile ${join(directory, 'authorized_keys')}`,
      'PidFile none',
      'StrictModes no',
      'UsePAM no',
      'PasswordAuthentication no',
      'KbdInteractiveAuthentication no',
      'PermitRootLogin yes',
      'LogLevel DEBUG1',
      ...(options.match ?? []),
      '',
    ];
    await writeFile(join(directory, 'sshd_config'), config.join('\n'));
    // As root, sshd needs its separation directory, which the service manager normally makes.
    if (process.getuid?.() === 0) mkdirSync('/run/sshd', { recursive: true });
    // The kernel ends it with us, even when we are killed.
    const command = [
      `${options.unpacked ?? ''}${SSHD}`,
      '-D',
      '-f',
      join(directory, 'sshd_config'),
      '-E',
      join(directory, 'log'),
    ];
    // Each channel costs it a descriptor; the usual soft limit is 1024.
    const raise =
      'ulimit -n 16384 2>/dev/null || ulimit -n "$(ulimit -Hn)"; exec setpriv --pdeathsig KILL "$@"';
    const child = spawn('sh', ['-c', raise, 'sh', ...command], { stdio: 'ignore' });
    const sshd = new LoopbackSshd(directory, port, child);
    try {
      await listening(port, listen, child);
    } catch (error) {
      const log = await sshd.log();
      await sshd.stop();
      throw new Error(`sshd did not start: ${log}`, { cause: error });
    }
    return sshd;
  }

  get userKey(): string {
    return join(this.directory, 'user_key');
  }

  /** A line for known_hosts. */
  async knownHostsLine(type = 'ed25519', name = `[127.0.0.1]:${this.port}`): Promise<string> {
    const key = await readFile(join(this.directory, `host_${type}.pub`), 'utf8');
    return `${name} ${key.trim()}\n`;
  }

  async log(): Promise<string> {
    try {
      return await readFile(join(this.directory, 'log'), 'utf8');
    } catch {
      return '(no log)';
    }
  }

  /**
   * Kills the processes that serve connections, not the listener: this looks like a network
   * failure, but at once.
   */
  killConnections(): Promise<void> {
    return this.#signalConnections('SIGKILL');
  }

  /**
   * Stops them: their sockets stay and are never read again, as with a jump host that hangs or a
   * path that drops everything.
   */
  stopConnections(): Promise<void> {
    return this.#signalConnections('SIGSTOP');
  }

  async #signalConnections(signal: NodeJS.Signals): Promise<void> {
    for (const pid of await descendants(this.#process.pid ?? 0)) {
      try {
        process.kill(pid, signal);
      } catch {
        // It has already ended.
      }
    }
  }

  async stop(): Promise<void> {
    await this.killConnections();
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      const exited = new Promise((resolve) => this.#process.once('exit', resolve));
      this.#process.kill('SIGKILL');
      await exited;
    }
    await rm(this.directory, { recursive: true, force: true });
  }
}

/** `options` are further arguments of ssh-keygen; the passphrase is empty unless they have -N. */
export async function makeKey(
  path: string,
  type: string,
  options: readonly string[] = [],
): Promise<void> {
  const passphrase = options.includes('-N') ? [] : ['-N', ''];
  const size = type === 'rsa' && !options.includes('-b') ? ['-b', '2048'] : [];
  await run('ssh-keygen', [
    '-q',
    '-t',
    type,
    '-f',
    path,
    '-C',
    `test ${type}`,
    ...passphrase,
    ...size,
    ...options,
  ]);
}

/** Since 9.8 and 10.0 sshd starts further programs of its own. */
function programsIn(directory: string): string[] {
  const programs = join(directory, 'usr/lib/openssh');
  return [`SshdSessionPath ${programs}/sshd-session`, `SshdAuthPath ${programs}/sshd-auth`];
}

async function descendants(pid: number): Promise<number[]> {
  let text: string;
  try {
    text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8');
  } catch {
    return [];
  }
  const children = text.trim().split(' ').filter(Boolean).map(Number);
  const below = await Promise.all(children.map(descendants));
  return [...below.flat(), ...children];
}

async function freePort(host: string): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

async function listening(port: number, host: string, child: ChildProcess): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  while (Date.now() < deadline && child.exitCode === null) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect(port, host);
      socket.once('connect', () => {
        socket.destroy();
        resolve(true);
      });
      socket.once('error', () => resolve(false));
    });
    if (open) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`sshd ended with ${child.exitCode}`);
}
