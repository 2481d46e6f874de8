/** Values one by one: without ssh, exactly those are taken that ssh takes. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { UsageError } from '../../../../src/errors/errors.ts';
import { LACKING, lab, NO_SSH, resolve } from '../../../support/sshconfiglab.ts';

const directory = mkdtempSync(join(tmpdir(), 'tunnel-values-'));
after(() => rmSync(directory, { recursive: true }));

/** Those of all versions from 9.2 on. */
const LINES: Readonly<Record<string, readonly string[]>> = {
  AddKeysToAgent: ['yes', 'ask', 'maybe', '1h', 'confirm 1h', 'yes 1h', 'confirm soon', 'a b'],
  CanonicalDomains: ['a b.example', 'none', '..', 'a..b', '-a', 'a/b'],
  CanonicalizePermittedCNAMEs: ['a:b c:d', 'none', 'none a:b', 'a', 'a:'],
  CASignatureAlgorithms: ['^ssh-rsa', 'foo'],
  Ciphers: [
    ...['+aes128-cbc', '^aes256-gcm@openssh.com', '-arcfour*', '-*', 'aes128-ctr,', ',foo'],
    ...['+', '^', '+foo', 'aes128-ctr,arcfour', 'AES128-CTR', 'none', 'aes*', '++aes128-cbc'],
    ...['aes128-cbc,,blowfish-cbc', 'rijndael-cbc@lysator.liu.se'],
  ],
  ConnectionAttempts: ['0', '1', '+3', '0x3', '2147483648'],
  ConnectTimeout: ['1w', '1h30', '99999w', '-1', 'none', 'None'],
  ControlPath: ['a b', '"a b"'],
  ControlPersist: ['yes', '10m', '0', 'Yes', 'foo', '10m x'],
  EscapeChar: ['none', '^]', '~', 'ab', '^', '^5'],
  ForwardAgent: ['yes', '$SSH_AUTH_SOCK', '/x', 'a b', '$1x'],
  ForwardX11Timeout: ['20m', '0', 'none', 'foo'],
  HostKeyAlgorithms: ['ssh-*', 'ssh-rsa,,foo', 'SSH-RSA', 'ssh-rsa,x-foo', '*foo*', '-foo'],
  IdentityAgent: ['SSH_AUTH_SOCK', '$FOO', '/a/b', '$1x', '$', '$a-b', 'a b'],
  IPQoS: ['lowdelay throughput', 'none', 'AF21 cs1', '255', '256', 'foo', 'ef foo', 'ef ef ef'],
  KbdInteractiveDevices: ['a,b', 'a b'],
  KexAlgorithms: ['+diffie-hellman-group1-sha1', '-foo', 'foo', 'ext-info-c', '^'],
  LogLevel: ['debug3', 'QUIET', 'LOUD', 'INFO x'],
  MACs: ['hmac-md5', 'hmac-sha1,hmac-ripemd160', '+'],
  NumberOfPasswordPrompts: ['0', '+3', '3x', '-1'],
  PermitRemoteOpen: ['any', 'a:80 [::1]:*', 'a', 'a:x', 'none a:80', ':80'],
  ProxyJump: [
    ...['b', 'b,c', 'u@b:2222', 'u@[2001:db8::1]:22', 'ssh://u@b:22', 'b # c', '=b', 'none'],
    ...['b, c', '2001:db8::1', 'u@2001:db8::1', 'b,', ',b', 'u@', '[::1', 'b:0', 'b:x'],
    ...['u:x@b', 'DOMAIN\\u@b', 'ssh://b,c', 'ssh://2001:db8::1', 'b/22'],
  ],
  PubkeyAcceptedAlgorithms: ['+ssh-rsa', '-ssh-*', 'ssh-rsa,ssh-dss', '+', 'foo', '+foo'],
  RekeyLimit: [
    ...['1.5G', '+1G', '7E', '.5G', 'G', '1B', '16', '0', '1G 1h30m', '1G none', 'default none'],
    ...['1', '15', '-1', '16E', '1GB', '1X', 'Default', 'none', '1G None', '1G 1h x', '1.5.5G'],
  ],
  RemoteForward: ['80', '80 h:80', '0 h:80', '/s /t', 'foo', '80 h', '80 h:80 x', '80 h:0'],
  SendEnv: ['LANG LC_*', '-LANG', 'A=b'],
  SetEnv: ['A=b', 'A=b C=d', '"A=b c"', 'A', 'A=b C'],
  StreamLocalBindMask: ['0177', '777', '999', '01777'],
  SyslogFacility: ['AUTHPRIV', 'local7', 'FOO'],
  TunnelDevice: ['any:any', '0:1', 'any', '5', 'foo', '1:foo'],
  XAuthLocation: ['/x', 'a b'],
};

function sshTakes(file: string): boolean {
  return spawnSync('ssh', ['-T', '-G', '-F', file, 'a']).status === 0;
}

/** Throws what isn't a UsageError. */
async function refusal(text: string): Promise<string | undefined> {
  try {
    await resolve(lab(text), 'a', {}, { sshProgram: NO_SSH });
    return undefined;
  } catch (error) {
    if (error instanceof UsageError) return error.message;
    throw error;
  }
}

describe('values of keywords, without ssh', { skip: LACKING }, () => {
  for (const [keyword, values] of Object.entries(LINES)) {
    it(`are those that ssh takes: ${keyword}`, async () => {
      for (const [index, value] of values.entries()) {
        const line = `${keyword} ${value}`;
        // Hops would be reached through themselves, and sections that don't apply are read as well.
        const text = `Host other\n${line}\n`;
        const file = join(directory, `${keyword}-${index}`);
        writeFileSync(file, text, { mode: 0o600 });
        const message = await refusal(text);
        assert.equal(message === undefined, sshTakes(file), `${line}: ${message ?? 'taken'}`);
        if (message !== undefined) assert.match(message, /\/config:2: /, line);
      }
    });
  }

  it('come to the same in odd forms', async () => {
    const lines = 'RekeyLimit 1.5G\nNumberOfPasswordPrompts +2\nCiphers aes128-ctr,,foo\n';
    const where = lab(`${lines}ProxyCommand = = nc %h %p\n`);
    const asked = await resolve(where, 'a');
    const read = await resolve(where, 'a', {}, { sshProgram: NO_SSH });
    assert.deepEqual(read, asked);
    assert.deepEqual(read.rekey, { bytes: 1.5 * 2 ** 30, seconds: undefined });
    assert.deepEqual(read.proxy, { kind: 'command', command: 'nc a 22' });
    assert.equal(read.authentication.numberOfPasswordPrompts, 2);
  });
});
