import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { TunnelError } from '../../../src/errors/errors.ts';
import { chooseTransport, type TransportFacts } from '../../../src/link/choose.ts';
import type { WantedTransport } from '../../../src/ssh/options.ts';
import type { SshSettings } from '../../../src/ssh/settings.ts';
import { loopbackSettings } from '../../support/openssh.ts';
import { hostKeySettings } from '../../support/settings.ts';

const PLAIN: TransportFacts = {
  opensshInstalled: true,
  customCommand: false,
  identityTypes: ['ssh-ed25519'],
  hostOnlyByAuthority: false,
  embeddedFailure: undefined,
};
const settings = loopbackSettings(22, 'jump', '/known_hosts');
const SK = 'sk-ssh-ed25519@openssh.com';
const CERTIFICATE = 'ssh-ed25519-cert-v01@openssh.com';

const UNOBEYED = {
  setting: 'VerifyHostKeyDNS yes',
  place: '/config:3',
  why: "can't do it",
  without: 'VerifyHostKeyDNS no',
};
const WITH_COMMAND = hostKeySettings({
  command: { words: ['/bin/true'], fingerprintHash: 'sha256' },
});

interface Case {
  readonly name: string;
  readonly wanted?: WantedTransport;
  readonly settings?: Partial<SshSettings>;
  readonly facts?: Partial<TransportFacts>;
  readonly kind: 'ssh2' | 'openssh';
  readonly why: RegExp;
}

const CASES: readonly Case[] = [
  { name: 'nothing special', kind: 'ssh2', why: /nothing needs another/ },
  {
    name: 'nothing special, no ssh',
    facts: { opensshInstalled: false },
    kind: 'ssh2',
    why: /nothing/,
  },
  { name: 'asked for ssh2', wanted: 'ssh2', kind: 'ssh2', why: /as asked for/ },
  { name: 'asked for openssh', wanted: 'openssh', kind: 'openssh', why: /as asked for/ },
  { name: '-e', facts: { customCommand: true }, kind: 'openssh', why: /-e/ },
  {
    name: 'the configuration needs it',
    settings: { onlyOpenssh: ['PKCS11Provider', 'GSSAPIAuthentication'] },
    kind: 'openssh',
    why: /PKCS11Provider, GSSAPIAuthentication/,
  },
  {
    name: 'a setting that only it obeys',
    settings: { unobeyed: [UNOBEYED] },
    kind: 'openssh',
    why: /only it obeys VerifyHostKeyDNS yes \(\/config:3\)$/,
  },
  {
    name: 'a setting of a hop that only it obeys',
    settings: { proxy: { kind: 'jump', hops: [{ ...settings, unobeyed: [UNOBEYED] }] } },
    kind: 'openssh',
    why: /only it obeys VerifyHostKeyDNS yes/,
  },
  {
    name: 'KnownHostsCommand',
    settings: { hostKeys: WITH_COMMAND },
    kind: 'openssh',
    why: /KnownHostsCommand may name certificate authorities/,
  },
  {
    name: 'KnownHostsCommand, no ssh',
    settings: { hostKeys: WITH_COMMAND },
    facts: { opensshInstalled: false },
    kind: 'ssh2',
    why: /nothing/,
  },
  {
    name: 'a host with a certificate that may be revoked',
    facts: { embeddedFailure: 'host-key-certified' },
    kind: 'openssh',
    why: /whether the certificate of the host is revoked/,
  },
  {
    name: 'a hop needs it',
    settings: {
      proxy: { kind: 'jump', hops: [{ ...settings, onlyOpenssh: ['Tunnel of a hop'] }] },
    },
    kind: 'openssh',
    why: /Tunnel of a hop/,
  },
  {
    name: 'no common algorithm',
    facts: { embeddedFailure: 'jumphost-no-common-algorithm' },
    kind: 'openssh',
    why: /no algorithm in common/,
  },
  {
    name: 'names of algorithms that only ssh knows',
    facts: { embeddedFailure: 'algorithms-unknown' },
    kind: 'openssh',
    why: /none of the algorithms/,
  },
  {
    name: 'failed otherwise',
    facts: { embeddedFailure: 'jumphost-refused' },
    kind: 'ssh2',
    why: /nothing/,
  },
  {
    name: 'only @cert-authority',
    facts: { hostOnlyByAuthority: true },
    kind: 'openssh',
    why: /@cert-authority/,
  },
  { name: 'only sk keys', facts: { identityTypes: [SK] }, kind: 'openssh', why: /sk-ssh-ed25519/ },
  {
    name: 'only certificates',
    facts: { identityTypes: [CERTIFICATE] },
    kind: 'openssh',
    why: /-cert-v01/,
  },
  {
    name: 'sk and a plain key',
    facts: { identityTypes: [SK, 'ssh-rsa'] },
    kind: 'ssh2',
    why: /nothing/,
  },
  { name: 'no keys at all', facts: { identityTypes: [] }, kind: 'ssh2', why: /nothing/ },
];

describe('the choice of a transport', () => {
  for (const { name, wanted = 'auto', settings: changes, facts, kind, why } of CASES) {
    it(`${name}: ${kind}`, () => {
      const choice = chooseTransport(wanted, { ...settings, ...changes }, { ...PLAIN, ...facts });
      assert.equal(choice.kind, kind);
      assert.match(choice.why, why);
      assert.ok(!choice.why.includes('\n'));
    });
  }

  it('refuses the embedded client for what it does not obey, at every host', () => {
    const hops = [{ ...settings, unobeyed: [UNOBEYED] }];
    for (const changes of [{ unobeyed: [UNOBEYED] }, { proxy: { kind: 'jump', hops } }] as const)
      assert.throws(() => chooseTransport('ssh2', { ...settings, ...changes }, PLAIN), {
        code: 'transport-unfit',
        message: "VerifyHostKeyDNS yes (/config:3): the embedded SSH client can't do it",
      });
  });

  it('says why the system ssh is needed when it is missing', () => {
    const facts = { ...PLAIN, opensshInstalled: false, identityTypes: [SK] };
    assert.throws(
      () => chooseTransport('auto', settings, facts),
      (error) =>
        error instanceof TunnelError &&
        error.code === 'openssh-not-found' &&
        error.message.includes(SK) &&
        error.hint !== undefined,
    );
  });

  it('does not ignore -e', () => {
    assert.throws(
      () => chooseTransport('ssh2', settings, { ...PLAIN, customCommand: true }),
      (error) => error instanceof TunnelError && error.code === 'transport-unfit',
    );
  });
});
