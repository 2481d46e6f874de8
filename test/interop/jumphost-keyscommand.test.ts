/** The script of keys-command, run as sshd runs it, against an HTTP source and commands. */
import assert from 'node:assert/strict';
import { chmodSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, beforeEach, describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { renderKeysCommand } from '../../src/jumphost/keyscommand.ts';
import type { KeySource } from '../../src/jumphost/plan.ts';
import { renderSshd } from '../../src/jumphost/sshd.ts';
import { assertGolden } from '../support/golden.ts';
import { planOf } from '../support/jumphostplan.ts';
import {
  type HttpSource,
  KeyScript,
  LOGIN,
  lists,
  printed,
  publicKeyLine,
  scriptOf,
  startSource,
  urlOf,
} from '../support/keyscript.ts';
import { run } from '../support/process.ts';

const ALICE = publicKeyLine('alice@laptop');
const BOB = publicKeyLine('bob');
const STRANGER = publicKeyLine('mallory');
/** With some seconds for a busy machine. A login that waited for the source would take 20 s. */
const SOME_SECONDS_MS = 9_000;

const WITHOUT_WGET = await lacks('wget');
const WITHOUT_SHELLCHECK = await lacks('shellcheck');
const WITHOUT_BUSYBOX = await lacks('busybox');

const first = await startSource();
const second = await startSource();
after(() => Promise.all([first.close(), second.close()]));
beforeEach(() => {
  for (const source of [first, second]) source.requests = 0;
  lists(first, ALICE);
  lists(second, BOB);
});

async function timed<T>(work: () => Promise<T>): Promise<{ result: T; ms: number }> {
  const start = performance.now();
  const result = await work();
  return { result, ms: performance.now() - start };
}

describe('the script of keys-command', () => {
  it('as in test/golden/jumphost/keys-command', () => {
    const keysFrom: readonly KeySource[] = [
      { kind: 'url', url: 'https://keys.example.com/authorized_keys?team=a&b' },
      { kind: 'command', command: `/usr/local/bin/list-keys 'a b' "$(hostname)" | sort` },
    ];
    const plan = planOf(['api.example.com:443', '[2001:db8::5]:*'], {
      keysFrom,
      from: ['10.0.0.0/8'],
    });
    const [file, ...others] = renderKeysCommand(plan);
    assert.deepEqual([file?.path, file?.mode, others], ['tunnel-authorized-keys', 0o755, []]);
    assertGolden('jumphost/keys-command', file?.text ?? '');
  });

  it('comes with the drop-in of --keys-from, which runs it', () => {
    const plan = planOf(['10.0.0.5:443'], {
      keysFrom: [{ kind: 'command', command: '/bin/true' }],
    });
    const [dropIn, script, ...others] = renderSshd(plan);
    assert.match(
      dropIn?.text ?? '',
      /AuthorizedKeysCommand \/usr\/libexec\/tunnel-authorized-keys %u %k\n +AuthorizedKeysCommandUser tunnel-keys\n/,
    );
    assert.deepEqual([script, others], [renderKeysCommand(plan)[0], []]);
  });

  it('is a script in which shellcheck finds nothing', { skip: WITHOUT_SHELLCHECK }, async () => {
    const keysFrom: readonly KeySource[] = [
      { kind: 'url', url: 'https://keys.example.com/a' },
      { kind: 'command', command: `/bin/echo 'a b' "$x"` },
    ];
    const [file] = renderKeysCommand(planOf(['10.0.0.5:443'], { keysFrom }));
    const checked = await run(['shellcheck', '-e', 'SC2016', '-'], { input: file?.text ?? '' });
    assert.equal(checked.stdout, '');
  });

  it('prints the key that is offered, with the options, and nothing for another one', async (t) => {
    lists(first, '# who may', '', ALICE, BOB);
    const script = scriptOf(t, first);
    assert.equal(await script.login(ALICE), printed(ALICE));
    assert.equal(await script.login(BOB), printed(BOB));
    assert.equal(await script.login(STRANGER), '');
    assert.equal(first.requests, 1);
    const [file = ''] = script.files();
    assert.equal(statSync(file).mode & 0o777, 0o600);
  });

  it('without a key, as people run it, prints all of them, each once', async (t) => {
    lists(second, BOB, ALICE);
    const script = scriptOf(t, first, second);
    const { stdout } = await script.run(LOGIN);
    assert.deepEqual(
      stdout.split('\n').filter(Boolean).sort(),
      [ALICE, BOB].map((line) => printed(line).trimEnd()).sort(),
    );
  });

  const ages: readonly (readonly [minutes: number, key: string, line: string, requests: number])[] =
    [
      [1, 'known', ALICE, 0],
      [1, 'unknown', STRANGER, 0],
      [5, 'known', ALICE, 0],
      [5, 'unknown', STRANGER, 1],
      [14.5, 'known', ALICE, 0],
      [15.5, 'known', ALICE, 1],
      [20, 'known', ALICE, 1],
      [20, 'unknown', STRANGER, 1],
      // From the future: the clock was wrong once.
      [-5, 'known', ALICE, 1],
    ];
  for (const [minutes, key, line, requests] of ages) {
    it(`a cache of ${minutes} min., a key that is ${key}: ${requests} requests`, async (t) => {
      const script = scriptOf(t, first);
      await script.login(ALICE);
      script.age(minutes);
      first.requests = 0;
      assert.equal(await script.login(line), key === 'known' ? printed(line) : '');
      assert.equal(first.requests, requests);
    });
  }

  it('a new key: found when the cache is 5 min. old, not when it is 1 min. old', async (t) => {
    const script = scriptOf(t, first);
    await script.login(ALICE);
    lists(first, ALICE, BOB);
    script.age(1);
    assert.equal(await script.login(BOB), '');
    script.age(5);
    assert.equal(await script.login(BOB), printed(BOB));
  });

  it('a removed key: good at 5 min., gone at 20', async (t) => {
    const script = scriptOf(t, first);
    await script.login(ALICE);
    lists(first, BOB);
    script.age(5);
    assert.equal(await script.login(ALICE), printed(ALICE));
    script.age(20);
    assert.equal(await script.login(ALICE), '');
  });

  it('only the sources that the cache does not cover any more are asked', async (t) => {
    const script = scriptOf(t, first, second);
    assert.equal(await script.login(BOB), printed(BOB));
    assert.deepEqual([first.requests, second.requests], [1, 1]);
    const [old = ''] = script.files();
    script.age(5, old);
    await script.login(STRANGER);
    assert.equal(first.requests + second.requests, 3);
    await script.login(STRANGER);
    assert.equal(first.requests + second.requests, 3);
  });

  it('--refresh asks all of them, whatever their age, and its status says whether they answered', async (t) => {
    const script = scriptOf(t, first, second);
    for (let i = 1; i <= 2; i++) {
      assert.equal((await script.run('--refresh')).status, 0);
      assert.deepEqual([first.requests, second.requests], [i, i]);
    }
    second.answer = (_, response) => response.writeHead(500).end();
    const { status, stderr } = await script.run('--refresh');
    assert.equal(status, 1);
    assert.match(stderr, /^http:\S+: it does not answer: HTTP status 500; its keys are used as/);
    assert.equal(script.cached().length, 2);
  });

  it('a source that is down: the cache, a line in the log, and not asked again at once', async (t) => {
    const closed = await startSource();
    lists(closed, ALICE);
    const script = scriptOf(t, closed);
    await script.login(ALICE);
    await closed.close();
    script.age(20);
    assert.equal(await script.login(ALICE), printed(ALICE));
    assert.match(
      script.log(),
      /^-t tunnel-keys -p auth\.warning -- http:\S+: it does not answer: curl: .*; its keys are used as they were 120\d s ago\n$/,
    );
    await script.login(ALICE);
    assert.equal(script.log().trim().split('\n').length, 1);
    script.forgetFailures();
    await script.login(ALICE);
    assert.equal(script.log().trim().split('\n').length, 2);
  });

  it('of two sources one is down: the keys of the other are found', async (t) => {
    first.answer = (request) => request.socket.destroy();
    const script = scriptOf(t, first, second);
    assert.equal(await script.login(BOB), printed(BOB));
    assert.equal(await script.login(ALICE), '');
  });

  it('a slow source: one login waits 3 s, then all take the cache; what comes later is not lost', async (t) => {
    const script = scriptOf(t, first);
    await script.login(ALICE);
    let answer = () => {};
    first.answer = (_, response) => {
      answer = () => void response.end(`${ALICE}\n${BOB}\n`);
    };
    script.age(20);
    const { result, ms } = await timed(() => script.login(ALICE));
    assert.equal(result, printed(ALICE));
    assert.ok(ms > 1_500 && ms < SOME_SECONDS_MS, `${ms} ms`);
    const again = await timed(() => script.login(ALICE));
    assert.equal(again.result, printed(ALICE));
    assert.ok(again.ms < 1_500, `${again.ms} ms`);
    answer();
    for (let i = 0; i < 100 && script.cached().length < 2; i++) await sleep(50);
    assert.equal(await script.login(BOB), printed(BOB));
    assert.equal(first.requests, 2);
  });

  it('a slow source that was never read: the login waits for it', async (t) => {
    first.answer = (_, response) => void setTimeout(() => response.end(`${ALICE}\n`), 3_800);
    const script = scriptOf(t, first);
    assert.equal(await script.login(ALICE), printed(ALICE));
  });

  describe('50 logins at once', () => {
    it('without a cache: one request, and all get the key', async (t) => {
      first.answer = (_, response) => void setTimeout(() => response.end(`${ALICE}\n`), 1_000);
      const script = scriptOf(t, first);
      const results = await Promise.all(Array.from({ length: 50 }, () => script.login(ALICE)));
      assert.deepEqual(new Set(results), new Set([printed(ALICE)]));
      assert.equal(first.requests, 1);
    });

    it('a cache of 20 min. and a source that hangs: one request, and the cache for all', async (t) => {
      const script = scriptOf(t, first);
      await script.login(ALICE);
      script.age(20);
      first.answer = () => {};
      first.requests = 0;
      const { result, ms } = await timed(() =>
        Promise.all(Array.from({ length: 50 }, () => script.login(ALICE))),
      );
      assert.deepEqual(new Set(result), new Set([printed(ALICE)]));
      assert.equal(first.requests, 1);
      assert.ok(ms < 2 * SOME_SECONDS_MS, `${ms} ms`);
    });

    it('a source that refuses: one request, and one line in the log', async (t) => {
      first.answer = (_, response) => response.writeHead(503).end();
      const script = scriptOf(t, first);
      await Promise.all(Array.from({ length: 50 }, () => script.login(ALICE)));
      assert.equal(first.requests, 1);
      assert.match(script.log(), /^[^\n]*HTTP status 503; nothing is known from it\n$/);
    });
  });

  it('all kinds of keys that ssh-keygen makes', async (t) => {
    const script = scriptOf(t, first);
    const lines: string[] = [];
    for (const [type, bits] of [
      ['ed25519'],
      ['ecdsa', '256'],
      ['ecdsa', '384'],
      ['ecdsa', '521'],
      ['rsa', '2048'],
      ['rsa', '4096'],
    ]) {
      const path = join(script.directory, `${type}${bits}`);
      const size = bits === undefined ? [] : ['-b', bits];
      await run(['ssh-keygen', '-q', '-t', type ?? '', ...size, '-N', '', '-C', 'x', '-f', path]);
      lines.push((await run(['cat', `${path}.pub`])).stdout.trim());
    }
    lists(first, ...lines);
    for (const line of lines) assert.equal(await script.login(line), printed(line));
    assert.equal(script.log(), '');
  });

  it('a command as the source, with quotes and all', async (t) => {
    const script = scriptOf(t, `/bin/echo '${ALICE}' | sed "s/laptop/$((1 + 1))'s laptop/"`);
    assert.equal(await script.login(ALICE), printed(ALICE.replace('laptop', "2's laptop")));
  });

  it('a command that fails: what it has printed is not taken', async (t) => {
    const script = scriptOf(t, `/bin/echo '${ALICE}'; echo went wrong >&2; exit 3`);
    assert.equal(await script.login(ALICE), '');
    assert.match(script.log(), /it does not answer: went wrong; nothing is known from it/);
  });

  it('a source that hangs: it is ended, with what it has started', async (t) => {
    first.answer = () => {};
    const hanging = {
      kind: 'command',
      command: `/bin/echo '${ALICE}'; trap '' TERM; sleep 987`,
    } as const;
    const script = new KeyScript([hanging, urlOf(first)], { sourceSeconds: 1 });
    t.after(() => script.remove());
    const { result, ms } = await timed(() => script.login(ALICE));
    assert.equal(result, '');
    assert.ok(ms < SOME_SECONDS_MS, `${ms} ms`);
    assert.match(script.log(), /\/bin\/echo [\s\S]*it has not answered within 20 s/);
    assert.match(script.log(), /http:\S+: it has not answered within 20 s/);
    assert.equal((await run(['pgrep', '-f', 'sleep 987'])).stdout, '');
  });

  it('a command leaves nothing behind that holds the lock or the login', async (t) => {
    const script = scriptOf(t, `/bin/echo '${ALICE}'; sleep 15 >/dev/null 2>&1 &`);
    const { result, ms } = await timed(() => script.login(ALICE));
    assert.equal(result, printed(ALICE));
    assert.ok(ms < SOME_SECONDS_MS, `${ms} ms`);
    assert.equal((await script.run('--refresh')).status, 0);
  });

  it('prints nothing for a user of another group', async (t) => {
    const script = scriptOf(t, first);
    for (const user of ['daemon', 'no-such-user', '', '--help']) {
      const { stdout, status } = await script.run(user, ALICE.split(' ')[1] ?? '');
      assert.deepEqual([stdout, status, first.requests], ['', 0, 0]);
    }
  });

  it('a cache that others may read or write, or none: nothing is printed, and the log says so', async (t) => {
    const script = scriptOf(t, first);
    chmodSync(script.cache, 0o770);
    const { stdout, status } = await script.run(LOGIN, ALICE.split(' ')[1] ?? '');
    assert.deepEqual([stdout, status], ['', 1]);
    assert.match(script.log(), /cache must be a directory of \S+, with mode 700/);
  });

  it('wget does where there is no curl', { skip: WITHOUT_WGET }, async (t) => {
    const script = await withPrograms(t, ['wget', 'flock'], [first]);
    assert.equal(await script.login(ALICE), printed(ALICE));
    for (const status of [302, 500]) {
      first.answer = (_, response) => response.writeHead(status, { location: '/x' }).end(BOB);
      script.age(20);
      script.forgetFailures();
      assert.equal(await script.login(ALICE), printed(ALICE));
      assert.deepEqual(script.cached(), [ALICE]);
    }
    assert.equal(first.requests, 3);
    assert.equal(script.log().trim().split('\n').length, 2);
  });

  it('a program that is missing: the log says which', async (t) => {
    const script = await withPrograms(t, [], [first]);
    assert.equal((await script.run(LOGIN, 'AAAA')).status, 1);
    assert.match(script.log(), /flock is not installed/);
  });

  it('neither curl nor wget: the log says so', async (t) => {
    const script = await withPrograms(t, ['flock'], [first]);
    assert.equal(await script.login(ALICE), '');
    assert.match(script.log(), /neither curl nor GNU wget is installed/);
  });

  describe('with the programs of busybox, as on Alpine', { skip: WITHOUT_BUSYBOX }, () => {
    it('ages, a source that is down, garbage and 50 logins', async (t) => {
      const script = await withPrograms(t, ['curl', 'flock'], [first], 'busybox');
      const logins = await Promise.all(Array.from({ length: 50 }, () => script.login(ALICE)));
      assert.deepEqual(new Set(logins), new Set([printed(ALICE)]));
      assert.equal(first.requests, 1);
      lists(first, 'sign in', BOB);
      script.age(5);
      assert.equal(await script.login(BOB), printed(BOB));
      for (const body of ['<html>', `${ALICE}\n\0`, `${ALICE}\n`.repeat(15_000)]) {
        first.answer = (_, response) => response.end(body);
        script.age(20);
        script.forgetFailures();
        assert.equal(await script.login(BOB), printed(BOB));
        assert.deepEqual(script.cached(), [BOB]);
      }
      assert.match(script.log(), /left out\n.*public key;.*\n.*no text;.*\n.*larger than/);
      first.answer = () => {};
      script.age(20);
      script.forgetFailures();
      const { result, ms } = await timed(() => script.login(BOB));
      assert.equal(result, printed(BOB));
      assert.ok(ms < SOME_SECONDS_MS, `${ms} ms`);
    });
  });
});

async function lacks(program: string): Promise<string | false> {
  const { status } = await run(['sh', '-c', `command -v ${program}`]);
  return status !== 0 && `${program} is not installed`;
}

/** A script whose PATH has the programs that it needs, or busybox's, and these. */
async function withPrograms(
  t: TestContext,
  programs: readonly string[],
  sources: readonly HttpSource[],
  set: 'system' | 'busybox' = 'system',
): Promise<KeyScript> {
  const needed = 'awk cat cut date grep head id mv rm sh stat timeout touch tr wc';
  const directory = `${(await run(['mktemp', '-d'])).stdout.trim()}/bin`;
  t.after(() => run(['rm', '-rf', join(directory, '..')]));
  const link =
    set === 'busybox'
      ? 'for name in $2; do ln -s "$(command -v busybox)" "$1/$name"; done'
      : 'for name in $2; do ln -s "$(command -v "$name")" "$1/$name"; done';
  await run([
    'sh',
    '-c',
    `mkdir -p "$1"; chmod 755 "$1" "$1/.."; ${link}`,
    'sh',
    directory,
    needed,
  ]);
  for (const name of programs)
    await run(['sh', '-c', 'ln -s "$(command -v "$2")" "$1/$2"', 'sh', directory, name]);
  const script = new KeyScript(sources.map(urlOf), {
    programs: directory,
    shell: [join(directory, 'sh')],
  });
  t.after(() => script.remove());
  return script;
}
