/**
 * The command of `tunnel exec` where there is no launcher: on other systems than Linux, and where
 * the native part is missing. Node starts it, with the same words, environment, terminal and
 * standard descriptors. It keeps Node's limit on descriptors, which is the hard one, and arguments
 * are text.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { TunnelError } from '../../errors/errors.ts';
import { commandNotStarted } from './errors.ts';
import {
  type CommandStatus,
  exitOf,
  type LaunchOptions,
  namedDescriptors,
  type PreparedCommand,
} from './launcher.ts';
import type { CommandSetup, CommandUser, Variables } from './protocol.ts';

/** Nothing is started before execute(). */
export function preparePlain({ command }: LaunchOptions<CommandSetup>): PreparedCommand {
  return new PlainCommand(command);
}

class PlainCommand implements PreparedCommand {
  readonly #words: readonly string[];
  #child: ChildProcess | undefined;
  #exited: ((status: CommandStatus) => void) | undefined;
  readonly #whenExited = new Promise<CommandStatus>((resolve) => {
    this.#exited = resolve;
  });
  #end: ((error: undefined) => void) | undefined;
  readonly ended = new Promise<TunnelError | undefined>((resolve) => {
    this.#end = resolve;
  });

  constructor(words: readonly string[]) {
    this.#words = words;
  }

  readonly user: CommandUser = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };

  get command() {
    return {
      pid: this.#child?.pid ?? 0,
      exited: this.#whenExited,
      kill: (signal: NodeJS.Signals) => void this.#child?.kill(signal),
    };
  }

  async execute(variables: Variables = {}): Promise<void> {
    const [file = '', ...args] = this.#words;
    const stdio: (number | 'ignore')[] = [0, 1, 2];
    for (const fd of namedDescriptors(args)) stdio[fd] = fd;
    await new Promise<void>((resolve, reject) => {
      const failed = (cause: unknown) => reject(commandNotStarted(file, cause));
      let child: ChildProcess;
      try {
        child = spawn(file, args, {
          stdio: Array.from(stdio, (fd) => fd ?? 'ignore'),
          env: { ...process.env, ...variables },
        });
      } catch (cause) {
        failed(cause);
        return;
      }
      this.#child = child;
      child.once('error', failed);
      child.once('spawn', resolve);
      void exitOf(child).then((status) => this.#exited?.(status));
    });
    this.#end?.(undefined);
  }

  close(): void {
    this.#end?.(undefined);
  }
}
