/** Whether a host of an ssh_config is trusted: by ssh itself, and by the program. */
import { execFile, spawnSync } from 'node:child_process';
import { readSshOptions } from '../../src/config/sshoptions.ts';
import { TunnelError } from '../../src/errors/errors.ts';
import { Dialler } from '../../src/link/dialler.ts';
import { silentObserver } from '../../src/observe/observer.ts';
import { nobody } from '../../src/ssh/prompter.ts';
import { sshdMissing } from './loopback-sshd.ts';
import { givenOptions, type OptionTexts } from './options.ts';
import type { Verdict } from './trustcases.ts';

/** For `skip`: false, or what is missing. */
export const LACKING =
  sshdMissing || (spawnSync('ssh', ['-V']).status === 0 ? false : 'ssh is not installed');

/** `file`: -F. */
export function sshConnects(file: string, host: string): Promise<boolean> {
  return new Promise((resolve) => {
    const args = ['-n', '-F', file, '-o', 'IdentityAgent=none', host, 'exit 0'];
    execFile('ssh', args, { timeout: 60_000 }, (error) => resolve(error === null));
  });
}

export async function failureOf(options: OptionTexts): Promise<TunnelError | undefined> {
  const { sshOption = [] } = options;
  const lines = [sshOption].flat().map(String);
  const ssh = readSshOptions(
    givenOptions({ ...options, sshOption: [...lines, 'IdentityAgent=none'] }),
  );
  const dialler = new Dialler({ ssh, prompter: nobody('a test'), observer: silentObserver });
  const { signal } = new AbortController();
  try {
    const transport = await dialler.dial(await dialler.locate(signal), signal);
    await transport.close();
    return undefined;
  } catch (error) {
    if (error instanceof TunnelError) return error;
    throw error;
  }
}

export async function verdict(options: OptionTexts): Promise<Verdict> {
  return (await failureOf(options))?.code ?? 'up';
}
