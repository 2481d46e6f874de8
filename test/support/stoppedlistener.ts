/** An address that drops SYNs, without a packet filter. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { Destination } from '../../src/net/destination.ts';

/**
 * A process that listens and is then stopped, with a full accept queue: the kernel drops further
 * SYNs, as a firewall would. `answer` lets it go on; it then counts what it has accepted.
 */
export class StoppedListener {
  readonly destination: Destination;
  readonly #child: ChildProcess;
  readonly #fillers: Socket[];

  private constructor(destination: Destination, child: ChildProcess, fillers: Socket[]) {
    this.destination = destination;
    this.#child = child;
    this.#fillers = fillers;
  }

  static async start(): Promise<StoppedListener> {
    const child = fork(fileURLToPath(new URL('./listener.js', import.meta.url)), {
      stdio: 'ignore',
    });
    const [port] = (await once(child, 'message')) as [number];
    child.kill('SIGSTOP');
    const fillers: Socket[] = [];
    for (;;) {
      const socket = connect(port, '127.0.0.1');
      socket.on('error', () => {
        // It may be reset when the listener is killed.
      });
      fillers.push(socket);
      const connected = once(socket, 'connect').then(() => true);
      if (
        !(await Promise.race([
          connected,
          new Promise((resolve) => setTimeout(resolve, 150, false)),
        ]))
      )
        break;
    }
    return new StoppedListener({ host: '127.0.0.1', port }, child, fillers);
  }

  answer(): void {
    for (const socket of this.#fillers) socket.destroy();
    this.#child.kill('SIGCONT');
  }

  /** One connection in addition to the fillers was accepted, and all are closed. */
  get closed(): Promise<void> {
    const fillers = this.#fillers.length;
    return new Promise((resolve) => {
      this.#child.on('message', (report: { accepted: number; open: number }) => {
        // The last filler never connected: it was destroyed before the queue had space.
        if (report.accepted >= fillers && report.open === 0) resolve();
      });
    });
  }

  kill(): void {
    for (const socket of this.#fillers) socket.destroy();
    this.#child.kill('SIGKILL');
  }
}
