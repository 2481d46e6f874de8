/** The program itself, as `tunnel proxy`, with jump hosts on the loopback device. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Child } from './process.ts';
import { MAIN } from './tunnel.ts';

export interface LoopbackProgramOptions {
  /** Of ssh-agent. */
  readonly agentSocket?: string;
  /** Its ssh_config. */
  readonly configFile?: string;
  /** A module that Node loads before the program. */
  readonly preload?: string;
}

/** `tunnel proxy` with these arguments, without the user's files. A new session: no terminal. */
export async function startProxyProgram(
  args: readonly string[],
  { agentSocket, configFile = 'none', preload }: LoopbackProgramOptions = {},
): Promise<Child> {
  const home = mkdtempSync(join(tmpdir(), 'tunnel-home-'));
  const { PATH = '', XDG_RUNTIME_DIR } = process.env;
  const child = await Child.start(
    [
      ...['setsid', process.execPath, ...(preload === undefined ? [] : ['--import', preload])],
      ...[MAIN, 'proxy', '-F', configFile, ...args],
    ],
    {
      env: {
        PATH,
        HOME: home,
        ...(XDG_RUNTIME_DIR === undefined ? {} : { XDG_RUNTIME_DIR }),
        ...(agentSocket === undefined ? {} : { SSH_AUTH_SOCK: agentSocket }),
      },
    },
  );
  void child.exited.then(() => rmSync(home, { recursive: true, force: true }));
  return child;
}
