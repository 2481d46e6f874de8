import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { NotationError } from '../../../../src/net/notation.ts';
import { isSshKeyword, SshOptionReader } from '../../../../src/ssh/config/keywords.ts';

const read = (text: string) => new SshOptionReader().read(text);

describe('SshOptionReader', () => {
  for (const [text, expected] of [
    ['ServerAliveInterval=30', 'ServerAliveInterval=30'],
    ['serveraliveinterval 30', 'ServerAliveInterval=30'],
    ['  Port = 22  ', 'Port=22'],
    ['ProxyCommand=nc -x a=b %h', 'ProxyCommand=nc -x a=b %h'],
    ['IdentityFile="a b"', 'IdentityFile="a b"'],
    ['challengeresponseauthentication=no', 'ChallengeResponseAuthentication=no'],
    ['"port" 22', 'Port=22'],
    ['', undefined],
    [' # Port=22', undefined],
    ['#a\nProxyCommand=x', undefined],
  ] as const) {
    it(`reads ${text}`, () => assert.equal(read(text), expected));
  }

  for (const [text, message, hint] of [
    ['Prot=22', /"Prot" is not a keyword of ssh_config/, /did you mean Port\?/],
    ['serveraliveintervall=1', /not a keyword/, /did you mean ServerAliveInterval\?/],
    ['StrictHostkeyCheking=no', /not a keyword/, /did you mean StrictHostKeyChecking\?/],
    ['Colour=blue', /not a keyword/, /man ssh_config.*-o IgnoreUnknown=Colour/],
    ['Port', /not of the form Keyword=value/, /-o ServerAliveInterval=30/],
    ['Port=', /not of the form/, /"="/],
    ['=22', /not of the form/, /"="/],
    ['"Port"=22', /not of the form/, /"="/],
    ['Port=1\nProxyCommand=x', /control characters/, undefined],
    ['Host=a', /can't be given as an option/, /-F/],
    ['Include x', /can't be given as an option/, /-F/],
    ['match all', /can't be given as an option/, /-F/],
  ] as const) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      assert.throws(
        () => read(text),
        (error) => {
          assert.ok(error instanceof NotationError);
          assert.match(error.message, message);
          assert.match(error.hint ?? '', hint ?? /^$/);
          return true;
        },
      );
    });
  }
});

describe('isSshKeyword', () => {
  const { stdout, status } = spawnSync('ssh', ['-G', '-T', '-F', 'none', 'x'], {
    encoding: 'utf8',
  });
  it('knows everything that ssh prints', {
    skip: status === 0 ? false : 'ssh is missing (package openssh-client)',
  }, () => {
    const printed = stdout.split('\n').flatMap((line) => /^(\S+) /.exec(line)?.[1] ?? []);
    assert.ok(printed.length > 50);
    // `host` is the host that was asked about.
    assert.deepEqual(
      printed.filter((keyword) => keyword !== 'host' && !isSshKeyword(keyword)),
      [],
    );
  });
});
