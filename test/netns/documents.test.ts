/**
 * The command lines of the documents, run as they are written in a lab that is what they speak of
 * (documentlab.ts). What can't be run has a reason here, and is counted.
 *
 *   connect, proxy    start, are ready, reach what they name, and end in order
 *   -D, up            return when they are ready, and are stopped
 *   exec              their command reaches what it wants
 *   others            end with 0
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { commandNamed } from '../../src/cli/commands.ts';
import { DocumentLab } from '../support/documentlab.ts';
import { DOTS, PAGES, readPage, tunnelLinesIn } from '../support/documents.ts';
import { labUnavailable } from '../support/lab.ts';
import type { Child } from '../support/process.ts';

const READY_MS = 30_000;

/** Why a line isn't run; each row has to fit some line. */
const NOT_RUN: readonly (readonly [line: RegExp, reason: string])[] = [
  [/--watch/, 'needs a terminal: interop/status-watch'],
  [/--key agent/, 'needs an agent with keys: unit/config/jumphostkeys'],
  [/--flow-log journal/, "needs systemd's journal: unit/record/journal"],
  [
    /primehub|a01ac8894|~pod=/,
    'needs the user names of another server: interop/systems has that server',
  ],
];

/** Words that can't be as they are written. */
const SUBSTITUTED: readonly (readonly [word: RegExp, by: (lab: DocumentLab) => string])[] = [
  [DOTS, (lab) => lab.pin],
  [/^SHA256:\S{43}$/, (lab) => lab.pin],
  [/^ssh-ed25519 AAAA\S+ jump$/, (lab) => lab.hostKey],
  [/^\.\.\.$/, () => 'http://10.0.0.5/'],
  [/^\$(RUNNER_TEMP\/key|JUMPHOST_KEY)$/, (lab) => lab.path('~/.ssh/cloud')],
  [/^~\//, (lab) => lab.path('~/')],
  [/^\/var\/log\/tunnel\//, (lab) => lab.path('~/')],
];

const LINES = new Map(
  PAGES.flatMap((page) =>
    tunnelLinesIn(readPage(page)).map(({ args }) => [args.join(' '), { page, args }] as const),
  ),
);

describe('lines of the documents', {
  skip: labUnavailable('openssl', 'unshare', 'curl', 'dnsmasq', 'setpriv'),
}, () => {
  let lab: DocumentLab;
  before(async () => {
    lab = await DocumentLab.create();
  });
  after(() => lab?.close());

  const substituted = (args: readonly string[]): string[] =>
    args.map((word) => {
      const [pattern, by] = SUBSTITUTED.find(([it]) => it.test(word)) ?? [];
      return pattern === undefined || by === undefined ? word : word.replace(pattern, by(lab));
    });

  async function reaches(...argv: readonly string[]): Promise<void> {
    const { status, stderr } = await lab.run(['curl', '-fsS', '--max-time', '15', ...argv]);
    assert.equal(status, 0, `${argv.join(' ')}: ${stderr}`);
  }

  /** What runs until it is stopped. */
  async function starts(args: readonly string[]): Promise<void> {
    const tunnel = await lab.start(args);
    try {
      await tunnel.waitForLine(/tunnel: (ready|waiting \(on demand\))/, READY_MS);
      const [, proxy] = /proxy at ([^\s,]+)/.exec(tunnel.stderr) ?? [];
      const scheme = args.includes('--socks') ? 'socks5h' : 'http';
      const cloud = args.includes('--os-cloud');
      if (proxy !== undefined && !cloud)
        await reaches('-x', `${scheme}://${proxy}`, 'http://10.0.0.5/');
      else if (args.some((word) => /^10(\.0\.0\.0)?\/8$/.test(word)))
        await reaches('http://10.0.0.5/');
      else if (cloud && proxy === undefined) await reaches('http://keystone.cloud.example:5000/');
    } finally {
      const { status } = await tunnel.stop('SIGINT', READY_MS);
      assert.equal(status, 0, tunnel.stderr);
    }
  }

  async function ends(args: readonly string[], statuses: readonly number[] = [0]): Promise<void> {
    const program: Child = await lab.start(args);
    const { status } = await program.wait(READY_MS);
    assert.ok(
      statuses.includes(status ?? -1),
      `status ${status}\n${program.stdout}${program.stderr}`,
    );
  }

  async function stopAll(): Promise<void> {
    for (const pid of lab.running()) await lab.tunnel(['stop', String(pid)]);
  }

  /** `tunnel stop lab` and the like need one of that name. */
  async function run(name: string): Promise<void> {
    const { status } = await lab.tunnel(['status', name]);
    if (status !== 0) await ends(['-D', '--name', name, '-r', 'user@jumphost', '10.77.0.0/16']);
  }

  for (const [text, { page, args }] of LINES) {
    const [, reason] = NOT_RUN.find(([pattern]) => pattern.test(text)) ?? [];
    it(`${page}: tunnel ${text}`, { skip: reason ?? false }, async () => {
      const own = substituted(args);
      const command = commandNamed(own[0]) ?? 'connect';
      if (['status', 'stop', 'down', 'reconnect', 'reload'].includes(command)) {
        const name = own.slice(1).find((word) => !word.startsWith('-'));
        if (name !== undefined) await run(name);
        await ends(own);
        await stopAll();
      } else if (command === 'connect' || command === 'proxy' || own.includes('--foreground')) {
        if (own.includes('--save')) return ends(own);
        if (!own.includes('-D')) return starts(own);
        await ends(own);
        await stopAll();
      } else if (command === 'up') {
        await ends(own);
        await stopAll();
      } else await ends(own);
      return undefined;
    });
  }

  it('that are not run have a reason that is needed', () => {
    const lines = [...LINES.keys()];
    for (const [pattern] of NOT_RUN)
      assert.ok(
        lines.some((line) => pattern.test(line)),
        String(pattern),
      );
    for (const [pattern] of SUBSTITUTED)
      assert.ok(
        [...LINES.values()].some(({ args }) => args.some((word) => pattern.test(word))),
        String(pattern),
      );
    const left = lines.filter((line) => NOT_RUN.some(([pattern]) => pattern.test(line)));
    assert.ok(
      left.length * 10 <= lines.length,
      `${left.length} of ${lines.length} lines are not run`,
    );
  });
});
