/**
 * -D: a program that its caller waits for only until it is ready.
 *
 *   first process                     second process: the program again
 *   startDaemon()  ── starts ──►      DaemonLink.take()
 *        │                              │  asks, logs and fails at the same terminal
 *        │ waits, passes signals on     │  ready
 *        ◄───────── READY ───────────  detached(), after it has left the terminal
 *   ends with 0                         runs on
 *
 * Node can't fork, and setsid(2) would take the terminal away from which passwords are asked for.
 * So the second process stays in the session and the process group of the first one until it is
 * ready. Then it is no leader of its group, and can leave. If it ends before that, the first one
 * ends with its status; if the first one is lost, it stops in order.
 */
import { spawn } from 'node:child_process';
import { closeSync, fstatSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { requireLinux } from '../../base/platform.ts';
import { addon } from '../../native/addon.ts';
import { inheritedDescriptors } from '../launcher/inherited.ts';
import { superviseJob } from '../launcher/job.ts';

/** Tells the second process which descriptor leads to the first one. */
export const DAEMON_VARIABLE = 'TUNNEL_DAEMON_FD';
const READY = 'READY=1\n';
const FIRST_FREE_FD = 3;

export interface DaemonStart {
  /** The program and its own options, without the arguments. */
  readonly program: readonly [string, ...string[]];
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
}

/** The second process is ready, or has ended with a status, as a shell would report it. */
export type DaemonOutcome = { readonly pid: number } | { readonly status: number };

/**
 * Starts the program a second time. Call it before this process has opened anything itself. Rejects
 * with TunnelError `native-missing`, or the error of spawn(2).
 */
export function startDaemon({ program, args, env }: DaemonStart): Promise<DaemonOutcome> {
  requireLinux('-D');
  addon(); // it keeps what else this process was started with from its children
  const [file, ...options] = program;
  const inherited = inheritedDescriptors(args);
  const own = Math.max(FIRST_FREE_FD - 1, ...inherited) + 1;
  const stdio = Array.from({ length: own + 1 }, (_, fd) => {
    if (fd === own) return 'pipe' as const;
    return fd < FIRST_FREE_FD || inherited.includes(fd) ? fd : ('ignore' as const);
  });
  const child = spawn(file, [...options, ...args], {
    stdio,
    env: { ...env, [DAEMON_VARIABLE]: String(own) },
  });
  for (const fd of inherited) closeSync(fd); // whoever reads it waits for its end
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    const { pid } = child;
    if (pid === undefined) return;
    const job = superviseJob({ pid, kill: (signal) => void child.kill(signal) });
    let said = '';
    const link = child.stdio[own];
    link?.on('error', () => {}); // the child's end tells more
    if (link instanceof Socket)
      link.setEncoding('utf8').on('data', (text: string) => {
        said = `${said}${text}`.slice(0, READY.length);
        if (said !== READY) return;
        job.end();
        resolve({ pid });
      });
    child.once('exit', (status, signal) => {
      resolve({ status: job.statusOf({ status, signal }) });
      job.end();
    });
  });
}

/** The second process's end of it. */
export class DaemonLink {
  readonly fd: number;
  #socket: Socket | undefined;

  private constructor(fd: number) {
    this.fd = fd;
  }

  /**
   * The link that `env` names, which no program that is started later sees. Undefined: there is
   * none, this process was started by the user.
   */
  static take(env: NodeJS.ProcessEnv): DaemonLink | undefined {
    const text = env[DAEMON_VARIABLE];
    delete env[DAEMON_VARIABLE];
    if (text === undefined || !/^[1-9]\d{0,4}$/.test(text)) return undefined;
    const fd = Number(text);
    try {
      return fd >= FIRST_FREE_FD && fstatSync(fd).isSocket() ? new DaemonLink(fd) : undefined;
    } catch {
      return undefined; // EBADF: somebody has set the variable
    }
  }

  /** Calls `lost` if the first process ends before this one is ready. */
  watch(lost: () => void): void {
    const socket = new Socket({ fd: this.fd, readable: true, writable: true });
    this.#socket = socket.on('error', () => {}).on('close', lost);
    socket.resume().unref();
  }

  /** Lets the first process end. */
  detached(): void {
    this.#socket?.removeAllListeners('close');
    try {
      writeSync(this.fd, READY);
    } catch {
      // It has just been lost, and nobody waits any more.
    }
    if (this.#socket === undefined) closeSync(this.fd);
    else this.#socket.destroy();
    this.#socket = undefined;
  }
}
