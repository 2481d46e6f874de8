/**
 * What every process of the program may do and has open, read from /proc in real runs: the table
 * "Processes and their privileges" of docs/security.md. UPDATE_GOLDEN=1 writes it.
 */
import assert from 'node:assert/strict';
import { chmodSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { HOSTPIN_PATH } from '../../src/native/addon.ts';
import { JUMPHOST4, PRIVATE4, SILENT4 } from '../support/addresses.ts';
import { UID } from '../support/etc.ts';
import { MARK, privilegesOf, variablesOf } from '../support/privileges.ts';
import { allProcesses, type ProcessEntry, withDescendants } from '../support/processtable.ts';
import { SudoLab, sudoUnavailable } from '../support/sudolab.ts';
import { REMOTE } from '../support/tunnel.ts';

const DOCUMENT = fileURLToPath(new URL('../../../docs/security.md', import.meta.url));
const LAUNCHER = fileURLToPath(new URL('../../../tunnel', import.meta.url));
const HEAD = [
  '| process | started by | user | capabilities | bounding set | no_new_privs | filter | memory | core | open | environment |',
  '|---|---|---|---|---|---|---|---|---|---|---|',
];
const TITLE = '\n## Processes and their privileges\n';
/** Until all processes of a run are there. */
const STARTS_WITHIN_MS = 20_000;
/**
 * A row that the document has is taken at once; another one when it has had this time to change:
 * some things are open only while a process starts.
 */
const SETTLES_WITHIN_MS = process.env['UPDATE_GOLDEN'] === '1' ? 1000 : 5000;

/** Whether a process is the one that is looked for. */
type Is = (found: {
  readonly exe: string;
  readonly uid: string;
  readonly above: string;
}) => boolean;

const node =
  (user: number): Is =>
  ({ exe, uid }) =>
    exe === 'node' && uid === String(user);
const named =
  (name: string): Is =>
  ({ exe }) =>
    exe === name;
const HELPER: Is = ({ exe, above }) => exe === 'tunnel-helper' && above !== 'tunnel-helper';
const READER: Is = ({ exe, above }) => exe === 'tunnel-helper' && above === 'tunnel-helper';
const NC: Is = ({ exe, above }) => above === 'node' && /^nc(at|\.\w+)?$/.test(exe);

interface Run {
  /** How it is started, as the table says it. */
  readonly by: string;
  readonly argv: readonly string[];
  /** As root, whom nobody has called. */
  readonly root?: boolean;
  /** What root does in its mount namespace first. */
  readonly first?: string;
  /** It doesn't get ready. */
  readonly held?: boolean;
  readonly processes: Readonly<Record<string, Is>>;
}

const AS = { sudo: ['sudo', '-n', '--preserve-env=NODE_OPTIONS'], doas: ['doas', '-n'] } as const;
const CONNECT = [LAUNCHER, '-r', REMOTE];
const OPENSSH = [...CONNECT, '--transport', 'openssh'];
const EXEC = [LAUNCHER, 'exec', '-v', '-r', REMOTE, PRIVATE4, '--', 'sleep', '1000'];
const HELD = [LAUNCHER, 'exec', '-r', `nobody@${SILENT4}`, PRIVATE4, '--', 'sleep', '1000'];
const PROXY = [LAUNCHER, 'proxy', '-r', REMOTE, '--socks', '127.0.0.1:10808'];
const BEHIND = [...CONNECT, '-o', `ProxyCommand=nc ${JUMPHOST4} 22`];
const NO_TUN = 'mount -t tmpfs tmpfs /dev/net';

const own = { program: node(UID), helper: HELPER, 'its reader of resolv.conf': READER };
const split = { 'the part that is root': node(0), ...own };

function runs(home: string): readonly Run[] {
  const keys = ['-i', join(home, '.ssh/id_ed25519')];
  const hosts = ['-o', `UserKnownHostsFile=${join(home, '.ssh/known_hosts')}`];
  const waits = join(home, 'waits');
  return [
    { by: 'a user', argv: [...CONNECT, PRIVATE4], processes: own },
    {
      by: 'a user',
      argv: [...OPENSSH, PRIVATE4],
      processes: { 'program, with ssh': node(UID), ssh: named('ssh') },
    },
    {
      by: 'a user with `-e`',
      argv: [...OPENSSH, '-e', 'ssh', PRIVATE4],
      processes: { ssh: named('ssh'), 'tunnel-guard': named('tunnel-guard') },
    },
    {
      by: 'a user with `-e "sudo ssh"`',
      argv: [...OPENSSH, '-e', 'sudo -n ssh', ...keys, ...hosts, PRIVATE4],
      processes: { ssh: named('ssh'), 'tunnel-guard': named('tunnel-guard') },
    },
    { by: 'a user', argv: [...BEHIND, PRIVATE4], processes: { ProxyCommand: NC } },
    {
      by: 'a user',
      argv: [LAUNCHER, '-r', `nobody@${SILENT4}`, '--transport', 'openssh', '192.0.2.64/27'],
      held: true,
      processes: { 'tunnel-dial': named('tunnel-dial') },
    },
    {
      // It ends within milliseconds, so another program waits in its place.
      by: 'a user',
      argv: [...OPENSSH, '--host-key', `SHA256:${'A'.repeat(43)}`, PRIVATE4],
      first: `mount --bind ${waits} ${HOSTPIN_PATH}`,
      held: true,
      processes: { 'tunnel-hostpin': ({ exe, above }) => exe === 'sleep' && above === 'ssh' },
    },
    { by: 'sudo', argv: [...AS.sudo, ...CONNECT, PRIVATE4], processes: split },
    { by: 'doas', argv: [...AS.doas, ...CONNECT, PRIVATE4], processes: split },
    {
      by: 'sudo',
      argv: [...AS.sudo, ...OPENSSH, PRIVATE4],
      processes: { 'program, with ssh': node(UID), ssh: named('ssh') },
    },
    {
      by: 'sudo with `-e`',
      argv: [...AS.sudo, ...OPENSSH, '-e', 'ssh', PRIVATE4],
      processes: { ssh: named('ssh'), 'tunnel-guard': named('tunnel-guard') },
    },
    {
      by: 'sudo',
      argv: [...AS.sudo, ...BEHIND, PRIVATE4],
      processes: { ProxyCommand: NC },
    },
    {
      by: 'root',
      argv: [...CONNECT, PRIVATE4],
      root: true,
      processes: { program: node(0), helper: HELPER },
    },
    {
      by: 'root',
      argv: [...OPENSSH, PRIVATE4],
      root: true,
      processes: { 'program, with ssh': node(0), ssh: named('ssh') },
    },
    {
      by: 'a user',
      argv: HELD,
      held: true,
      processes: { '`exec`: launcher': named('tunnel-launcher') },
    },
    {
      by: 'sudo',
      argv: [...AS.sudo, ...HELD],
      held: true,
      processes: { '`exec`: launcher': named('tunnel-launcher') },
    },
    ...(
      [
        ['a user', EXEC, UID],
        ['sudo', [...AS.sudo, ...EXEC], UID],
        ['doas', [...AS.doas, ...EXEC], UID],
        ['root', EXEC, 0],
      ] as const
    ).map(([by, argv, user]) => ({
      by,
      argv,
      root: user === 0,
      processes: { '`exec`: program': node(user), '`exec`: command': named('sleep') },
    })),
    ...(
      [
        ['a user', EXEC],
        ['sudo', [...AS.sudo, ...EXEC]],
      ] as const
    ).map(([by, argv]) => ({
      by,
      argv,
      first: NO_TUN,
      processes: {
        '`exec` with proxies: program': node(UID),
        '`exec` with proxies: command': named('sleep'),
      },
    })),
    { by: 'a user', argv: PROXY, processes: { '`proxy`: program': node(UID) } },
    {
      by: 'sudo',
      argv: [...AS.sudo, ...PROXY],
      processes: { '`proxy`: the part that is root': node(0), '`proxy`: program': node(UID) },
    },
  ];
}

/** A row of the table: its process and what /proc says, and who starts such a process. */
interface Row {
  readonly process: string;
  readonly by: Set<string>;
  readonly cells: string;
}

function tableOf(rows: readonly Row[]): string {
  const lines = rows.map(
    ({ process, by, cells }) => `| ${process} | ${[...by].join(', ')} | ${cells} |`,
  );
  return [...HEAD, ...lines].join('\n');
}

function exeOf(pid: number): string {
  try {
    return basename(readlinkSync(`/proc/${pid}/exe`));
  } catch {
    return ''; // it has ended, or is the kernel's
  }
}

const uidOf = (pid: number) =>
  /^Uid:\t(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? '';

describe('processes and their privileges', {
  skip: sudoUnavailable('python3', 'doas', 'ssh', 'nc'),
}, () => {
  const document = readFileSync(DOCUMENT, 'utf8');
  const rows: Row[] = [];
  let sudo: SudoLab;
  let full: bigint;
  before(async () => {
    sudo = await SudoLab.create();
    const own = readFileSync('/proc/self/status', 'latin1');
    full = BigInt(`0x${/^CapPrm:\t(\w+)$/m.exec(own)?.[1]}`);
    const waits = join(sudo.exec.home, 'waits');
    writeFileSync(waits, '#!/bin/sh\nexec sleep 1000\n');
    chmodSync(waits, 0o755);
  });
  afterEach(() => sudo.end());
  after(async () => {
    await sudo?.close();
  });

  /** The processes of a run: below the one that has been started, or detached in its network. */
  function processesOf(root: number, others: ReadonlySet<number>): readonly ProcessEntry[] {
    const all = allProcesses().filter(({ pid }) => !others.has(pid));
    const network = all.find(({ pid }) => pid === root)?.netns;
    if (network === undefined) return [];
    const ours = withDescendants(
      [root, ...all.filter(({ netns }) => netns === network).map(({ pid }) => pid)],
      all,
    );
    return all.filter(({ pid }) => ours.has(pid));
  }

  /** The rows of those that are there now. Throws if one is missing or has just ended. */
  function look(run: Run, root: number, others: ReadonlySet<number>): Map<string, string> {
    const processes = processesOf(root, others);
    const found = new Map<string, string>();
    for (const [name, is] of Object.entries(run.processes)) {
      const entry = processes.find(({ pid, parent }) =>
        is({ exe: exeOf(pid), uid: uidOf(pid), above: exeOf(parent) }),
      );
      assert.ok(entry, `there is no ${name}`);
      const { pid } = entry;
      found.set(name, Object.values(privilegesOf(pid, UID, full)).join(' | '));
      const isRoots = uidOf(pid) === '0' && run.root !== true;
      if (exeOf(pid) === 'node' || isRoots)
        assert.ok(!variablesOf(pid).includes('NODE_OPTIONS'), `NODE_OPTIONS of ${name}`);
    }
    return found;
  }

  function isKnown(by: string, [process, cells]: readonly [string, string]): boolean {
    return document
      .split('\n')
      .filter((line) => line.startsWith(`| ${process} |`) && line.endsWith(`| ${cells} |`))
      .some((line) => line.split(' | ')[1]?.split(', ').includes(by));
  }

  function note(process: string, by: string, cells: string): void {
    const same = rows.find((it) => it.process === process && it.cells === cells);
    if (same === undefined) rows.push({ process, by: new Set([by]), cells });
    else same.by.add(by);
  }

  for (const [at, run] of runs('HOME').entries())
    it(`${run.by}: ${Object.keys(run.processes).join(', ')}`, async () => {
      const here = runs(sudo.exec.home)[at] ?? run;
      const others = new Set(allProcesses().map(({ pid }) => pid));
      const state = `mount --bind ${sudo.exec.lab.directory}/state /var/lib`;
      const closed = `ulimit -c unlimited; exec /usr/bin/python3 -c 'import os, sys
os.closerange(3, 4096)
os.execvp(sys.argv[1], sys.argv[1:])' "$@"`;
      const child = await sudo.spawn(here.argv, {
        root: here.root ?? false,
        script: `${state}; ${here.first ?? ':'}; ${closed}`,
        env: { [MARK]: 'x', NODE_OPTIONS: '--stack-trace-limit=11' },
      });
      if (here.held !== true) await child.waitForLine(/tunnel: ready[\n,]/, 20_000);
      const end = performance.now() + STARTS_WITHIN_MS;
      let settled = Number.POSITIVE_INFINITY;
      for (;;) {
        try {
          const found = look(here, child.pid, others);
          settled = Math.min(settled, performance.now() + SETTLES_WITHIN_MS);
          if (performance.now() >= settled || [...found].every((it) => isKnown(here.by, it))) {
            for (const [process, cells] of found) note(process, here.by, cells);
            return;
          }
        } catch (error) {
          if (performance.now() < end) continue;
          throw new Error(`${String(error)}: ${child.stderr}`, { cause: error });
        } finally {
          await delay(50);
        }
      }
    });

  it('are what the table of docs/security.md says', () => {
    const [before = '', rest = ''] = document.split(TITLE);
    const words = rest.slice(0, rest.indexOf('\n|') + 1);
    const following = rest.slice(words.length).replace(/^(\|.*\n)*/, '');
    const wanted = `${before}${TITLE}${words}${tableOf(rows)}\n${following}`;
    if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(DOCUMENT, wanted);
    assert.equal(readFileSync(DOCUMENT, 'utf8'), wanted, 'UPDATE_GOLDEN=1 writes it');
  });
});
