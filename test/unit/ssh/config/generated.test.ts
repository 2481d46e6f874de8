/**
 * Configurations at random: what ssh -G says about each, and what the program makes of it, with ssh
 * and without. TUNNEL_LONG=1: 2,000 of them.
 *
 *   ssh refuses it           refused with ssh, and without
 *   ssh takes it             with ssh: the same values
 *                            without: the same values, or refused by name
 */
import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { readSshOptions } from '../../../../src/config/sshoptions.ts';
import { UsageError } from '../../../../src/errors/errors.ts';
import { resolveSettings } from '../../../../src/ssh/config/resolve.ts';
import type { SshSettings } from '../../../../src/ssh/settings.ts';
import { givenOptions } from '../../../support/options.ts';
import {
  type GeneratedConfig,
  generateConfig,
  INCLUDED,
} from '../../../support/sshconfiggrammar.ts';
import { NO_SSH } from '../../../support/sshconfiglab.ts';

const COUNT = process.env['TUNNEL_LONG'] === '1' ? 2000 : 100;
/** Another one for each run; TUNNEL_SEED repeats a run. */
const SEED = Number(process.env['TUNNEL_SEED'] ?? Date.now() % 1_000_000);
const MAX_SHOWN = 3;
/** What the program does in another way on purpose: they stand in docs/usage.md. */
const ON_PURPOSE =
  /^-r: "61" has one part|^ProxyJump: .* (through itself|in a row)|ProxyJump: ".*" has a host|ProxyJump ".*" has a space/;

const [, major = '0'] =
  /OpenSSH_(\d+)/.exec(spawnSync('ssh', ['-V'], { encoding: 'utf8' }).stderr ?? '') ?? [];
const skip = Number(major) >= 9 ? false : 'needs ssh 9 or later (package openssh-client)';
const root = mkdtempSync(join(tmpdir(), 'tunnel-generated-'));
after(() => rmSync(root, { recursive: true }));

/** The answer of ssh itself. undefined: it refuses the configuration. */
function askSsh(config: GeneratedConfig, file: string): Promise<Map<string, string[]> | undefined> {
  const args = [
    ...['-T', '-G', '-F', file],
    ...(config.user === undefined ? [] : ['-l', config.user]),
    ...(config.port === undefined ? [] : ['-p', String(config.port)]),
    ...config.sshOptions.flatMap((option) => ['-o', option]),
    ...['--', config.host],
  ];
  return new Promise((resolve) => {
    execFile('ssh', args, (error, stdout) => {
      if (error !== null) return resolve(undefined);
      const values = new Map<string, string[]>();
      for (const line of stdout.split('\n')) {
        const [keyword = '', ...rest] = line.split(' ');
        values.set(keyword, [...(values.get(keyword) ?? []), rest.join(' ')]);
      }
      resolve(values);
    });
  });
}

/** What the program makes of it, or its error. */
async function askTunnel(
  config: GeneratedConfig,
  file: string,
  sshProgram: string,
): Promise<SshSettings | UsageError> {
  const given = givenOptions({
    remote: [config.user === undefined ? config.host : `${config.user}@${config.host}`],
    sshConfig: file,
    ...(config.port === undefined ? {} : { port: String(config.port) }),
    sshOption: [...config.sshOptions],
  });
  try {
    const options = readSshOptions(given);
    return await resolveSettings(options.remotes[0], options, {
      home: userInfo().homedir,
      environment: { PATH: process.env['PATH'] },
      systemDirectory: root,
      sshProgram,
    });
  } catch (error) {
    if (error instanceof UsageError) return error;
    throw error;
  }
}

/** The values in common, as far as ssh tells them. */
function expected(answer: Map<string, string[]>, text: string): object {
  const first = (keyword: string): string => answer.get(keyword)?.[0] ?? '';
  const yes = (keyword: string): boolean => /^(yes|true)$/.test(first(keyword));
  const identities = answer.get('identityfile') ?? [];
  const isDefault = identities[0] === '~/.ssh/id_rsa';
  const timeout = first('connecttimeout');
  const interval = first('serveraliveinterval');
  const alias = answer.get('hostkeyalias')?.[0];
  const jump = answer.get('proxyjump')?.[0];
  const command = answer.get('proxycommand')?.[0];
  const hostFiles = (keyword: string) => {
    const files = first(keyword).split(' ');
    return files.filter((path) => path !== 'none' && path !== '/dev/null');
  };
  const userFiles = hostFiles('userknownhostsfile');
  const strict = first('stricthostkeychecking').replace(/^true$/, 'yes');
  const known = /^(no|off|false)$/.test(strict) ? 'accept-new' : strict;
  return {
    hostName: first('hostname'),
    port: Number(first('port')),
    user: first('user'),
    addressFamily: first('addressfamily'),
    bindAddress: answer.get('bindaddress')?.[0],
    alias,
    userFiles,
    globalFiles: hostFiles('globalknownhostsfile'),
    strict: known === 'accept-new' && userFiles.length === 0 ? 'ask' : known,
    hashNames: yes('hashknownhosts'),
    identities: isDefault
      ? []
      : identities
          .filter((path) => path !== 'none')
          .map((path) =>
            path.replace(/^~root\//, '/root/').replace(/^~\//, `${userInfo().homedir}/`),
          ),
    identitiesOnly: yes('identitiesonly'),
    batch: yes('batchmode'),
    prompts: Number(first('numberofpasswordprompts')),
    methods: (
      answer.get('preferredauthentications')?.[0] ?? 'publickey,keyboard-interactive,password'
    )
      .split(',')
      .filter((name) => name !== 'password' || yes('passwordauthentication'))
      .filter((name) => name !== 'keyboard-interactive' || yes('kbdinteractiveauthentication')),
    connectTimeout: timeout === 'none' ? 15 : Number(timeout),
    // ssh prints 0 for what isn't set, and Debian's 300 with BatchMode.
    interval: interval === '0' || interval === '300' ? unset(text) : Number(interval),
    count: Number(first('serveralivecountmax')),
    proxy:
      jump === undefined
        ? command?.replace(/%h/g, first('hostname')).replace(/%p/g, first('port'))
        : `jump ${last(jump)}`,
  };
}

/** The configurations have 0 only where they switch keepalive off. */
function unset(text: string): number | undefined {
  return /ServerAliveInterval[ =]0/.test(text) ? undefined : 15;
}

/** `user@host:port`, without brackets. */
function last(jump: string): string {
  return (jump.split(',').at(-1) ?? '').replace(/[[\]]/g, '');
}

function actual(settings: SshSettings, wanted: object): object {
  const { hostKeys, authentication, keepalive, proxy } = settings;
  const hop = proxy.kind === 'jump' ? proxy.hops.at(-1) : undefined;
  return {
    hostName: settings.hostName,
    port: settings.port,
    user: settings.user,
    addressFamily: settings.addressFamily,
    bindAddress: settings.bindAddress,
    alias: hostKeys.alias,
    userFiles: hostKeys.userFiles,
    globalFiles: hostKeys.globalFiles,
    strict: hostKeys.strict,
    hashNames: hostKeys.hashNames,
    identities: authentication.identityFiles.map(({ path }) => path),
    identitiesOnly: authentication.identitiesOnly,
    batch: authentication.batch,
    prompts: authentication.numberOfPasswordPrompts,
    methods: authentication.methods,
    connectTimeout: settings.connectTimeout,
    interval:
      (wanted as { interval?: number }).interval === undefined ? undefined : keepalive.interval,
    count: keepalive.count,
    proxy:
      proxy.kind === 'command' ? proxy.command : hop === undefined ? undefined : `jump ${hop.name}`,
  };
}

interface Tally {
  taken: number;
  refused: number;
  byName: number;
}

/** Throws AssertionError. */
async function compare(seed: number, tally: Tally): Promise<void> {
  const config = generateConfig(seed);
  const path = (name: string): string => join(root, `${seed}-${name}`);
  const write = (name: string, text: string): void =>
    writeFileSync(
      path(name),
      text.replace(INCLUDED, (_, n) => path(`included${n}`)),
      {
        mode: 0o600,
      },
    );
  config.included.forEach((text, index) => {
    write(`included${index}`, text);
  });
  write('main', config.main);
  const file = path('main');
  const { included, main, ...line } = config;
  const shown = `seed ${seed}: ${JSON.stringify(line)}\n${[main, ...included].join('\n---\n')}`;
  const [answer, withSsh, without] = await Promise.all([
    askSsh(config, file),
    askTunnel(config, file, 'ssh'),
    askTunnel(config, file, NO_SSH),
  ]);
  if (answer === undefined) {
    tally.refused += 1;
    assert.ok(withSsh instanceof UsageError, `ssh refuses it. ${shown}`);
    assert.ok(without instanceof UsageError, `without ssh: ssh refuses it. ${shown}`);
    return;
  }
  const wanted = expected(answer, shown);
  for (const [how, settings] of [
    ['with ssh', withSsh],
    ['without ssh', without],
  ] as const) {
    if (settings instanceof UsageError) {
      if (ON_PURPOSE.test(settings.message)) continue;
      const isByName = how === 'without ssh' && settings.message.includes('without ssh on this');
      assert.ok(isByName, `${how}: ${settings.message}. ${shown}`);
      tally.byName += 1;
      continue;
    }
    assert.deepEqual(actual(settings, wanted), simplified(wanted), `${how}: ${shown}`);
    tally.taken += 1;
  }
}

/** Of a hop only the name is compared: its user and port come from its own section as well. */
function simplified(wanted: object): object {
  const { proxy } = wanted as { proxy?: string };
  if (proxy?.startsWith('jump ') !== true) return wanted;
  return { ...wanted, proxy: proxy.replace(/ .*@/, ' ').replace(/:\d+$/, '') };
}

describe('configurations at random', { skip }, () => {
  it(`come to what ssh -G says (TUNNEL_SEED=${SEED})`, { timeout: 590_000 }, async (t) => {
    const tally = { taken: 0, refused: 0, byName: 0 };
    const wrong: string[] = [];
    for (let n = 0; n < COUNT && wrong.length < MAX_SHOWN; n += 1) {
      try {
        await compare(SEED + n, tally);
      } catch (error) {
        wrong.push(error instanceof Error ? error.message : String(error));
      }
    }
    assert.equal(wrong.length, 0, wrong.join('\n\n'));
    // Otherwise they would show nothing.
    assert.ok(tally.taken > COUNT, JSON.stringify(tally));
    assert.ok(tally.refused > COUNT / 50 && tally.refused < COUNT / 2, JSON.stringify(tally));
    assert.ok(tally.byName < COUNT / 2, JSON.stringify(tally));
    t.diagnostic(`${COUNT} configurations: ${JSON.stringify(tally)}`);
  });
});
