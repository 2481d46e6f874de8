import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { describeLogin, loginFailure } from '../../../src/doctor/login.ts';
import { TunnelError } from '../../../src/errors/errors.ts';
import { ESTABLISHED } from '../../support/established.ts';

function finding(name: string, changes: Partial<typeof ESTABLISHED> = {}) {
  const found = describeLogin({ ...ESTABLISHED, ...changes }).find((item) => item.name === name);
  assert.ok(found !== undefined);
  return found;
}

describe('describeLogin', () => {
  it('says why the host key is trusted', () => {
    assert.equal(
      finding('host-key').detail,
      'ssh-ed25519 SHA256:abc is trusted because line 3 of /home/u/.ssh/known_hosts has it',
    );
    assert.equal(finding('host-key', { hostKey: undefined }).state, 'note');
  });

  it('tells algorithms that are old, or not post-quantum', () => {
    const { algorithms } = ESTABLISHED;
    assert.ok(algorithms !== undefined);
    assert.equal(finding('algorithms').state, 'note');
    assert.match(finding('algorithms').detail, /; not post-quantum$/);
    const quantum = { ...algorithms, kex: 'mlkem768x25519-sha256' };
    assert.equal(finding('algorithms', { algorithms: quantum }).state, 'ok');
    for (const old of [
      { ...algorithms, kex: 'diffie-hellman-group14-sha1' },
      { ...algorithms, hostKey: 'ssh-rsa' },
      { ...algorithms, cipher: 'aes128-cbc', mac: 'hmac-sha1' },
    ]) {
      const found = finding('algorithms', { algorithms: old });
      assert.equal(found.state, 'warning');
      assert.match(found.detail, /no longer secure/);
    }
    for (const mac of ['hmac-sha2-256', 'hmac-sha2-512-etm@openssh.com', undefined]) {
      const found = finding('algorithms', { algorithms: { ...algorithms, mac } });
      assert.equal(found.state, 'note');
    }
  });

  it('counts the keys that were offered', () => {
    assert.equal(
      finding('authentication').detail,
      'the jump host let "u" in: it accepted id_ed25519 (ssh-ed25519 SHA256:key); it permits publickey; 1 key offered',
    );
    const many = { ...ESTABLISHED.login, keysOffered: 5 };
    assert.equal(finding('authentication', { login: many }).state, 'warning');
    const none = { user: 'u', permitted: [], accepted: [], keysOffered: 0 };
    assert.match(finding('authentication', { login: none }).detail, /it asked for nothing$/);
  });

  it('knows limits of servers', () => {
    assert.equal(finding('server').state, 'ok');
    assert.match(finding('server').detail, /^OpenSSH_9\.2p1 Debian-2; /);
    const conch = finding('server', { software: 'Twisted_22.4.0' });
    assert.equal(conch.state, 'note');
    assert.match(conch.detail, /Twisted Conch.*confirms each connection before/);
    assert.equal(finding('server', { software: 'tinyssh_20230101' }).state, 'failed');
    const k8shell = finding('server', { software: 'ssh-proxy_1.4.0/0603e06_k8shell.io' });
    assert.match(k8shell.detail, /K8shell.*confirms each connection before.*15 connections/);
    assert.match(k8shell.hint ?? '', /server\.maxDirectTCPIPConnections/);
    assert.match(finding('server', { software: 'ssh-proxy_1.0' }).detail, /not a server that is/);
    assert.match(finding('server', { software: 'Mystery_1' }).detail, /not a server that is known/);
  });
});

describe('loginFailure', () => {
  it('says which check an error belongs to', () => {
    for (const [code, name] of [
      ['host-key-changed', 'host-key'],
      ['auth-failed', 'authentication'],
      ['no-terminal', 'authentication'],
      ['jumphost-no-common-algorithm', 'algorithms'],
      ['jumphost-dns', 'jump-host'],
      ['openssh-not-found', 'jump-host'],
    ] as const) {
      const found = loginFailure(new TunnelError(code, 'what', { hint: 'do' }));
      assert.deepEqual(found, { name, state: 'failed', detail: 'what', hint: 'do', code });
    }
    assert.throws(() => loginFailure(new Error('a fault')), /a fault/);
  });
});
