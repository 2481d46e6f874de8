/**
 * A lab in which `tunnel exec` runs as an ordinary user: the user exists only there, has a home,
 * and may open /dev/net/tun, as on most distributions.
 */
import { chownSync, cpSync, mkdtempSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LAUNCHER_PATH as BUILT_LAUNCHER } from '../../src/native/addon.ts';
import { UID, withEtc } from './etc.ts';
import { Lab, type LabOptions } from './lab.ts';
import type { InsideOptions } from './namespace.ts';
import type { Child, ExecResult, RunOptions } from './process.ts';
import { MAIN, REMOTE } from './tunnel.ts';

const UPLINK_SERVER = fileURLToPath(new URL('./uplinkserver.js', import.meta.url));
const TIMEOUT_MS = 30_000;
const DEVICE_SCRIPT =
  'mount -t tmpfs -o mode=755 tmpfs /dev/net && mknod -m 666 /dev/net/tun c 10 200 && exec "$@"';

/**
 * The launcher under test: the tests also run with a build under AddressSanitizer and UBSan.
 */
export const TESTED_LAUNCHER = process.env['TUNNEL_TEST_LAUNCHER'];

/** Runs in a user namespace that forbids further ones; outside of it nothing changes. */
export const NO_USER_NAMESPACES = `exec /usr/bin/python3 -c '
import ctypes, os, sys
CLONE_NEWUSER = 0x10000000
entered, mapped = os.pipe(), os.pipe()
parent = os.getpid()
if os.fork() == 0:
    os.read(entered[0], 1)
    for name in ("uid_map", "gid_map"):
        with open("/proc/%d/%s" % (parent, name), "w") as file: file.write("0 0 65536")
    os.write(mapped[1], b"x")
    os._exit(0)
assert ctypes.CDLL(None).unshare(CLONE_NEWUSER) == 0
os.write(entered[1], b"x")
os.read(mapped[0], 1)
os.wait()
with open("/proc/sys/user/max_user_namespaces", "w") as file: file.write("0")
os.execvp(sys.argv[1], sys.argv[1:])
' "$@"`;

export interface ExecOptions extends InsideOptions {
  /** Run as root instead of the user. */
  readonly root?: boolean;
  /** A script that runs before the tunnel, as root, in its mount namespace; `"$@"` is the rest. */
  readonly script?: string;
}

export class ExecLab {
  readonly lab: Lab;
  /** The user's. */
  readonly home: string;
  readonly #withEtc: (argv: readonly string[]) => string[];

  private constructor(lab: Lab, home: string, etc: Readonly<Record<string, string>>) {
    this.lab = lab;
    this.home = home;
    this.#withEtc = withEtc(lab.directory, etc, home, 0o444);
  }

  /**
   * `resolvConf` is the host's resolv.conf, as the user sees it; `etc` are other files in /etc,
   * name to text.
   */
  static async create(
    resolvConf = 'nameserver 192.0.2.1\noptions timeout:1 attempts:1\n',
    options: LabOptions = {},
    etc: Readonly<Record<string, string>> = {},
  ): Promise<ExecLab> {
    const lab = await Lab.create({ sshd: 'open', ...options });
    const home = mkdtempSync(join(lab.directory, 'user-'));
    cpSync(lab.clientHome, home, { recursive: true });
    for (const path of ['', ...readdirSync(home, { recursive: true, encoding: 'utf8' })])
      chownSync(join(home, path), UID, UID);
    return new ExecLab(lab, home, { ...etc, 'resolv.conf': resolvConf });
  }

  /**
   * The command line of any program as the user, or root, with the user's /etc and /dev/net/tun.
   */
  userArgv(argv: readonly string[], { root = false, script }: ExecOptions = {}): string[] {
    const launcher =
      TESTED_LAUNCHER === undefined
        ? []
        : ['sh', '-c', `mount --bind ${TESTED_LAUNCHER} ${BUILT_LAUNCHER} && exec "$@"`, 'sh'];
    return this.#withEtc([
      ...['sh', '-c', DEVICE_SCRIPT, 'sh'],
      ...launcher,
      ...(script === undefined ? [] : ['sh', '-c', script, 'sh']),
      ...(root ? [] : ['setpriv', `--reuid=${UID}`, `--regid=${UID}`, '--clear-groups', '--']),
      ...argv,
    ]);
  }

  /** The whole command line of `tunnel exec ARGS`, for a process in the client. */
  argv(args: readonly string[], options: ExecOptions = {}): string[] {
    return this.userArgv([process.execPath, MAIN, 'exec', '-r', REMOTE, ...args], options);
  }

  exec(args: readonly string[], options: ExecOptions & RunOptions = {}): Promise<ExecResult> {
    return this.lab.client.exec(this.argv(args, options), {
      timeout: TIMEOUT_MS,
      ...this.#inside(options),
    });
  }

  /** Starts uplinkserver.ts. */
  async startUplinkServer(): Promise<void> {
    const server = await this.lab.uplink.spawn([process.execPath, UPLINK_SERVER]);
    await server.waitForLine(/ready\n/);
  }

  spawn(args: readonly string[], options: ExecOptions = {}): Promise<Child> {
    return this.lab.client.spawn(this.argv(args, options), this.#inside(options));
  }

  close(): Promise<void> {
    return this.lab.close();
  }

  #inside<T extends ExecOptions>(options: T): T & { env: Record<string, string> } {
    return { ...options, env: { HOME: this.home, ...options.env } };
  }
}
