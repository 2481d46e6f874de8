/**
 * What the command of `tunnel exec` inherits from its caller as it would without the tunnel, both
 * in its own network and with proxies.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { getPriority } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { PRIVATE4 } from '../support/addresses.ts';
import { ExecLab, type ExecOptions, NO_USER_NAMESPACES } from '../support/execlab.ts';
import { labUnavailable } from '../support/lab.ts';
import type { ExecResult } from '../support/process.ts';
import { allProcesses } from '../support/processtable.ts';
import { closedToOthers } from '../support/requirements.ts';
import { MAIN } from '../support/tunnel.ts';

/** Prints limits and attributes of a process, and its blocked and ignored signals. */
const ATTRIBUTES = `umask; ulimit -Sn; ulimit -Hn; ulimit -Sc; ulimit -Hc; nice; cat /proc/self/oom_score_adj
grep -E '^Sig(Blk|Ign)' /proc/self/status | cut -f 2; ps -o pgid=,sid= -p $$ | tr -s ' '`;
const SHORT_RUNS = 5;

describe('exec: what the command inherits from its caller', {
  skip: labUnavailable('openssl', 'unshare', 'bash', 'od', 'ps', 'python3') || closedToOthers(MAIN),
}, () => {
  let exec: ExecLab;
  before(async () => {
    exec = await ExecLab.create();
  });
  after(async () => {
    await exec?.close();
  });

  for (const [where, options] of [
    ['in a network of its own', {}],
    ['with proxies', { script: NO_USER_NAMESPACES }],
  ] as const satisfies readonly (readonly [string, ExecOptions])[]) {
    describe(where, { concurrency: 3 }, () => {
      /** Runs `tunnel exec ... -- COMMAND` as "$@" of a bash script. */
      const under = (script: string, ...command: readonly string[]): Promise<ExecResult> =>
        exec.lab.client.exec(
          ['bash', '-c', script, 'bash', ...exec.argv([PRIVATE4, '--', ...command], options)],
          { env: { HOME: exec.home }, timeout: 30_000 },
        );

      it('limits, priority, mask, process group and default signals', async () => {
        const setUp =
          'ulimit -Sn 777; ulimit -Hc 9; ulimit -Sc 8; umask 027; echo 300 >/proc/self/oom_score_adj';
        const script = `${setUp}; trap '' USR1; nice -n 5 sh -c '"$@"; exit $?' sh "$@"; echo "$(ps -o pgid=,sid= -p $$ | tr -s ' ')"`;
        const { stdout, stderr, status } = await under(script, 'sh', '-c', ATTRIBUTES);
        const [mask, soft, hard, core, hardCore, nice, oom, blocked, ignored, group, callersGroup] =
          stdout.split('\n');
        const niceness = String(Math.min(19, getPriority() + 5));
        assert.deepEqual([mask, soft, nice, oom], ['0027', '777', niceness, '300'], stderr);
        // In blocks of 512 octets, and bash's of 1024.
        assert.deepEqual([core, hardCore], ['16', '18']);
        assert.ok(Number(hard) > 777, hard);
        assert.deepEqual([blocked, ignored], ['0000000000000000', '0000000000000000']);
        assert.equal(group?.trim(), callersGroup?.trim());
        assert.equal(status, 0);
      });

      it('arguments and environment byte for byte', async () => {
        const print =
          'printf %s "$NODE_PATH$WORD" | od -An -tx1; for word; do printf %s "$word" | od -An -tx1; done; exit 4';
        const latin1 = "$(printf 'caf\\351')";
        const script = `export WORD="${latin1}" TUNNEL_ASIDE_NODE_PATH=n; "$@" "${latin1}" '' "${latin1}s"`;
        const { status, stdout, stderr } = await under(script, 'sh', '-c', print, 'sh', 'plain');
        assert.deepEqual(
          stdout.split('\n').map((line) => line.trim()),
          ['6e 63 61 66 e9', '70 6c 61 69 6e', '63 61 66 e9', '63 61 66 e9 73', ''],
          stderr,
        );
        assert.equal(status, 4);
      });

      it('a working directory that is gone, or that it may not enter', async () => {
        const gone = 'mkdir "$HOME/gone"; cd "$HOME/gone"; rmdir "$HOME/gone"; "$@"';
        assert.match(
          (await under(gone, 'readlink', '/proc/self/cwd')).stdout,
          /\/gone \(deleted\)\n$/,
        );
        assert.equal(
          (await under('cd /root && "$@"', 'readlink', '/proc/self/cwd')).stdout,
          '/root\n',
        );
      });

      it('standard descriptors, or nothing where they are closed', async () => {
        assert.equal((await under('"$@" <&- >&- 2>&-', 'sh', '-c', 'cat; echo; exit 6')).status, 6);
        const { stdout } = await under('printf "one\\ntwo\\n" | "$@" | cat', 'sort', '-r');
        assert.equal(stdout, 'two\none\n');
      });

      it('the end of a pipeline whose reader has gone', async () => {
        const { stdout } = await under('set -o pipefail; "$@" | head -n 1; echo $?', 'yes');
        assert.equal(stdout, 'y\n141\n');
      });

      it('nohup, if it comes before the command', async () => {
        const { stdout, status } = await under(
          '"$@"',
          'nohup',
          'sh',
          '-c',
          'kill -HUP $PPID; sleep 0.3; echo alive; exit 4',
        );
        assert.equal(stdout, 'alive\n');
        assert.equal(status, 4);
      });
    });
  }

  it('leaves nothing behind, however often it is run', async () => {
    const script = `mkdir -p "$TMPDIR"; for i in $(seq ${SHORT_RUNS}); do "$@" || exit 1; done`;
    const argv = ['sh', '-c', script, 'sh', ...exec.argv([PRIVATE4, '--', 'true'])];
    const env = { HOME: exec.home, TMPDIR: join(exec.home, 'tmp') };
    const files = () => readdirSync(exec.home, { recursive: true, encoding: 'utf8' });
    const before = { host: await exec.lab.client.hostState(), files: [...files(), 'tmp'].sort() };
    const { status, stderr } = await exec.lab.client.exec(argv, { env, timeout: 30_000 });
    assert.equal(stderr, '');
    assert.equal(status, 0);
    assert.deepEqual({ host: await exec.lab.client.hostState(), files: files().sort() }, before);
    assert.deepEqual(
      allProcesses().filter(({ pid }) => environment(pid).includes(`TMPDIR=${env.TMPDIR}`)),
      [],
    );
  });
});

function environment(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0');
  } catch {
    return []; // it has just ended
  }
}
