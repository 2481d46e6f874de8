/**
 * SSH servers other than OpenSSH, as jump hosts of the lab: each with the lab's user, keys and
 * names, in the jump host's namespace, at a port of its own.
 *
 * `servers/` and `go/` have the programs around those that are libraries; `./scripts/test all`
 * builds or installs what is needed. A server that isn't there has a reason for its tests to be
 * skipped.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { JUMPHOST4 } from './addresses.ts';
import type { HalfCloses } from './carry.ts';
import { JUMP_USER } from './credentials.ts';
import { type GoProgram, goProgram, goProgramMissing } from './goprograms.ts';
import type { Lab } from './lab.ts';
import { type Child, mustRun } from './process.ts';
import { allProcesses, signalAll, withDescendants } from './processtable.ts';
import { moduleMissing } from './requirements.ts';

const SOURCES = fileURLToPath(new URL('../../../test/support/servers/', import.meta.url));
const BUILT = fileURLToPath(new URL('../../servers/', import.meta.url));
/** Debian's, with Debian's modules. */
const PYTHON = '/usr/bin/python3';
const START_TIMEOUT_MS = 20_000;
const POLL_MS = 20;

/**
 * Enters the jump host's users and names: $1 is the directory of the lab's sshd, $2 the server's
 * own, and the rest is the server. tinyssh takes no keys below a directory that others may write
 * to, so the homes are copied to /mnt. The soft limit of descriptors has room for 200 flows.
 */
const ENTER = `set -e
mount -t tmpfs -o mode=755 tmpfs /mnt
cp -a "$1/home/." /mnt/
sed "s,:$1/home/,:/mnt/," "$1/etc/passwd" >"$2/passwd"
mount --bind "$2/passwd" /etc/passwd
for file in shadow group hosts resolv.conf; do mount --bind "$1/etc/$file" "/etc/$file"; done
shift 2
ulimit -S -n 4096
cd /
exec "$@"
`;

/** What a server is started with. */
export interface Place {
  readonly port: number;
  /** The lab's authorized_keys and its ed25519 host key, as OpenSSH writes them. */
  readonly authorizedKeys: string;
  readonly hostKey: string;
  /** A directory of its own. */
  readonly directory: string;
}

export interface JumpServer {
  readonly name: string;
  /** What it makes of connections of which one end sends no more; absent: it forwards nothing. */
  readonly halfCloses?: HalfCloses;
  /** It connects to one destination after the other: a silent one holds up the rest. */
  readonly oneAtATime?: true;
  /** It doesn't print `session` when somebody opens a session channel. */
  readonly hidesSessions?: true;
  /**
   * Identifications of versions whose only cipher needs strict key exchange, which they lack: the
   * embedded client refuses them.
   */
  readonly lacksStrict?: RegExp;
  /** False, or why it can't run here. */
  readonly missing: () => string | false;
  /** Makes what it needs, and returns its command line. */
  readonly prepare: (place: Place) => Promise<readonly string[]>;
}

const program = (path: string, packageName: string) => (): string | false =>
  !existsSync(path) && `${path} is not installed (package ${packageName})`;
const built = (name: string) => (): string | false =>
  !existsSync(join(BUILT, name)) && `${name} isn't built: ./scripts/test all`;
const common = ({ port, authorizedKeys, hostKey }: Place): string[] => [
  String(port),
  authorizedKeys,
  hostKey,
];

const BOTH_CARRIED: HalfCloses = { application: 'carried', far: 'carried' };
const BOTH_DROPPED: HalfCloses = { application: 'dropped', far: 'dropped' };
const FAR_DROPPED: HalfCloses = { application: 'carried', far: 'dropped' };

function ofPython(name: string, module: string, halfCloses: HalfCloses): JumpServer {
  return {
    name,
    halfCloses,
    missing: () => moduleMissing(PYTHON, module),
    prepare: async (place) => [PYTHON, join(SOURCES, `${name}server.py`), ...common(place)],
  };
}

function ofGo(name: string, compiled: GoProgram, halfCloses: HalfCloses): JumpServer {
  return {
    name,
    halfCloses,
    missing: () => goProgramMissing(compiled),
    prepare: async (place) => [goProgram(compiled), ...common(place)],
  };
}

const DROPBEAR = '/usr/sbin/dropbear';
const TINYSSHD = '/usr/sbin/tinysshd';
const ESCRIPT = '/usr/bin/escript';

export const dropbear: JumpServer = {
  name: 'dropbear',
  halfCloses: BOTH_CARRIED,
  hidesSessions: true,
  missing: program(DROPBEAR, 'dropbear-bin'),
  async prepare({ port, hostKey, directory }) {
    const key = join(directory, 'key');
    await mustRun(['dropbearconvert', 'openssh', 'dropbear', hostKey, key]);
    return [DROPBEAR, '-F', '-E', '-s', '-p', String(port), '-r', key];
  },
};

/** It serves one connection, as inetd's services do; ncat listens. */
export const tinyssh: JumpServer = {
  name: 'tinyssh',
  hidesSessions: true,
  lacksStrict: /tinyssh_20(1\d|2[0-3])/,
  missing: () => program(TINYSSHD, 'tinysshd')() || program('/usr/bin/ncat', 'ncat')(),
  async prepare({ port, hostKey, directory }) {
    const { secret, open } = rawKey(hostKey);
    writeFileSync(join(directory, '.ed25519.sk'), Buffer.concat([secret, open]), { mode: 0o600 });
    writeFileSync(join(directory, 'ed25519.pk'), open);
    return ['ncat', '-4', '-lk', '-p', String(port), '-c', `exec ${TINYSSHD} -v ${directory}`];
  },
};

export const erlang: JumpServer = {
  name: 'erlang',
  halfCloses: BOTH_DROPPED,
  oneAtATime: true,
  missing: () =>
    program(ESCRIPT, 'erlang-base')() || (!hasErlangSsh() && 'package erlang-ssh is not installed'),
  prepare: async (place) => [ESCRIPT, join(SOURCES, 'erlangserver.erl'), ...common(place)],
};

export const mina: JumpServer = {
  name: 'mina',
  halfCloses: FAR_DROPPED,
  missing: () => program('/usr/bin/java', 'default-jre-headless')() || built('mina')(),
  prepare: async (place) => [
    ...['java', '-cp', `${join(BUILT, 'mina')}:${join(BUILT, 'mina')}/*`, 'MinaServer'],
    ...common(place),
  ],
};

export const russh: JumpServer = {
  name: 'russh',
  halfCloses: BOTH_CARRIED,
  missing: built('russhserver'),
  prepare: async (place) => [join(BUILT, 'russhserver'), ...common(place)],
};

export const ssh2: JumpServer = {
  name: 'ssh2',
  halfCloses: FAR_DROPPED,
  missing: () => false,
  prepare: async (place) => [
    process.execPath,
    fileURLToPath(new URL('./servers/ssh2server.js', import.meta.url)),
    ...common(place),
  ],
};

export const asyncssh = ofPython('asyncssh', 'asyncssh', BOTH_CARRIED);
export const paramiko: JumpServer = {
  ...ofPython('paramiko', 'paramiko', BOTH_CARRIED),
  oneAtATime: true,
};
export const conch = ofPython('conch', 'twisted.conch', { application: 'hangs', far: 'dropped' });
export const xcrypto = ofGo('xcrypto', 'xcryptoserver', BOTH_CARRIED);
export const gliderlabs = ofGo('gliderlabs', 'gliderserver', BOTH_DROPPED);
export const wish = ofGo('wish', 'wishserver', BOTH_DROPPED);

export const JUMP_SERVERS: readonly JumpServer[] = [
  ...[dropbear, asyncssh, paramiko, ssh2, xcrypto, gliderlabs],
  ...[wish, mina, russh, conch, erlang, tinyssh],
];

function hasErlangSsh(): boolean {
  const libraries = '/usr/lib/erlang/lib';
  return existsSync(libraries) && readdirSync(libraries).some((name) => name.startsWith('ssh-'));
}

/**
 * The two halves of an ed25519 key, from an unencrypted file of OpenSSH (its PROTOCOL.key): the
 * last private part is string type, string public, string secret with public.
 */
function rawKey(file: string): { secret: Buffer; open: Buffer } {
  const text = readFileSync(file, 'latin1').replace(/-----[A-Z ]+-----|\s/g, '');
  const key = Buffer.from(text, 'base64');
  const type = Buffer.from('ssh-ed25519');
  const at = key.lastIndexOf(type) + type.length;
  const [open, both] = [key.subarray(at + 4, at + 36), key.subarray(at + 40, at + 104)];
  return { secret: both.subarray(0, 32), open };
}

/** A running one. */
export class SshServer {
  readonly kind: JumpServer;
  readonly port: number;
  /** For -r. */
  readonly remote: string;
  readonly #lab: Lab;
  readonly #argv: readonly string[];
  #child: Child | undefined;

  private constructor(lab: Lab, kind: JumpServer, port: number, argv: readonly string[]) {
    this.#lab = lab;
    this.kind = kind;
    this.port = port;
    this.remote = `${JUMP_USER}@${JUMPHOST4}:${port}`;
    this.#argv = argv;
  }

  /** `port`: one of those that the lab was made with. Resolves when it listens. */
  static async start(lab: Lab, kind: JumpServer, port: number): Promise<SshServer> {
    const directory = join(lab.directory, kind.name);
    mkdirSync(directory, { recursive: true });
    const authorizedKeys = join(directory, 'authorized_keys');
    writeFileSync(authorizedKeys, lab.credentials.authorizedKeys);
    const [hostKey = ''] = lab.credentials.hostKeys;
    const argv = await kind.prepare({ port, authorizedKeys, hostKey, directory });
    const server = new SshServer(lab, kind, port, argv);
    await server.start();
    return server;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** What it has printed since its last start. */
  get output(): string {
    return `${this.#child?.stdout ?? ''}${this.#child?.stderr ?? ''}`;
  }

  async start(): Promise<void> {
    const [jumphost, own] = ['jumphost', this.kind.name].map((name) =>
      join(this.#lab.directory, name),
    ) as [string, string];
    this.#child = await this.#lab.jumphost.spawn(
      ['sh', '-c', ENTER, 'sh', jumphost, own, ...this.#argv],
      { env: { HOME: own } },
    );
    const deadline = performance.now() + START_TIMEOUT_MS;
    while (!this.#listens()) {
      if (this.#child.ended !== undefined || performance.now() > deadline)
        throw new Error(`${basename(this.#argv[0] ?? '')} doesn't listen: ${this.output}`);
      await delay(POLL_MS);
    }
  }

  /** Ends it and all its connections, as a crash does. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.ended !== undefined) return;
    signalAll(withDescendants([child.pid], allProcesses()), 'SIGKILL');
    await child.exited;
  }

  /** /proc/net/tcp: the local port in hexadecimal, and the state LISTEN. */
  #listens(): boolean {
    const port = this.port.toString(16).toUpperCase().padStart(4, '0');
    const listening = new RegExp(`^ *\\d+: [0-9A-F]+:${port} [0-9A-F]+:0000 0A `, 'm');
    return ['tcp', 'tcp6'].some((family) => {
      try {
        return listening.test(readFileSync(`/proc/${this.pid}/net/${family}`, 'latin1'));
      } catch {
        return false; // it has ended
      }
    });
  }
}
