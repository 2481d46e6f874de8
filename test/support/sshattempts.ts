/**
 * What somebody tries with the real ssh client at a jump host that should only forward. Each
 * attempt tells whether it worked, by what only success shows. Against an open sshd all of them do,
 * so that a failure against a hardened one is the server's doing.
 *
 *   session   shells, commands, files
 *   forward   everything else, some of it asked for on a session
 *
 * Limits: an attempt that neither works nor fails in TIMEOUT_MS throws.
 */
import { chmodSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { API1, API1_6, API1_NAME, API2, API2_6, API2_NAME, JUMPHOST4, Port } from './addresses.ts';
import type { Lab } from './lab.ts';
import { LabError } from './laberror.ts';
import type { InsideOptions } from './namespace.ts';
import type { Child, ExecResult } from './process.ts';

export interface Attempt {
  readonly name: string;
  readonly kind: 'session' | 'forward';
  /** Resolves with whether `user` got what was tried. */
  readonly works: (lab: Lab, user: string) => Promise<boolean>;
  /** The line of sshd's log at INFO by which the failure is recorded; undefined: there is none. */
  readonly recorded?: RegExp;
}

const TIMEOUT_MS = 15_000;
/** The device of the jump host that `tun` asks for; the user may open it, if sshd lets him. */
export const TUN_UNIT = 7;
/** A Unix socket of the jump host that says this to everybody. */
const SOCKET_SAYS = 'a socket of the jump host';

export const socketOf = (lab: Lab): string => join(lab.directory, 'jumphost/local.sock');

/** What an sshd needs so that each attempt can work: otherwise some prove nothing. */
export const EVERYTHING_CONFIG = [
  'PermitTunnel yes',
  'X11Forwarding yes',
  // Without any program for cookies sshd forwards no X11.
  'XAuthLocation /bin/true',
] as const;

/** What the attempts are after; it goes with the lab. `uid` is whose they are. */
export async function prepareAttempts(lab: Lab, uid: number): Promise<void> {
  await lab.jumphost.configure([`tuntap add dev tun${TUN_UNIT} mode tun user ${uid}`]);
  await openTunDevice(lab);
  const socket = socketOf(lab);
  await lab.jumphost.spawn(['ncat', '-lkU', socket, '-c', `echo ${SOCKET_SAYS}`]);
  for (let i = 0; ; i++) {
    try {
      chmodSync(socket, 0o777);
      return;
    } catch (error) {
      if (i === 500) throw error;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}

/** For users, as distributions have it; again after each start of sshd. */
export async function openTunDevice(lab: Lab): Promise<void> {
  const script = 'mount -t tmpfs -o mode=755 tmpfs /dev/net && mknod -m 666 /dev/net/tun c 10 200';
  const { status, stderr } = await lab.sshd.exec(['sh', '-c', script]);
  if (status !== 0) throw new LabError('lab-command', `no /dev/net/tun for users: ${stderr}`);
}

const denied = (host: string, port: number) =>
  new RegExp(
    `Received request from \\S+ port \\d+ to connect to host ${host.replace(/[.[\]]/g, '\\$&')} port ${port}, but the request was denied`,
  );
const NO_SESSION = /^no more sessions/m;

function ssh(lab: Lab, user: string, args: readonly string[]): string[] {
  return ['ssh', '-F', lab.credentials.sshConfig, '-l', user, ...args];
}

function attempt(
  lab: Lab,
  argv: readonly string[],
  options: InsideOptions = {},
): Promise<ExecResult> {
  return lab.client.exec(argv, { timeout: TIMEOUT_MS, ...options });
}

/** A command, or a shell without one, whose output has `shows` if it ran. */
function session(
  name: string,
  args: readonly string[],
  shows: RegExp,
  options: InsideOptions = {},
): Attempt {
  return {
    name,
    kind: 'session',
    works: async (lab, user) =>
      shows.test((await attempt(lab, ssh(lab, user, args), options)).stdout),
    recorded: NO_SESSION,
  };
}

/** A plain forward to a server that speaks first, or answers HTTP. */
function destination(name: string, host: string, port: number): Attempt {
  const place = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
  return {
    name: `${name} (${place})`,
    kind: 'forward',
    works: async (lab, user) => {
      const input = port === Port.echo ? 'HTTP/1.1 echoed\n' : 'GET / HTTP/1.0\r\n\r\n';
      const { stdout } = await attempt(lab, ssh(lab, user, ['-W', place, 'jump']), { input });
      return /^(HTTP\/1|SSH-2)/.test(stdout);
    },
    recorded: denied(host, port),
  };
}

/** A forward that ssh keeps until it is told to stop: `-v` says whether the server has agreed. */
function standing(name: string, args: (lab: Lab) => readonly string[], agreed: RegExp): Attempt {
  return {
    name,
    kind: 'forward',
    works: async (lab, user) => {
      const argv = ['-v', '-N', '-o', 'ExitOnForwardFailure=yes', ...args(lab), 'jump'];
      const child = await lab.client.spawn(ssh(lab, user, argv));
      try {
        const refused = /remote port forwarding failed|rejected tunnel device|open failed/i;
        const [said] = await child.waitForLine(
          new RegExp(`${agreed.source}|${refused.source}|Permission denied`, 'i'),
          TIMEOUT_MS,
        );
        return agreed.test(said);
      } finally {
        await child.stop('SIGKILL');
      }
    },
  };
}

async function withAgent<T>(lab: Lab, use: (socket: string) => Promise<T>): Promise<T> {
  const socket = join(lab.directory, 'agent.sock');
  const agent: Child = await lab.client.spawn(['ssh-agent', '-D', '-a', socket]);
  try {
    await agent.waitForLine(/SSH_AUTH_SOCK/);
    return await use(socket);
  } finally {
    await agent.stop('SIGTERM');
  }
}

/** In the order of ssh(1). Destinations are those that the tests' list doesn't have. */
export const ATTEMPTS: readonly Attempt[] = [
  session('a shell', ['-T', 'jump'], /ran 42/, { input: 'echo ran $((6 * 7))\n' }),
  session('a command', ['jump', 'echo ran $((6 * 7))'], /ran 42/),
  session('a terminal', ['-tt', 'jump', 'tty'], /\/dev\/pts\//),
  {
    name: 'sftp',
    kind: 'session',
    works: async (lab, user) => {
      const { sshConfig } = lab.credentials;
      const argv = ['sftp', '-F', sshConfig, '-b', '-', `${user}@jump`];
      return (await attempt(lab, argv, { input: 'ls /\n' })).status === 0;
    },
    recorded: NO_SESSION,
  },
  ...[[], ['-O']].map(
    (protocol): Attempt => ({
      name: `scp ${protocol.join('')}`.trim(),
      kind: 'session',
      works: async (lab, user) => {
        const { sshConfig } = lab.credentials;
        const argv = ['scp', '-F', sshConfig, ...protocol, `${user}@jump:/etc/passwd`, '/dev/null'];
        return (await attempt(lab, argv)).status === 0;
      },
      recorded: NO_SESSION,
    }),
  ),
  {
    name: 'the agent, forwarded',
    kind: 'forward',
    works: (lab, user) =>
      withAgent(lab, async (socket) => {
        const args = [
          '-A',
          '-o',
          `IdentityAgent=${socket}`,
          'jump',
          'test -S "$SSH_AUTH_SOCK" && echo ran',
        ];
        return /ran/.test((await attempt(lab, ssh(lab, user, args))).stdout);
      }),
    recorded: NO_SESSION,
  },
  {
    ...session('X11', ['-Y', 'jump', 'echo display $DISPLAY'], /display \S+:1\d/, {
      env: { DISPLAY: 'localhost:9' },
    }),
    kind: 'forward',
  },
  destination('another port', API1, Port.echo),
  destination('another address', API2, Port.http),
  destination('another address of IPv6', API2_6, Port.http),
  destination('another name', API2_NAME, Port.http),
  destination('the jump host itself', '127.0.0.1', 22),
  destination('the jump host itself, by IPv6', '::1', 22),
  destination('the jump host itself, by name', 'localhost', 22),
  destination('the jump host from outside', JUMPHOST4, 22),
  destination('a listed address in hexadecimal', '0x0a4d000b', Port.http),
  destination('a listed address, shortened', '10.77.11', Port.http),
  destination('a listed address, written out', `${API1_6.replace('::', ':0:0:0:0:')}`, Port.http),
  destination('a listed address, as one of IPv6', `::ffff:${API1}`, Port.http),
  destination('a listed name in upper case', API1_NAME.toUpperCase(), Port.http),
  ...['127.0.0.1:7771', '0.0.0.0:7772', '[::1]:7773', '127.0.0.1:0'].map((listen) =>
    standing(
      `a remote forward at ${listen}`,
      () => ['-R', `${listen}:${API1}:80`],
      /remote forward success/,
    ),
  ),
  standing('a remote SOCKS server', () => ['-R', '7774'], /remote forward success/),
  withoutSocket(
    standing(
      'a remote forward of a Unix socket',
      (lab) => ['-R', `${boundSocketOf(lab)}:${API1}:80`],
      /remote forward success/,
    ),
  ),
  {
    name: 'a Unix socket of the jump host',
    kind: 'forward',
    works: async (lab, user) => {
      const local = join(lab.directory, 'forwarded.sock');
      const argv = ['-N', '-o', 'StreamLocalBindUnlink=yes', '-L', `${local}:${socketOf(lab)}`];
      const child = await lab.client.spawn(ssh(lab, user, ['-v', ...argv, 'jump']));
      try {
        await child.waitForLine(/Local forwarding listening|Entering interactive session/);
        const { stdout } = await attempt(lab, ['ncat', '-U', local, '--recv-only']);
        return stdout.includes(SOCKET_SAYS);
      } finally {
        await child.stop('SIGKILL');
      }
    },
    recorded: /refused streamlocal port forward: .* target \S+\/local\.sock/,
  },
  standing('a tunnel device', () => ['-w', `any:${TUN_UNIT}`], /tunnel forward established/),
];

/** At a time: each is a login, which costs both sides some computing. */
const AT_A_TIME = 6;

/** The names of those that worked for `user`. */
export async function whatWorks(
  lab: Lab,
  user: string,
  attempts: readonly Attempt[] = ATTEMPTS,
): Promise<string[]> {
  const worked = new Set<string>();
  const waiting = attempts.values();
  const worker = async () => {
    for (const { name, works } of waiting) if (await works(lab, user)) worked.add(name);
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, worker));
  return attempts.map(({ name }) => name).filter((name) => worked.has(name));
}

/** What sshd binds, in a directory where its user may. It doesn't remove it. */
function boundSocketOf(lab: Lab): string {
  return `/tmp/tunnel-${lab.id}.sock`;
}

function withoutSocket(attempt: Attempt): Attempt {
  return {
    ...attempt,
    async works(lab, user) {
      try {
        return await attempt.works(lab, user);
      } finally {
        rmSync(boundSocketOf(lab), { force: true });
      }
    },
  };
}
