/**
 * The part that stays root under sudo, with programs that are not ours: what they run as, how their
 * ends are passed on, and what they get for requests that are none.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { closedToOthers } from '../../support/requirements.ts';

const UID = 47_110;
const SRC = new URL('../../../src/', import.meta.url).href;
const TIMEOUT_MS = 20_000;
/** Of programs that load modules of this checkout as the user. */
const CLOSED = closedToOthers(fileURLToPath(import.meta.url));

/** The process that sudo has started, with `program` in the program's place. */
const PART = `
  import { runAsCaller } from '${SRC}session/ascaller.js';
  const observer = { log: (level, message) => console.error(level, message), count() {} };
  const program = [process.execPath, process.env.PROGRAM];
  const start = { program, args: [], env: process.env, variables: {} };
  const stop = new AbortController().signal;
  const status = await runAsCaller(start, { observer, stop });
  console.log('status', status);
  process.exit(0);`;

/** Sends `message` over the link, and prints each answer, and then that the link has ended. */
function sending(...messages: readonly string[]): string {
  return `
    import { addon } from '${SRC}native/addon.js';
    const messages = ${JSON.stringify(messages)};
    const link = addon().linkAdopt(Number(process.env.TUNNEL_PRIVILEGED_FD), (bytes) => {
      console.log(bytes === null ? 'ended' : Buffer.from(bytes).toString());
      if (bytes === null) process.exit(3);
      next();
    });
    const next = () => {
      const message = messages.shift();
      if (message === undefined) process.exit(0);
      addon().linkSend(link, Buffer.from(message));
    };
    next();`;
}

function run(
  text: string,
  env: NodeJS.ProcessEnv = { SUDO_UID: String(UID) },
  mode = 0o644,
): { stdout: string; stderr: string } {
  const program = join(directory, `program-${count++}.mjs`);
  writeFileSync(program, text);
  chmodSync(program, mode);
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', PART], {
    encoding: 'utf8',
    timeout: TIMEOUT_MS,
    env: { PATH: process.env['PATH'], HOME: '/root', ...env, PROGRAM: program },
  });
  return { stdout, stderr };
}

let directory = '';
let count = 0;
before(() => {
  directory = mkdtempSync(join(tmpdir(), 'tunnel-ascaller-'));
  chmodSync(directory, 0o755);
});
after(() => rmSync(directory, { recursive: true }));

describe('a program beside the part that is root', {
  skip: process.getuid?.() !== 0 && 'needs root',
}, () => {
  it('has nothing that is root’s', () => {
    const { stdout, stderr } = run(`
      import { readFileSync } from 'node:fs';
      const status = readFileSync('/proc/self/status', 'utf8');
      const fields = [...status.matchAll(/^(?:Uid|Groups|Cap\\w+|NoNewPrivs):[\\t ]*(.*)$/gm)];
      console.log(fields.map(([, value]) => value.trim()).join('|'));
      console.log('home', process.env.HOME);`);
    const none = '0000000000000000';
    assert.deepEqual(
      stdout.split('\n').slice(0, 3),
      [
        [Array(4).fill(UID).join('\t'), '', none, none, none, none, none, '1'].join('|'),
        'home undefined',
        'status 0',
      ],
      stderr,
    );
  });

  it('is not started when the caller is root', () => {
    assert.equal(run(`console.log('started')`, { SUDO_UID: '0' }).stdout, 'status undefined\n');
  });

  it('is not started where the caller may not read it', () => {
    const { stdout, stderr } = run(`console.log('started')`, undefined, 0o600);
    assert.equal(stdout, '');
    assert.match(stderr, /the program can't run as uid 47110: EACCES/);
    assert.match(stderr, /launcher-privileges/);
  });

  for (const [end, status] of [
    ['process.exit(255)', 255],
    ['process.exit(7)', 7],
    [`process.kill(process.pid, 'SIGKILL')`, 137],
    [`process.kill(process.pid, 'SIGTERM'); setInterval(() => {}, 1000)`, 143],
  ] as const) {
    it(`passes on the end of ${end}`, () => {
      const { stdout, stderr } = run(end);
      assert.equal(stdout, `status ${status}\n`, stderr);
    });
  }

  it('gets refusals for what is not its own', { skip: CLOSED }, () => {
    const before = readFileSync('/etc/resolv.conf', 'utf8');
    const { stdout, stderr } = run(
      sending(
        '{"type":"resolv-conf","device":"tun0"}',
        '{"type":"resolved","device":"tun0","domains":["."]}',
        '{"type":"helper"}',
      ),
    );
    const lines = stdout.trimEnd().split('\n');
    assert.equal(lines.pop(), 'status 0', stderr);
    assert.equal(lines.length, 3);
    for (const line of lines) assert.match(line, /^\{"ok":false,"code":"privileged-refused"/);
    assert.equal(readFileSync('/etc/resolv.conf', 'utf8'), before);
  });

  for (const message of [
    'x',
    '{"type":"helper","path":"/tmp/x"}',
    `{"type":"recover"${' '.repeat(70_000)}}`,
  ]) {
    it(`gets nothing more after ${message.slice(0, 20)} of ${message.length} octets`, {
      skip: CLOSED,
    }, () => {
      const { stdout, stderr } = run(sending('{"type":"directory"}', message));
      const whole = /^\{"ok":true,"value":"(\/run\/tunnel\.\d+-\w{6})"\}\nended\nstatus 3\n$/;
      const [, made] = whole.exec(stdout) ?? [];
      assert.ok(made !== undefined, stdout + stderr);
      assert.ok(!existsSync(made), `${made} is left`);
    });
  }
});
