import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { bytesRead, processStat } from '../../../src/system/process.ts';

describe('processStat', () => {
  it('reads what ps reads, whatever the program calls itself', async () => {
    // comm becomes ") R 1 2 (", which looks like fields.
    const child = spawn('bash', ['-c', 'printf ") R 1 2 (" > /proc/$BASHPID/comm; echo; read _'], {
      detached: true,
    });
    try {
      await once(child.stdout, 'data');
      const { pid = 0 } = child;
      // It has written, and is about to wait.
      let stat = processStat(pid);
      while (stat?.state === 'R') {
        await new Promise((resolve) => setTimeout(resolve, 5));
        stat = processStat(pid);
      }
      assert.equal(stat?.group, pid);
      const shown = execFileSync('ps', ['-o', 'stat=,tpgid=,etimes=', '-p', String(pid)], {
        encoding: 'utf8',
      });
      const [state = '', foreground] = shown.trim().split(/\s+/);
      assert.equal(stat.state, state[0]);
      assert.equal(stat.foreground, Number(foreground));
      const own = processStat('self');
      assert.ok(own !== undefined && stat.startTime >= own.startTime);
      assert.ok(Number.isInteger(stat.flags));
    } finally {
      child.kill('SIGKILL');
    }
    await once(child, 'close');
  });

  it('knows no process that has gone', async () => {
    const child = spawn('true');
    await once(child, 'close');
    assert.equal(processStat(child.pid ?? 0), undefined);
  });
});

describe('bytesRead', () => {
  it('counts what a process reads, from pipes as well', async () => {
    const child = spawn('cat', { stdio: ['pipe', 'pipe', 'inherit'] });
    const { pid = 0 } = child;
    child.stdin.write('a');
    await once(child.stdout, 'data');
    const before = bytesRead(pid);
    assert.ok(before !== undefined && before > 0);
    child.stdin.write('b'.repeat(1000));
    await once(child.stdout, 'data');
    assert.equal(bytesRead(pid), before + 1000);
    child.stdin.end();
    await once(child, 'close');
    assert.equal(bytesRead(pid), undefined);
  });

  it('sees this process', () => {
    assert.ok((bytesRead('self') ?? 0) > 0);
  });
});
