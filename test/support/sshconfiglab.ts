/**
 * Homes with their own ssh_config, and the two ways to resolve it: with the real `ssh -G`, and
 * without ssh. `both` requires that the results are equal.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { after } from 'node:test';
import { readSshOptions } from '../../src/config/sshoptions.ts';
import { type ResolveContext, resolveSettings } from '../../src/ssh/config/resolve.ts';
import type { Remote, SshOptions } from '../../src/ssh/options.ts';
import type { SshSettings } from '../../src/ssh/settings.ts';
import { givenOptions, type OptionTexts } from './options.ts';

/** For `skip`: false, or what is missing. */
export const LACKING =
  spawnSync('ssh', ['-V']).status === 0 ? false : 'ssh is missing (package openssh-client)';
/** A value of `sshProgram` for a machine without ssh. */
export const NO_SSH = '/nonexistent/ssh';
export const CALLER = userInfo().username;
const root = mkdtempSync(join(tmpdir(), 'tunnel-sshconfig-'));
after(() => rmSync(root, { recursive: true }));

let homes = 0;
export interface Lab {
  readonly home: string;
  readonly context: ResolveContext;
  readonly logged: { level: string; message: string; fields: unknown }[];
}

/**
 * Makes a home and an /etc/ssh; `files` are relative to the home, `system` is the system's
 * ssh_config.
 */
export function lab(
  config: string,
  files: Readonly<Record<string, string>> = {},
  system = '',
): Lab {
  homes += 1;
  // With a space, because all code must keep it.
  const home = join(root, `home ${homes}`);
  const write = (path: string, text: string) => {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text, { mode: 0o600 });
  };
  write(join(home, '.ssh/config'), config);
  write(join(home, 'etc/ssh_config'), system);
  for (const [path, text] of Object.entries(files)) write(join(home, path), text);
  const logged: Lab['logged'] = [];
  return {
    home,
    logged,
    context: {
      home,
      systemDirectory: join(home, 'etc'),
      environment: {
        PATH: process.env['PATH'],
        SSH_AUTH_SOCK: '/run/agent',
        AGENT: '/run/other',
        DIR: '/srv',
      },
      observer: {
        log: (level, message, fields) => logged.push({ level, message, fields }),
        count() {},
      },
    },
  };
}

export function options(
  remote: string,
  more: OptionTexts = {},
): { ssh: SshOptions; remote: Remote } {
  const ssh = readSshOptions(givenOptions({ remote: [remote], ...more }));
  return { ssh, remote: ssh.remotes[0] };
}

export function resolve(
  { context }: Lab,
  remote: string,
  more: OptionTexts = {},
  changed: ResolveContext = {},
): Promise<SshSettings> {
  const { ssh, remote: first } = options(remote, more);
  return resolveSettings(first, ssh, { ...context, ...changed });
}

/** Resolves both ways; the results must agree. */
export async function both(
  where: Lab,
  remote: string,
  more: OptionTexts = {},
): Promise<SshSettings> {
  const asked = await resolve(where, remote, more);
  assert.deepEqual(await resolve(where, remote, more, { sshProgram: NO_SSH }), asked);
  return asked;
}

/** The printed settings that a test is about. */
export function pick(settings: SshSettings, expected: object): object {
  return Object.fromEntries(
    Object.keys(expected).map((key) => [key, settings[key as keyof SshSettings]]),
  );
}
