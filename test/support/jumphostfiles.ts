/**
 * What `tunnel jumphost` renders, in the lab: rendered by the program itself, and installed by the
 * commands that the comments of the files give.
 */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DROP_IN } from '../../src/jumphost/sshd.ts';
import { API1, API1_6, API1_NAME, API2, API2_NAME, Port } from './addresses.ts';
import { LabError } from './laberror.ts';
import { mustRun } from './process.ts';
import type { Sshd, SshdOptions } from './sshd.ts';
import { MAIN } from './tunnel.ts';

/** The list that everything here is rendered for, and what it doesn't have. */
export const LISTED = [`${API1_NAME}:80`, `${API1}:80`, `[${API1_6}]:80`];
export const UNLISTED = [
  `${API1}:${Port.echo}`,
  `${API2}:80`,
  `${API2_NAME}:80`,
  '127.0.0.1:22',
  '[::1]:22',
];

/** What the machine has and the test replaces: packages and accounts. */
const NOT_HERE = /^(apt-get|useradd|--key|userdel)/;

export class JumpHostFiles {
  readonly directory = mkdtempSync(join(tmpdir(), 'tunnel-jumphostfiles-'));
  #renderings = 0;

  /** Runs `tunnel jumphost` for LISTED. Returns the directory with the files. */
  async render(...args: readonly string[]): Promise<string> {
    const output = join(this.directory, `rendered-${++this.#renderings}`);
    await mustRun([process.execPath, MAIN, 'jumphost', ...args, '--output', output, ...LISTED]);
    return output;
  }

  /** For an sshd with the drop-in of a rendering, which sees directories of its own. */
  sshdOptions(output: string): Required<Pick<SshdOptions, 'config' | 'binds'>> {
    const root = `${output}-root`;
    const own = (path: string) => join(root, path);
    for (const path of ['libexec', 'cache', 'lib']) mkdirSync(own(path), { recursive: true });
    cpSync('/etc/pam.d', own('pam.d'), { recursive: true });
    return {
      config: [`Include ${join(output, DROP_IN)}`],
      binds: [
        [own('libexec'), '/usr/libexec'],
        [own('cache'), '/var/cache'],
        [own('lib'), '/var/lib'],
        [own('pam.d'), '/etc/pam.d'],
      ],
    };
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/**
 * Runs, on the jump host, the commands below a line of a rendered file's comment, for the user
 * `name`. Returns what they print. Throws LabError when one fails.
 */
export async function followComment(
  sshd: Sshd,
  output: string,
  file: string,
  below: RegExp,
  name: string,
): Promise<string> {
  const comment = readFileSync(join(output, file), 'utf8');
  const [first = ''] = below.exec(comment) ?? [];
  const rest = comment.slice(comment.indexOf(first) + first.length);
  const lines = /^.*\n((?:# {3}.*\n)+)/.exec(rest)?.[1]?.split('\n') ?? [];
  const commands = lines.map((line) => line.replace(/^# +/, '').replaceAll('NAME', name));
  const script = commands.filter((line) => !NOT_HERE.test(line)).join('\n');
  if (first === '' || script.trim() === '')
    throw new LabError('lab-command', `${file} has no commands below ${below}`);
  const { status, stdout, stderr } = await sshd.exec(['sh', '-ec', `cd ${output}\n${script}`]);
  if (status !== 0) throw new LabError('lab-command', `${script}\n${stdout}${stderr}`);
  return stdout;
}
