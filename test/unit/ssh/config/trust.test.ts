/**
 * What forbids something in an ssh_config: every keyword is read, or is known to forbid nothing;
 * and where ssh isn't installed, nothing that forbids is passed over.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { UsageError } from '../../../../src/errors/errors.ts';
import { INERT_KEYWORDS, KEYWORDS, presentName } from '../../../../src/ssh/config/keywords.ts';
import { Keywords } from '../../../../src/ssh/config/values.ts';
import { both, LACKING, lab, NO_SSH, resolve } from '../../../support/sshconfiglab.ts';

/** Read where files are evaluated, or by ssh alone; they forbid nothing. */
const ELSEWHERE = ['canonicalizehostname', 'ignoreunknown', 'refuseconnection'];

describe('the keywords of ssh_config', () => {
  it('all have an effect, or are known to need none', async () => {
    const read = new Set<string>();
    const { all } = Keywords.prototype;
    const { text } = Keywords.prototype;
    Keywords.prototype.all = function (this: Keywords, keyword: string) {
      read.add(keyword);
      return all.call(this, keyword);
    };
    Keywords.prototype.text = function (this: Keywords, keyword: string) {
      read.add(keyword);
      return text.call(this, keyword);
    };
    try {
      const config = 'KnownHostsCommand /bin/true\nHostName h';
      await resolve(lab(config), 'a', {}, { sshProgram: NO_SSH });
    } finally {
      Object.assign(Keywords.prototype, { all, text });
    }
    const known = new Set([...read, ...INERT_KEYWORDS, ...ELSEWHERE]);
    const names = KEYWORDS.map((keyword) => presentName(keyword.toLowerCase()));
    assert.deepEqual(
      names.filter((name) => !known.has(name)),
      [],
    );
  });
});

describe('without ssh', () => {
  const path = (where: ReturnType<typeof lab>): string => join(where.home, '.ssh/config');

  for (const [title, config, message] of [
    [
      'Match exec',
      'Match exec "true"\nRevokedHostKeys /x',
      /PATH:1: without ssh .*, Match exec can't be used, .* decides about revokedhostkeys at PATH:2/,
    ],
    ['!Match exec', 'Match !exec "true"\nRequiredRSASize 4096', /PATH:1: .* Match exec/],
    [
      'Match localnetwork',
      'Match localnetwork 10.0.0.0/8\nStrictHostKeyChecking yes',
      /PATH:1: .* Match localnetwork/,
    ],
    [
      'Match version',
      'Match version OpenSSH_9*\nHostKeyAlgorithms ssh-rsa',
      /PATH:1: .* Match version/,
    ],
    [
      'Match of a host and exec',
      'Match host a exec "true"\nPubkeyAuthentication no',
      /PATH:1: .* Match exec/,
    ],
    ['an Include below Match exec', 'Match exec "true"\nInclude ~/r', /PATH:1: .* Match exec/],
    ['an Include with a variable', `Include \${DIR}/x`, /PATH:1: .* Include with a token/],
    [
      'CanonicalizeHostname',
      'CanonicalizeHostname yes\nHost a.example.com\nRevokedHostKeys /x',
      /PATH:1: .* CanonicalizeHostname/,
    ],
    [
      'Match canonical',
      'CanonicalizeHostname always\nMatch canonical\nKnownHostsCommand /x',
      /PATH:1: .* CanonicalizeHostname/,
    ],
    ['Match final', 'Host b\nMatch final all\nPort 3', /PATH:2: .* Match final can't be used/],
    ['Match exec that names a host', 'Match exec "true"\nHostName b', /hostname at PATH:2/],
    ['Match exec after a host', 'Match host a\nUser u\nMatch exec "true"\nPort 2', /PATH:3: /],
    ['CanonicalizePermittedCNAMEs', 'CanonicalizePermittedCNAMEs *:*', /CanonicalizePermitted/],
    ['tokens in User', 'User %u', /PATH:1: .* tokens in User/],
    ['a keyword in quotes', '"Port" 3', /PATH:1: .* a keyword in quotes/],
    ['a backslash in Match', 'Match user a\\b\nPort 3', /PATH:1: .* in Match/],
    ['two values', 'HostName a b', /PATH:1: hostname has more than one value/],
    ['two values for another host', 'Host b\nUser a b', /PATH:2: user has more than one value/],
    ['all beside others', 'Match host a user b all\nPort 3', /PATH:1: Match all/],
    ['a byte order mark', '\ufeffPort 3', /PATH begins with a byte-order mark/],
    [
      'RefuseConnection',
      'RefuseConnection "not from here"',
      /PATH:1: RefuseConnection: "not from here"/,
    ],
    ['an unknown keyword', 'NewKeyword x', /PATH:1: newkeyword is not a keyword of ssh_config/],
    [
      'an unknown keyword in a section that does not apply',
      'Host b\nNewKeyword x',
      /PATH:2: newkeyword/,
    ],
    ['a wrong flag', 'PubkeyAuthentication off', /PATH:1: pubkeyauthentication has no value "off"/],
    ['VerifyHostKeyDNS with a wrong value', 'VerifyHostKeyDNS maybe', /PATH:1: verifyhostkeydns/],
    [
      'a list with blanks',
      'Ciphers aes128-ctr, aes256-ctr',
      /PATH:1: ciphers has more than one value/,
    ],
    [
      "an unknown user's home",
      'RevokedHostKeys ~nobody-knows/x',
      /"~nobody-knows\/x", the user's home directory isn't known/,
    ],
  ] as const)
    it(`refuses ${title}`, async () => {
      const where = lab(config, { r: 'Host *\nRevokedHostKeys /x' });
      await assert.rejects(resolve(where, 'a', {}, { sshProgram: NO_SSH }), (error) => {
        assert.ok(error instanceof UsageError, String(error));
        assert.match(error.message.replaceAll(path(where), 'PATH'), message);
        return true;
      });
    });

  for (const [title, config] of [
    ['Match exec for another host', 'Match host b exec "true"\nRevokedHostKeys /x'],
    ['Match exec below another host', 'Host b\nMatch host b exec "true"\nRevokedHostKeys /x'],
    ['Match exec that changes nothing', 'Match exec "true"\nForwardAgent yes\nMatch all\nUser u'],
    ['Match exec after the value', 'Port 22\nMatch exec "true"\nPort 2'],
    ['CanonicalizeHostname of others', 'Host b\nCanonicalizeHostname yes'],
    ['keywords that are only noise', 'Protocol 2,1\nUseRoaming no\nCipher blowfish'],
    ['Match !all', 'Match !all\nPort 2'],
    ['Match canonical', 'Match canonical\nPort 2'],
    ['an Include with a variable below another host', `Host b\nInclude \${DIR}/x`],
    ['keywords of earlier versions', 'Protocol 2\nHost b\nRSAAuthentication no\nUseRoaming no'],
    ['a keyword that is to be ignored', 'IgnoreUnknown New*\nHost b\nNewKeyword x'],
  ] as const)
    it(`goes on with ${title}`, async () => {
      assert.equal((await resolve(lab(config), 'a', {}, { sshProgram: NO_SSH })).port, 22);
    });
});

describe('ProxyJump', { skip: LACKING }, () => {
  it('ends at a comment', async () => {
    const { proxy } = await both(lab('Host x\nProxyJump a,u@b:7  # through two'), 'x');
    assert.ok(proxy.kind === 'jump');
    assert.deepEqual(
      proxy.hops.map(({ name }) => name),
      ['a', 'b'],
    );
  });

  it('is checked for other hosts as well without ssh', async () => {
    const where = lab('Host other\nProxyJump a b');
    await assert.rejects(
      resolve(where, 'x', {}, { sshProgram: NO_SSH }),
      /:2: ProxyJump "a b" has a space/,
    );
  });
});

describe('settings that only ssh obeys', { skip: LACKING }, () => {
  for (const [config, expected] of [
    ['VerifyHostKeyDNS no\nCheckHostIP no', []],
    ['Host b\nVerifyHostKeyDNS yes', []],
    ['\nVerifyHostKeyDNS yes', ['VerifyHostKeyDNS yes (PATH:2)']],
    ['VerifyHostKeyDNS ask', ['VerifyHostKeyDNS ask (PATH:1)']],
    ['CheckHostIP yes', ['CheckHostIP yes (PATH:1)']],
    ['CheckHostIP yes\nHostName 10.0.0.1', []],
    ['CheckHostIP yes\nProxyCommand nc %h %p', []],
    ['BindInterface eth0', ['BindInterface eth0 (PATH:1)']],
    ['Include ~/more', ['VerifyHostKeyDNS yes (HOME/more:1)']],
  ] as const)
    it(`are found with their place: ${JSON.stringify(config)}`, async () => {
      const where = lab(config, { more: 'VerifyHostKeyDNS yes' });
      const { unobeyed } = await both(where, 'a');
      const found = unobeyed.map(({ setting, place }) => `${setting} (${place})`);
      const shown = found.map((text) =>
        text.replace(path(where), 'PATH').replace(where.home, 'HOME'),
      );
      assert.deepEqual(shown, expected);
    });

  it('have the place of their first line where only ssh knows whether it applies', async () => {
    const where = lab('Match exec "true"\nVerifyHostKeyDNS yes');
    const { unobeyed } = await resolve(where, 'a');
    assert.deepEqual(
      unobeyed.map(({ place }) => place),
      [`${path(where)}:2`],
    );
  });

  it('are nothing to an address that --host-key pins', async () => {
    const where = lab('VerifyHostKeyDNS yes\nHost a\nProxyJump b');
    const hostKey = 'SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU';
    const { unobeyed, proxy } = await both(where, 'a', { hostKey });
    assert.deepEqual(unobeyed, []);
    assert.ok(proxy.kind === 'jump');
    assert.equal(proxy.hops[0]?.unobeyed.length, 1, 'a hop has no pins');
  });

  function path(where: ReturnType<typeof lab>): string {
    return join(where.home, '.ssh/config');
  }
});

describe('what is said against keys, with and without ssh', { skip: LACKING }, () => {
  it('is read with tokens, variables and quotes', async () => {
    const where = lab(
      `RevokedHostKeys ~/r
      RequiredRSASize 3072
      KnownHostsCommand /bin/k "a b" %H %h-%n-%p-%r %% \${DIR}/%t #x
      FingerprintHash md5
      HostKeyAlias none
      NumberOfPasswordPrompts 0
      PreferredAuthentications none`,
    );
    const { hostKeys, authentication } = await both(where, 'u@a');
    assert.deepEqual(hostKeys.revokedFiles, [join(where.home, 'r')]);
    assert.deepEqual(hostKeys.command, {
      words: ['/bin/k', 'a b', '%H', 'a-a-22-u', '%%', '/srv/%t', '#x'],
      fingerprintHash: 'md5',
    });
    assert.equal(hostKeys.alias, 'none');
    assert.equal(hostKeys.leastRsaBits, 3072);
    assert.equal(authentication.leastRsaBits, 3072);
    assert.equal(authentication.numberOfPasswordPrompts, 0);
    assert.deepEqual(authentication.methods, []);
  });

  it('does not go below what ssh accepts at all', async () => {
    assert.equal((await both(lab('RequiredRSASize 512'), 'a')).hostKeys.leastRsaBits, 1024);
  });
});

describe('lists of algorithms, with and without ssh', { skip: LACKING }, () => {
  for (const [line, expected] of [
    ['HostKeyAlgorithms ecdsa*nistp256,ssh-ed25519', ['ecdsa-sha2-nistp256', 'ssh-ed25519']],
    ['PubkeyAcceptedAlgorithms rsa-sha2-256', undefined],
    ['PubkeyAcceptedAlgorithms -rsa*', undefined],
    ['PubkeyAcceptedKeyTypes +ssh-rsa', undefined],
    ['PubkeyAcceptedAlgorithms ^rsa-sha2-256', undefined],
    ['HostKeyAlgorithms -*-cert-*', undefined],
    ['HostKeyAlgorithms ^rsa*', undefined],
  ] as const)
    it(line, async () => {
      const { algorithms, authentication } = await both(lab(line), 'a');
      assert.ok(
        (algorithms.hostKeys ?? authentication.acceptedAlgorithms ?? []).length > 0,
        'it is set',
      );
      if (expected !== undefined)
        assert.deepEqual(
          algorithms.hostKeys?.filter((name) => !name.includes('@')),
          expected,
        );
    });

  it('known keys come first, unless the order is given', async () => {
    for (const [line, fixed] of [
      ['HostKeyAlgorithms -ssh-ed25519', false],
      ['HostKeyAlgorithms +ssh-rsa', false],
      ['HostKeyAlgorithms ^rsa-sha2-512', true],
      ['HostKeyAlgorithms rsa-sha2-512', true],
    ] as const)
      assert.equal((await both(lab(line), 'a')).hostKeys.fixedOrder, fixed, line);
  });

  for (const line of [
    'KexAlgorithms curve*',
    'Ciphers aes*',
    'MACs ^hmac*',
    'HostKeyAlgorithms *,!ssh-rsa',
  ])
    it(`${line} is refused`, async () => {
      for (const sshProgram of ['ssh', NO_SSH])
        await assert.rejects(resolve(lab(line), 'a', {}, { sshProgram }), UsageError);
    });
});
