import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { describe, it } from 'node:test';
import { execExitCodeOf, exitCodeOf } from '../../../src/cli/exit.ts';
import { reportError } from '../../../src/cli/report.ts';
import { TunnelError } from '../../../src/errors/errors.ts';
import { systemRefusal, withSystemReason } from '../../../src/errors/system.ts';

const { errno } = constants;

/** As Node's own functions throw it. */
function nodes(code: string, syscall = 'open'): Error {
  return Object.assign(new Error(`${code}: as it is, ${syscall} '/proc/net/route'`), {
    code,
    syscall,
    errno: -1,
  });
}

/** As the native part throws it. */
function natives(number: number): Error {
  return Object.assign(new Error('rtnetlinkAsk: as it is'), { errno: number });
}

describe('what the system refuses', () => {
  for (const [name, code] of [
    ['EMFILE', 'system-limit'],
    ['ENFILE', 'system-limit'],
    ['ENOMEM', 'system-limit'],
    ['ENOBUFS', 'system-limit'],
    ['ENOSPC', 'system-disk'],
    ['EDQUOT', 'system-disk'],
    ['EROFS', 'system-disk'],
    ['EIO', 'system-disk'],
    ['EACCES', 'system-permission'],
    ['EPERM', 'system-permission'],
  ] as const)
    it(`is ${code} with a hint: ${name}, of Node, of the native part, and wrapped`, () => {
      const number = errno[name];
      const wrapped = new Error('reading routes failed', { cause: nodes(name) });
      for (const error of [nodes(name), natives(number), natives(-number), wrapped]) {
        const known = systemRefusal(error);
        assert.equal(known?.code, code);
        assert.match(known.message, /as it is/);
        assert.equal(known.cause, error);
        assert.match(reportError(known), /^tunnel: error \[system-[a-z]+\]: .*\ntunnel: hint: \S/);
        assert.deepEqual([exitCodeOf(known), execExitCodeOf(known)], [1, 125]);
      }
    });

  it('names the limit that it is', () => {
    const hintOf = (error: Error) => systemRefusal(error)?.hint ?? '';
    assert.match(hintOf(nodes('EMFILE')), /ulimit -n/);
    assert.match(hintOf(nodes('ENFILE')), /fs\.file-max/);
    assert.match(hintOf(nodes('EMFILE', 'watch')), /max_user_instances/);
    assert.match(hintOf(nodes('ENOSPC', 'watch')), /max_user_watches/);
    assert.match(hintOf(nodes('EAGAIN', 'spawn ssh')), /ulimit -u/);
    assert.equal(systemRefusal(nodes('ENOSPC', 'watch'))?.code, 'system-limit');
  });

  it('is told instead of the code and the hint of an error that it has caused', () => {
    const loader = Object.assign(new Error('addon.node: cannot open: Too many open files'), {
      code: 'ERR_DLOPEN_FAILED',
    });
    for (const cause of [nodes('EMFILE'), natives(errno.EMFILE), loader]) {
      const inner = new TunnelError('native-missing', 'it is missing', { cause, hint: 'build it' });
      const error = new TunnelError('capture-failed', 'no helper', { cause: inner, hint: 'sudo' });
      const told = withSystemReason(error);
      assert.ok(told instanceof TunnelError);
      assert.equal(told.code, 'system-limit');
      assert.equal(told.message, 'no helper: this process may not open any more files');
      assert.match(told.hint ?? '', /^raise the limit: "ulimit -n/);
      assert.equal(told.cause, error);
    }
    // A part that has named the file knows more about its permission, and about its disk.
    for (const name of ['EACCES', 'EROFS', 'ENOSPC']) {
      const error = new TunnelError('pidfile-unwritable', 'x', { cause: nodes(name), hint: 'y' });
      assert.equal(withSystemReason(error), error);
    }
    for (const error of [systemRefusal(nodes('EMFILE')), new Error('x'), 7])
      assert.equal(withSystemReason(error), error);
  });

  it('is nothing else', () => {
    const known = new TunnelError('usage', 'x', { cause: nodes('EMFILE') });
    const ring = new Error('ring');
    ring.cause = ring;
    const others = [new Error('x'), 'EMFILE', undefined, nodes('EAGAIN'), nodes('ENOENT'), ring];
    for (const error of [known, ...others, natives(0), natives(1e9)])
      assert.equal(systemRefusal(error), undefined);
  });
});
