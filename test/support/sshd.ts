/**
 * The jump host's sshd: the system's /usr/sbin/sshd in the jump host's network namespace and in a
 * separate mount namespace, in which /etc/passwd, /etc/shadow, /etc/group, /etc/hosts,
 * /etc/resolv.conf and PAM's stack for sshd, /run and /var/log are the lab's. So its users exist
 * only there, its names resolve only there, and it leaves no trace in the machine's files.
 */
import {
  chmodSync,
  chownSync,
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as address from './addresses.ts';
import { type Credentials, JUMP_USER } from './credentials.ts';
import { LabError } from './laberror.ts';
import type { Namespace } from './namespace.ts';
import { WITHOUT_PENALTIES } from './penalties.ts';
import { type Child, type ExecResult, mustRun, run } from './process.ts';
import { allProcesses, processEntry, signalAll, withDescendants } from './processtable.ts';

export type SshdVariant = 'open' | 'hardened';

export interface JumpUser {
  readonly name: string;
  /** /bin/sh by default. */
  readonly shell?: string;
  /** Lines of an authorized_keys file (with options, if any); by default those of `jump`. */
  readonly authorizedKeys?: string;
  /** The user's password; if set, this sshd accepts passwords. */
  readonly password?: string;
  /** Another user of this sshd, whose group this one is in as well. */
  readonly group?: string;
}

export interface SshdOptions {
  /**
   * `open` (default): sshd's defaults, and the user has a shell. `hardened`: no shell, no session,
   * no terminal, forwards only to `permitOpen`.
   */
  readonly variant?: SshdVariant;
  /**
   * [22] by default. The client's known_hosts has 22, 2222 and the ports given when the lab is
   * made.
   */
  readonly ports?: readonly number[];
  /** PermitOpen; by default none for `open`, HARDENED_PERMIT_OPEN for `hardened`. */
  readonly permitOpen?: readonly string[];
  /** VERBOSE by default. */
  readonly logLevel?: string;
  /**
   * Lines of sshd_config. They come first, because sshd takes the first value of a keyword.
   */
  readonly config?: readonly string[];
  /** `Match` blocks. They come last, as they must. */
  readonly match?: readonly string[];
  /** Users in addition to `jump`. */
  readonly users?: readonly JumpUser[];
  /**
   * A PAM stack (the text of /etc/pam.d/sshd), which this sshd uses for passwords and
   * keyboard-interactive.
   */
  readonly pam?: string;
  /** What sshd sees instead of a path of this machine: `[source, target]`, both exist. */
  readonly binds?: readonly (readonly [source: string, target: string])[];
  /**
   * An unpacked package of another OpenSSH: its sshd and helpers are used instead of the system's.
   */
  readonly unpacked?: string;
  /** The soft limit of descriptors; service managers often set 1024. */
  readonly openFiles?: number;
}

const SSHD = '/usr/sbin/sshd';
const START_TIMEOUT_MS = 10_000;
const END_TIMEOUT_MS = 5_000;
const POLL_MS = 5;
const FIRST_UID = 2000;
const NOGROUP = 65534;

/**
 * $1: the directory with etc, run and log; $2: the limit of descriptors or nothing; $3: sshd; $4:
 * the directory of its helpers or nothing.
 */
const ENTER = `set -e
for file in passwd shadow group hosts resolv.conf; do
  if [ -e "/etc/$file" ]; then mount --bind "$1/etc/$file" "/etc/$file"; fi
done
if [ -e "$1/etc/pam" ]; then mount --bind "$1/etc/pam" /etc/pam.d/sshd; fi
mount --bind "$1/run" /run
mount --bind "$1/log" /var/log
if [ -n "$4" ]; then mount --bind "$4" /usr/lib/openssh; fi
while read -r source target; do mount --bind "$source" "$target"; done <"$1/binds"
if [ -n "$2" ]; then ulimit -S -n "$2"; fi
cd /
exec "$3" -D -e -f "$1/sshd_config"
`;

export const HOSTS_FILE = `127.0.0.1 localhost
::1 localhost
${address.API1} ${address.API1_NAME}
${address.API1_6} ${address.API1_NAME}
${address.API2} ${address.API2_NAME}
${address.API2_6} ${address.API2_NAME}
`;

/** sshd_config(5) of a variant; the first value of each keyword counts. */
export function sshdConfig(options: SshdOptions, hostKeys: readonly string[]): string {
  const hardened = options.variant === 'hardened';
  const permitOpen = options.permitOpen ?? (hardened ? address.HARDENED_PERMIT_OPEN : undefined);
  const passwords = options.users?.some((user) => user.password !== undefined) ?? false;
  return [
    // First, because a drop-in of `tunnel jumphost` has them.
    ...WITHOUT_PENALTIES,
    ...(options.config ?? []),
    ...(options.ports ?? [22]).map((port) => `Port ${port}`),
    ...hostKeys.map((path) => `HostKey ${path}`),
    'PidFile none',
    `UsePAM ${options.pam === undefined ? 'no' : 'yes'}`,
    `PasswordAuthentication ${passwords ? 'yes' : 'no'}`,
    `KbdInteractiveAuthentication ${options.pam === undefined ? 'no' : 'yes'}`,
    'AuthorizedKeysFile .ssh/authorized_keys',
    `LogLevel ${options.logLevel ?? 'VERBOSE'}`,
    ...(hardened
      ? [
          'MaxSessions 0',
          'ForceCommand /bin/false',
          'PermitTTY no',
          'AllowTcpForwarding local',
          'AllowStreamLocalForwarding no',
          'AllowAgentForwarding no',
          'X11Forwarding no',
          'PermitTunnel no',
          'GatewayPorts no',
        ]
      : []),
    ...(permitOpen === undefined
      ? []
      : [`PermitOpen ${permitOpen.length === 0 ? 'none' : permitOpen.join(' ')}`]),
    ...(options.match ?? []),
    '',
  ].join('\n');
}

export class Sshd {
  readonly logFile: string;
  readonly configFile: string;
  readonly #namespace: Namespace;
  readonly #directory: string;
  readonly #credentials: Credentials;
  #options: SshdOptions;
  #child: Child | undefined;

  /** `directory` is made by `start`. */
  constructor(
    namespace: Namespace,
    directory: string,
    credentials: Credentials,
    options: SshdOptions,
  ) {
    this.#namespace = namespace;
    this.#directory = directory;
    this.#credentials = credentials;
    this.#options = options;
    this.logFile = join(directory, 'sshd.log');
    this.configFile = join(directory, 'sshd_config');
  }

  /** The listening process, if there is one. */
  get pid(): number | undefined {
    return this.#child?.ended === undefined ? this.#child?.pid : undefined;
  }

  get program(): string {
    return join(this.#options.unpacked ?? '/', SSHD);
  }

  /** Runs a program in the jump host's namespaces, with sshd's /etc. */
  exec(argv: readonly string[]): Promise<ExecResult> {
    if (this.pid === undefined) throw new LabError('sshd-ended', 'this sshd does not run');
    return run(['nsenter', '-t', String(this.pid), '-m', '-n', ...argv]);
  }

  /** The whole log of sshd, across restarts. */
  log(): string {
    return readFileSync(this.logFile, 'utf8');
  }

  /**
   * Waits until the log, from `offset` characters on, matches. Throws `sshd-log` with the log's end
   * if it doesn't in time.
   */
  async waitForLog(
    pattern: RegExp,
    timeoutMs = START_TIMEOUT_MS,
    offset = 0,
  ): Promise<RegExpMatchArray> {
    for (const deadline = performance.now() + timeoutMs; ; await sleep(POLL_MS)) {
      const match = this.log().slice(offset).match(pattern);
      if (match !== null) return match;
      const ended = this.#child?.ended !== undefined;
      if (ended || performance.now() > deadline) {
        const why = ended ? 'sshd ended' : `${timeoutMs} ms have passed`;
        throw new LabError(
          'sshd-log',
          `no ${pattern} in sshd's log and ${why}:\n${this.log().slice(-2000)}`,
        );
      }
    }
  }

  /** Resolves when sshd listens on all its ports, v4 and v6. */
  async start(): Promise<void> {
    if (this.pid !== undefined) throw new LabError('sshd-running', 'this sshd runs already');
    const users = await this.#writeFiles();
    for (const user of users) this.#makeHome(user.name, user.uid, user.authorizedKeys);
    const log = openSync(this.logFile, 'a');
    const offset = this.log().length;
    const { openFiles = '', unpacked } = this.#options;
    const programs = [
      this.program,
      unpacked === undefined ? '' : join(unpacked, 'usr/lib/openssh'),
    ];
    try {
      this.#child = await this.#namespace.spawn(
        ['sh', '-c', ENTER, 'sh', this.#directory, String(openFiles), ...programs],
        { stderrTo: log },
      );
    } finally {
      closeSync(log);
    }
    const listeners = 2 * (this.#options.ports ?? [22]).length;
    await this.waitForLog(
      new RegExp(`(Server listening on [^]*?){${listeners}}`),
      START_TIMEOUT_MS,
      offset,
    );
  }

  /**
   * Ends sshd and all its connections as a crash of the host would, except that the kernel still
   * closes the connections.
   */
  async kill(): Promise<void> {
    await this.#kill({ listener: true });
  }

  /** Ends the connections; new ones are accepted. */
  async dropConnections(): Promise<void> {
    await this.#kill({ listener: false });
  }

  /** With options: they replace the previous ones. */
  async restart(options: SshdOptions = this.#options): Promise<void> {
    await this.kill();
    this.#options = options;
    await this.start();
  }

  async #kill({ listener }: { listener: boolean }): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.ended !== undefined) return;
    // Stop them before killing them: a process that forks meanwhile would leave a child that we
    // don't find.
    let processes = new Set<number>();
    for (let before = -1; before !== processes.size; ) {
      before = processes.size;
      processes = withDescendants([child.pid, ...processes], allProcesses());
      signalAll(processes, 'SIGSTOP');
    }
    if (!listener) processes.delete(child.pid);
    signalAll(processes, 'SIGKILL');
    if (listener) await child.exited;
    else child.kill('SIGCONT');
    const deadline = performance.now() + END_TIMEOUT_MS;
    while ([...processes].some((pid) => processEntry(pid) !== undefined)) {
      if (performance.now() > deadline)
        throw new LabError('sshd-kill', 'processes of sshd survived SIGKILL');
      await sleep(POLL_MS);
    }
  }

  /** Writes the configuration and the account files; returns the users. */
  async #writeFiles(): Promise<{ name: string; uid: number; authorizedKeys: string }[]> {
    const { shadow, ...accounts } = await this.#accounts();
    const etc = join(this.#directory, 'etc');
    for (const name of ['etc', 'run/sshd', 'log', 'home'])
      mkdirSync(join(this.#directory, name), { recursive: true, mode: 0o755 });
    writeFileSync(this.configFile, sshdConfig(this.#options, this.#credentials.hostKeys));
    writeFileSync(join(etc, 'passwd'), accounts.passwd);
    writeFileSync(join(etc, 'group'), accounts.group);
    writeFileSync(join(etc, 'shadow'), shadow, { mode: 0o600 });
    const binds = (this.#options.binds ?? []).map((paths) => `${paths.join(' ')}\n`);
    writeFileSync(join(this.#directory, 'binds'), binds.join(''));
    rmSync(join(etc, 'pam'), { force: true });
    if (this.#options.pam !== undefined) writeFileSync(join(etc, 'pam'), this.#options.pam);
    writeFileSync(join(etc, 'hosts'), HOSTS_FILE);
    writeFileSync(join(etc, 'resolv.conf'), '# no resolver: unknown names fail at once\n');
    return accounts.users;
  }

  async #accounts() {
    const hardened = this.#options.variant === 'hardened';
    const jump: JumpUser = { name: JUMP_USER, shell: hardened ? '/usr/sbin/nologin' : '/bin/sh' };
    const users = [jump, ...(this.#options.users ?? [])].map((user, i) => ({
      name: user.name,
      uid: FIRST_UID + i,
      shell: user.shell ?? '/bin/sh',
      authorizedKeys: user.authorizedKeys ?? this.#credentials.authorizedKeys,
      password: user.password,
      group: user.group,
    }));
    // `*` matches no password, but unlike `!` it doesn't lock the account for keys.
    const hashes = await Promise.all(
      users.map(({ password }) =>
        password === undefined ? Promise.resolve('*') : hashPassword(password),
      ),
    );
    return {
      users,
      passwd: [
        'root:x:0:0:root:/root:/bin/sh',
        `sshd:x:100:${NOGROUP}::/run/sshd:/usr/sbin/nologin`,
        `nobody:x:${NOGROUP}:${NOGROUP}:nobody:/nonexistent:/usr/sbin/nologin`,
        ...users.map(
          ({ name, uid, shell }) => `${name}:x:${uid}:${uid}::${this.#home(name)}:${shell}`,
        ),
        '',
      ].join('\n'),
      group: [
        'root:x:0:',
        'tty:x:5:',
        `nogroup:x:${NOGROUP}:`,
        ...users.map(({ name, uid }) => {
          const members = users.filter(({ group }) => group === name);
          return `${name}:x:${uid}:${members.map((user) => user.name).join(',')}`;
        }),
        '',
      ].join('\n'),
      shadow: [
        'root:*:19000::::::',
        'sshd:!:19000::::::',
        ...users.map(({ name }, i) => `${name}:${hashes[i]}:19000:0:99999:7:::`),
        '',
      ].join('\n'),
    };
  }

  #home(user: string): string {
    return join(this.#directory, 'home', user);
  }

  /** Sets owner and mode as sshd's StrictModes requires. */
  #makeHome(user: string, uid: number, authorizedKeys: string): void {
    const dotSsh = join(this.#home(user), '.ssh');
    const file = join(dotSsh, 'authorized_keys');
    mkdirSync(dotSsh, { recursive: true });
    writeFileSync(file, authorizedKeys);
    for (const path of [this.#home(user), dotSsh, file]) {
      chownSync(path, uid, uid);
      chmodSync(path, path === file ? 0o600 : 0o700);
    }
  }
}

/** In the form of crypt(5) that every libc knows. */
async function hashPassword(password: string): Promise<string> {
  return (await mustRun(['openssl', 'passwd', '-6', '-stdin'], { input: `${password}\n` })).trim();
}
