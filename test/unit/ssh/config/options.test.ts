/** -o as ssh takes it: the same options with the real ssh, and without one. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { UsageError } from '../../../../src/errors/errors.ts';
import { both, LACKING, lab, NO_SSH, resolve } from '../../../support/sshconfiglab.ts';

/** What ssh makes of them. undefined: it refuses them. */
function sshsPort(given: readonly string[]): number | undefined {
  const args = given.flatMap((option) => ['-o', option]);
  const { stdout, status } = spawnSync('ssh', ['-G', '-T', '-F', 'none', ...args, 'a'], {
    encoding: 'utf8',
  });
  return status === 0 ? Number(/^port ([0-9]+)$/m.exec(stdout)?.[1]) : undefined;
}

describe('-o', { skip: LACKING }, () => {
  for (const sshOption of [
    ['Port=3'],
    ['', 'Port=3'],
    [' \t', 'Port=3', '\n'],
    ['#Port=4', 'Port=3'],
    ['  # Port=4', 'Port=3'],
    ['"#Port"=4', 'Port=3'],
    ['"Port" 3'],
    ['Port = "3"'],
    ['Port=3 # a gate'],
    ['IgnoreUnknown=Foo', 'Foo=1', 'Port=3'],
    ['ignoreunknown=FOO', 'foo=1', 'Port=3'],
    ['IgnoreUnknown="Foo,Bar*"', 'Foo x y z', 'Barely-known=1', 'Port=3'],
    ['IgnoreUnknown=foo # x', 'foo=1', 'Port=3'],
    ["IgnoreUnknown='foo'", 'foo=1', 'Port=3'],
    ['IgnoreUnknown "foo" #x', 'foo=1', 'Port=3'],
    ['IgnoreUnknown=Port', 'Port=3'],
    ['IgnoreUnknown=*', 'New="a b"', 'Port=3'],
    ['Protocol 2 3', 'Port=3'],
    ['Port=http'],
    ['Port=domain'],
    ['Port=+3'],
    ['Port=03'],
    ['Port=3', 'Port=http'],
  ])
    it(`${JSON.stringify(sshOption)} is taken, as by ssh`, async () => {
      const expected = sshsPort(sshOption);
      assert.ok(expected !== undefined);
      assert.equal((await both(lab(''), 'a', { sshOption })).port, expected);
    });

  for (const sshOption of [
    ['Foo=1', 'IgnoreUnknown=Foo'],
    ['IgnoreUnknown=Foo', 'IgnoreUnknown=Bar', 'Bar=1'],
    ['IgnoreUnknown=!Foo,*', 'Foo=1'],
    ['IgnoreUnknown=Foo', 'Foo'],
    ['IgnoreUnknown=Foo', 'Foo='],
    ['IgnoreUnknown=Foo', 'Food=1'],
    ['IgnoreUnknown=a b'],
    ['IgnoreUnknown=f\\oo', 'foo=1'],
    ['IgnoreUnknown=fo"o', 'foo=1'],
    ['IgnoreUnknown=#foo', 'foo=1'],
    ['IgnoreUnknown=*', 'Foo="a'],
    ['IgnoreUnknown=*', 'Host x'],
    ['"Port"=3'],
    ['Port=tftp'],
    ['Port=SSH'],
    ['Port=no-such-service'],
    ['Port=0'],
    ['Port=65536'],
    ['Port=3', 'Port=no-such-service'],
  ])
    it(`${JSON.stringify(sshOption)} is refused, as by ssh`, async () => {
      assert.equal(sshsPort(sshOption), undefined);
      for (const sshProgram of ['ssh', NO_SSH])
        await assert.rejects(
          async () => resolve(lab(''), 'a', { sshOption }, { sshProgram }),
          UsageError,
        );
    });

  it('has its IgnoreUnknown count for the files', async () => {
    const where = lab('Later 1\nMatch exec "true"\nLatest 2\nMatch all\nPort 3');
    const sshOption = ['IgnoreUnknown=Late*'];
    assert.equal((await both(where, 'a', { sshOption })).port, 3);
    await assert.rejects(resolve(where, 'a', {}, { sshProgram: NO_SSH }), /later is not a keyword/);
  });
});

describe('services as ports', { skip: LACKING }, () => {
  it('are those of TCP, in Port and in ProxyJump', async () => {
    const where = lab('Host a\nPort http\nProxyJump u@b:ssh,[::1]:domain,c:+7,ssh://d:www/');
    const { port, proxy } = await both(where, 'a');
    assert.equal(port, 80);
    assert.ok(proxy.kind === 'jump');
    assert.deepEqual(
      proxy.hops.map((hop) => hop.port),
      [22, 53, 7, 80],
    );
  });

  it('that are not known are said to be that, without ssh', async () => {
    const where = lab('Host b\nPort tftp');
    await assert.rejects(resolve(where, 'a', {}, { sshProgram: NO_SSH }), (error) => {
      assert.ok(error instanceof UsageError, String(error));
      assert.match(error.message, /config:2: port has no value "tftp"$/);
      assert.match(error.hint ?? '', /number from 1 to 65535, or a TCP service/);
      return true;
    });
  });
});
