/**
 * For the tests of systems with a jump host of their own (test/interop/systems-*.test.ts): every
 * way of carrying a connection, fronts of haproxy, and what the server has seen.
 */
import assert from 'node:assert/strict';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { API1, JUMPHOST_PRIVATE4 } from './addresses.ts';
import type { Lab } from './lab.ts';
import type { Child, ExecResult } from './process.ts';
import { MAIN } from './tunnel.ts';

const READY_TIMEOUT_MS = 30_000;
const RUN_TIMEOUT_MS = 60_000;
const FETCH_SECONDS = 20;
const LISTEN_TIMEOUT_MS = 10_000;
const POLL_MS = 50;

export const WAYS = ['connect', 'exec', 'proxy'] as const;
export type Way = (typeof WAYS)[number];

export interface Run {
  /** `-r` and everything else before the targets. */
  readonly args: readonly string[];
  readonly targets: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** http://API1/ by default. */
  readonly url?: string;
  /** Seconds for curl. */
  readonly patience?: number;
}

/** What curl said, and what the program said. */
export interface Fetched extends ExecResult {
  readonly told: string;
}

/** Runs the program without a terminal, and curl through it; both have ended. */
export async function fetchBy(way: Way, lab: Lab, run: Run): Promise<Fetched> {
  const { args, targets, env = {}, url = `http://${API1}/`, patience = FETCH_SECONDS } = run;
  const curl = ['curl', '-sS', '--max-time', String(patience), url];
  if (way === 'exec') {
    const argv = ['setsid', process.execPath, MAIN, 'exec', ...args, ...targets, '--', ...curl];
    const result = await lab.client.exec(argv, { env, timeout: RUN_TIMEOUT_MS });
    return { ...result, told: result.stderr };
  }
  const tunnel = await start(way, lab, run);
  try {
    return { ...(await lab.client.exec([...curl, ...proxied(tunnel)])), told: tunnel.stderr };
  } finally {
    await tunnel.stop('SIGINT');
  }
}

/** curl's option for the proxy of `tunnel proxy`; none for connect. */
export function proxied(tunnel: Child): string[] {
  const [, address] = /proxy at (\S+:\d+)/.exec(tunnel.stderr) ?? [];
  return address === undefined ? [] : ['-x', `socks5h://${address}`];
}

/** The program without a terminal, ready. */
export async function start(
  way: Exclude<Way, 'exec'>,
  lab: Lab,
  { args, targets, env = {} }: Run,
): Promise<Child> {
  const tunnel = await lab.client.spawn(
    ['setsid', process.execPath, MAIN, way, ...args, ...targets],
    { env },
  );
  await tunnel.waitForLine(/tunnel: ready\n/, READY_TIMEOUT_MS);
  return tunnel;
}

/** The API has answered, and saw the jump host's address. */
export function assertReached({ stdout, stderr, told }: Fetched, why = ''): void {
  assert.match(stdout, /^\{/, `${stderr}\n${told}\n${why}`);
  assert.equal(JSON.parse(stdout).peer, JUMPHOST_PRIVATE4);
}

/** `tunnel doctor --json`, without a terminal. */
export interface DoctorReport {
  readonly exitStatus: number;
  readonly findings: readonly {
    readonly name: string;
    readonly state: string;
    readonly detail: string;
    readonly hint?: string;
  }[];
}

export async function doctor(
  lab: Lab,
  { args, targets, env = {} }: Run,
): Promise<DoctorReport & { readonly of: (name: string) => string }> {
  const { stdout, stderr } = await lab.client.exec(
    ['setsid', process.execPath, MAIN, 'doctor', '--json', ...args, ...targets],
    { env, timeout: RUN_TIMEOUT_MS },
  );
  assert.notEqual(stdout, '', stderr);
  const report = JSON.parse(stdout) as DoctorReport;
  /** All that is said about one check, its state first. */
  const of = (name: string) =>
    report.findings
      .filter((finding) => finding.name === name)
      .map(({ state, detail, hint = '' }) => `${state}: ${detail} (${hint})`)
      .join('\n');
  return { ...report, of };
}

/** For `logLevel` of an Sshd: its log then names the type of each channel. */
export const CHANNELS_LOGGED = 'DEBUG1';

/** Forwards were opened, and nothing else: by sshd's log at CHANNELS_LOGGED. */
export function assertForwardsOnly(log: string): void {
  const types = [...log.matchAll(/server_input_channel_open: ctype (\S+)/g)].map(
    ([, type = '']) => type,
  );
  assert.deepEqual([...new Set(types)], ['direct-tcpip']);
}

/** Opens a session with ssh: shows that `assertForwardsOnly` would have noticed one. */
export async function assertSessionsShow(lab: Lab, args: readonly string[]): Promise<void> {
  const before = lab.sshd.log().length;
  await lab.client.exec(['ssh', '-F', lab.credentials.sshConfig, ...args, 'jump', 'true']);
  assert.throws(() => assertForwardsOnly(lab.sshd.log().slice(before)), /session/);
}

/** Starts haproxy on the jump host's side; resolves when it listens on the ports. */
export async function startHaproxy(
  lab: Lab,
  sections: string,
  ports: readonly number[],
): Promise<Child> {
  const file = join(lab.directory, `haproxy-${ports.join('-')}.cfg`);
  const times = 'timeout connect 1s\n  timeout client 1h\n  timeout server 1h';
  writeFileSync(file, `defaults\n  mode tcp\n  retries 0\n  ${times}\n${sections}`);
  const haproxy = await lab.jumphost.spawn(['haproxy', '-q', '-db', '-f', file]);
  for (const deadline = performance.now() + LISTEN_TIMEOUT_MS; ; await sleep(POLL_MS)) {
    const { stdout } = await lab.jumphost.exec(['ss', '-ltn']);
    if (ports.every((port) => stdout.includes(`:${port} `))) return haproxy;
    assert.equal(haproxy.ended, undefined, haproxy.stderr);
    assert.ok(performance.now() < deadline, `haproxy doesn't listen: ${stdout}${haproxy.stderr}`);
  }
}

/**
 * The environment with which questions are answered with a text, by a program. It appends the
 * questions to the file `shown`.
 */
export function answering(
  lab: Lab,
  answer: string,
  shown = '/dev/null',
): Readonly<Record<string, string>> {
  const program = join(lab.directory, 'askpass');
  writeFileSync(program, `#!/bin/sh\nprintf '%s' "$1" >>"$SHOWN"\nprintf '%s\\n' "$ANSWER"\n`);
  chmodSync(program, 0o755);
  return {
    SSH_ASKPASS: program,
    SSH_ASKPASS_REQUIRE: 'force',
    ANSWER: answer,
    SHOWN: shown,
  };
}
