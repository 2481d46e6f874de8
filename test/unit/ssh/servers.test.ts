import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { forwardingOfKind, serverKind } from '../../../src/ssh/servers.ts';

describe('serverKind', () => {
  // As they sent it in the interop tests, or as their sources have it.
  const identifications: readonly (readonly [line: string, name: string, version?: string])[] = [
    ['SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10', 'OpenSSH', '9.2p1'],
    ['SSH-2.0-OpenSSH_7.6p1 Ubuntu-4ubuntu0.7', 'OpenSSH', '7.6p1'],
    ['SSH-2.0-OpenSSH_for_Windows_9.5', 'OpenSSH', '9.5'],
    ['SSH-2.0-OpenSSH_7.6p1', 'charmbracelet/wish or OpenSSH', '7.6p1'],
    ['SSH-2.0-dropbear_2022.83', 'dropbear', '2022.83'],
    ['SSH-2.0-dropbear', 'dropbear'],
    ['SSH-2.0-tinyssh_20230101-1 arIYGbbo', 'tinyssh', '20230101'],
    ['SSH-2.0-AsyncSSH_2.10.1', 'AsyncSSH', '2.10.1'],
    ['SSH-2.0-paramiko_2.12.0', 'paramiko', '2.12.0'],
    ['SSH-2.0-Twisted_22.4.0', 'Twisted Conch', '22.4.0'],
    ['SSH-2.0-ssh-proxy_1.4.0/0603e06_k8shell.io', "K8shell's SSH proxy", '1.4.0'],
    ['SSH-2.0-Go', 'golang.org/x/crypto/ssh'],
    ['SSH-2.0-APACHE-SSHD-2.15.0', 'Apache MINA SSHD', '2.15.0'],
    ['SSH-2.0-russh_0.65.1', 'russh', '0.65.1'],
    ['SSH-2.0-ssh2js1.17.0', 'ssh2 (Node)', '1.17.0'],
    ['SSH-2.0-Erlang/4.15.2', "Erlang's ssh", '4.15.2'],
  ];
  it('knows servers by the whole line, and by the part after the protocol', () => {
    for (const [line, name, version] of identifications)
      for (const given of [line, `${line}\r\n`, line.replace('SSH-2.0-', '')]) {
        const known = serverKind(given);
        assert.equal(known?.name, name, given);
        assert.equal(known.version, version, given);
      }
  });

  it('does not guess', () => {
    for (const line of [
      '',
      'SSH-2.0-',
      'SSH-2.0-Golang',
      'SSH-2.0-ssh-proxy_1.0',
      'SSH-2.0-myOpenSSH_9',
      'Bastion',
    ])
      assert.equal(serverKind(line), undefined, line);
  });

  it('says that Conch and K8shell confirm before they connect, and that tinyssh forwards nothing', () => {
    const codes = (line: string) => serverKind(line)?.limits.map(({ code }) => code);
    assert.deepEqual(codes('Twisted_26.10.0'), ['confirms-before-connecting', 'half-close']);
    assert.deepEqual(codes('ssh-proxy_1.4.0/0603e06_k8shell.io'), [
      'confirms-before-connecting',
      'few-connections',
    ]);
    assert.deepEqual(codes('tinyssh_noversion'), ['no-forwarding']);
    assert.deepEqual(codes('OpenSSH_9.2p1'), []);
  });

  it('has sentences that a list can end with a full stop', () => {
    for (const [line] of identifications)
      for (const { what, hint } of serverKind(line)?.limits ?? [])
        for (const sentence of [what, hint]) {
          assert.match(sentence, /^[a-z]/, sentence);
          assert.doesNotMatch(sentence, /\.$/, sentence);
        }
  });
});

describe('forwardingOfKind', () => {
  it('names settings that the server has', () => {
    assert.match(forwardingOfKind('dropbear_2022.83')?.hint ?? '', /without -j/);
    assert.match(forwardingOfKind('APACHE-SSHD-2.15.0')?.hint ?? '', /setForwardingFilter/);
    assert.equal(forwardingOfKind('tinyssh_20230101')?.certain, true);
  });

  it("leaves OpenSSH's settings to OpenSSH, and to what may be it", () => {
    for (const software of ['OpenSSH_9.2p1 Debian-2', 'OpenSSH_7.6p1', 'Bastion', ''])
      assert.equal(forwardingOfKind(software), undefined, software);
  });
});
