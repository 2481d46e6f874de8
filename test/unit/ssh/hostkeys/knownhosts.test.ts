/** Lines of known_hosts, one by one: those that ssh-keygen finds for a host. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { silentObserver } from '../../../../src/observe/observer.ts';
import { knownHostsName, loadKnownHosts } from '../../../../src/ssh/hostkeys/knownhosts.ts';

const skip =
  spawnSync('ssh-keygen', ['-?']).error === undefined
    ? false
    : 'ssh-keygen is missing (package openssh-client)';
const D = mkdtempSync(join(tmpdir(), 'tunnel-knownhosts-'));
after(() => rmSync(D, { recursive: true }));
const FILE = join(D, 'known_hosts');

const HOSTS = [
  ['h', 22],
  ['H', 22],
  ['h', 2222],
  ['10.0.0.1', 22],
  ['2001:db8::1', 22],
  ['2001:DB8::1', 2222],
] as const;

/** `ssh-ed25519 AAAA...` */
function makeKey(type: string): string {
  const path = join(D, type);
  spawnSync('ssh-keygen', ['-q', '-t', type, '-N', '', '-f', path]);
  return readFileSync(`${path}.pub`, 'utf8').split(' ').slice(0, 2).join(' ');
}

describe('known_hosts', { skip }, () => {
  const names = [
    ...['h', 'H', 'a,h', 'a, h', 'h,', ',h', '*', '?', '*,!h', '!h,*', '!h', '"h"', 'no-pty h'],
    ...['[h]:2222', '[h]:22', '[*]:2222', '[h]:*', '*:2222', 'h:2222', '10.0.0.*', '10.0.0.0/8'],
    ...['2001:db8::1', '[2001:db8::1]:22', '[2001:DB8::1]:2222', '2001:db8:*', '|1|AAAA|BBBB'],
    ...['#h', '  #h', '   h', '\th', '\ufeffh', '\u00a0h', '\u000bh', '@foo h', '@Revoked h'],
    ...['@revoked h', '@revoked *', '@revoked   h', '@cert-authority h', '@revoked @revoked h'],
  ];

  it('has the lines that ssh-keygen finds', async () => {
    const [ed25519, rsa, ecdsa] = ['ed25519', 'rsa', 'ecdsa'].map(makeKey) as [
      string,
      string,
      string,
    ];
    const blobOf = (key: string): string => key.replace(/^\S+ /, '');
    const cut = blobOf(ed25519);
    const lines = [
      ...names.map((name) => `${name} ${ed25519}`),
      ...[`h ${rsa}`, `h ${ecdsa}`, `h rsa-sha2-512 ${blobOf(rsa)}`, `h ssh-rsa ${cut}`],
      ...[`h ecdsa-sha2-nistp384 ${blobOf(ecdsa)}`, 'h 2048 65537 1234567', 'h ssh-ed25519'],
      ...[
        `h ssh-ed25519 ${cut.slice(0, 40)}`,
        `h ssh-ed25519 ${cut.slice(0, 20)} ${cut.slice(20)}`,
      ],
      ...[`h\t\t${ed25519}`, `h ${ed25519}\r`, `h ${ed25519} a comment # x`, `h ${ed25519}=`],
    ];
    for (const line of lines) {
      writeFileSync(FILE, `${line}\n`);
      const known = await loadKnownHosts([FILE], silentObserver);
      for (const [host, port] of HOSTS) {
        const asked = port === 22 ? host : `[${host}]:${port}`;
        const { stdout } = spawnSync('ssh-keygen', ['-l', '-F', asked, '-f', FILE], {
          encoding: 'utf8',
        });
        const shown = stdout.split('\n').filter((text) => text !== '' && !text.startsWith('#'));
        const found = known.lookup(knownHostsName(host, port));
        assert.equal(found.length, shown.length, `${asked} in ${JSON.stringify(line)}`);
      }
    }
  });
});
