/** What ssh's log tells about the connection; the lines are those of OpenSSH 9.2. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { LogFacts } from '../../../../src/ssh/openssh/facts.ts';

const LINES = [
  'debug1: Remote protocol version 2.0, remote software version OpenSSH_9.2p1 Debian-2',
  'debug1: kex: algorithm: sntrup761x25519-sha512@openssh.com',
  'debug1: kex: host key algorithm: ssh-ed25519',
  'debug1: kex: server->client cipher: aes128-gcm@openssh.com MAC: <implicit> compression: none',
  'debug1: kex: client->server cipher: aes256-ctr MAC: hmac-sha2-256 compression: none',
  'debug1: Found key in /home/u/.ssh/known_hosts:3',
  'debug1: Authentications that can continue: publickey,password',
  'Authenticated using "publickey" with partial success.',
  'Authenticated to jump ([192.0.2.1]:22) using "password".',
];

function established(lines: readonly string[], pinned = false) {
  const facts = new LogFacts();
  for (const line of lines) facts.line(line);
  return facts.established({
    at: 'jump:22',
    user: 'u',
    via: [],
    version: '9.2',
    pinned,
    log: {
      hostKey: 'ssh-ed25519 SHA256:abc',
      offered: ['id_ed25519', 'id_rsa'],
      acceptedKey: 'id_rsa',
    },
  });
}

describe('LogFacts', () => {
  it('has what a login has shown', () => {
    const { software, algorithms, hostKey, login } = established(LINES);
    assert.equal(software, 'OpenSSH_9.2p1 Debian-2');
    assert.deepEqual(algorithms, {
      kex: 'sntrup761x25519-sha512@openssh.com',
      hostKey: 'ssh-ed25519',
      cipher: 'aes128-gcm@openssh.com',
      mac: undefined,
    });
    assert.equal(hostKey?.why, '/home/u/.ssh/known_hosts:3 has it');
    assert.deepEqual(login, {
      user: 'u',
      permitted: ['publickey', 'password'],
      accepted: ['id_rsa', 'password'],
      keysOffered: 2,
    });
  });

  it('names the pin, and not the program that compares it', () => {
    const lines = ['debug1: Found key in KnownHostsCommand-HOSTNAME:1'];
    assert.equal(established(lines, true).hostKey?.why, '--host-key pins it');
  });

  it('keeps what came first: a later line may be the text of the server', () => {
    const forged = 'debug1: kex: algorithm: mlkem768x25519-sha256';
    assert.equal(
      established([...LINES, forged]).algorithms?.kex,
      'sntrup761x25519-sha512@openssh.com',
    );
  });

  it('knows nothing without lines', () => {
    const { algorithms, software } = established([]);
    assert.equal(algorithms, undefined);
    assert.equal(software, '');
  });
});
