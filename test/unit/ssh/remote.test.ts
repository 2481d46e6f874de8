import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { UsageError } from '../../../src/errors/errors.ts';
import type { Place } from '../../../src/net/place.ts';
import { formatJump, MAX_JUMP_HOPS, parseJump, parseRemote } from '../../../src/ssh/remote.ts';

const REMOTE: Place = { kind: 'option', name: '-r' };
const JUMP: Place = { kind: 'option', name: '-J' };

describe('parseRemote', () => {
  const table: readonly (readonly [
    text: string,
    user: string | undefined,
    host: string,
    port?: number,
  ])[] = [
    ['jumphost', undefined, 'jumphost'],
    ['user@jumphost', 'user', 'jumphost'],
    ['user@jumphost:2222', 'user', 'jumphost', 2222],
    ['jumphost.example.com.:22', undefined, 'jumphost.example.com.', 22],
    ['user@session@bastion.example.com', 'user@session', 'bastion.example.com'],
    ['user@local@target:SSH:primary@bastion', 'user@local@target:SSH:primary', 'bastion'],
    ['DOMAIN\\user name@jump_host', 'DOMAIN\\user name', 'jump_host'],
    ['DOMAIN\\user@jumphost:2222', 'DOMAIN\\user', 'jumphost', 2222],
    ['user:target@warpgate', 'user:target', 'warpgate'],
    ['user:target@warpgate:2222', 'user:target', 'warpgate', 2222],
    ['user:target@[2001:db8::1]:2222', 'user:target', '2001:db8::1', 2222],
    ['user:target@2001:db8::1', 'user:target', '2001:db8::1'],
    ['ssh://user%3Atarget@warpgate:2222', 'user:target', 'warpgate', 2222],
    ['ssh://DOMAIN%5cuser@jumphost', 'DOMAIN\\user', 'jumphost'],
    ['ssh://DOMAIN\\user@jumphost', 'DOMAIN\\user', 'jumphost'],
    ['ssh://user%40session%40domain@jumphost:2222', 'user@session@domain', 'jumphost', 2222],
    ['192.0.2.1', undefined, '192.0.2.1'],
    ['u@192.0.2.1:22', 'u', '192.0.2.1', 22],
    ['u@[192.0.2.1]:22', 'u', '192.0.2.1', 22],
    ['2001:db8::1', undefined, '2001:db8::1'],
    ['u@2001:db8::1', 'u', '2001:db8::1'],
    ['[2001:db8::1]', undefined, '2001:db8::1'],
    ['u@[2001:db8::1]:2222', 'u', '2001:db8::1', 2222],
    ['u@[fe80::1%eth0]:22', 'u', 'fe80::1%eth0', 22],
    ['ssh://u@jumphost:2222/', 'u', 'jumphost', 2222],
    ['ssh://jumphost', undefined, 'jumphost'],
    ['SSH://u@[2001:db8::1]:22', 'u', '2001:db8::1', 22],
    ['ssh://u%40session@jumphost', 'u@session', 'jumphost'],
    ['ssh://u@session@jumphost', 'u@session', 'jumphost'],
    ['jumphost-1', undefined, 'jumphost-1'],
    ['0x7f.example', undefined, '0x7f.example'],
    // Aliases, which only ssh_config can tell from mistakes.
    ['61', undefined, '61'],
    ['u@[61]:22', 'u', '61', 22],
    ['u@db.1:2222', 'u', 'db.1', 2222],
    ['gw-10.0.0.1', undefined, 'gw-10.0.0.1'],
    ['10.1', undefined, '10.1'],
    ['prod/db', undefined, 'prod/db'],
  ];
  for (const [text, user, host, port] of table) {
    it(`reads ${text}`, () =>
      assert.deepEqual(parseRemote(text, REMOTE), { user, host, port, text }));
  }

  const wrong: readonly (readonly [text: string, message: RegExp, hint?: RegExp])[] = [
    ['', /the jump host is empty/],
    ['@jumphost', /no user before the "@"/],
    ['user@', /no host/],
    ['user@:22', /no host/],
    ['user@jumphost:', /the port is missing/],
    ['user@jumphost:0', /0 is not a port number/],
    ['user@jumphost:70000', /70000 is not a port number/],
    ['user@jumphost:ssh', /"ssh" is not a port number/],
    ['-oProxyCommand=sh', /a host that begins with a dash/],
    ['user@-oProxyCommand=sh', /a host that begins with a dash/],
    ['-user@jumphost', /a user that begins with a dash/],
    ['ssh://-user@jumphost', /a user that begins with a dash/],
    ['ssh://%2duser@jumphost', /a user that begins with a dash/],
    ['user\n@jumphost', /control characters/],
    ['ssh://u%0a@jumphost', /control characters/],
    ['u@jump\u0000host', /control characters/],
    ['u@jump host', /a host with " " in it/],
    ['u@$(id)', /a host with "\$" in it/],
    ['u@jump;host', /";" in it/],
    ['u@jump,host', /"," in it/],
    [`u@${'a'.repeat(256)}`, /longer than 255/],
    ['u@[2001:db8::1', /a "\[" without "\]"/],
    ['u@[2001:db8::1]22', /has "22" after the "\]"/],
    ['u@[2001:db8::1]:', /the port is missing/],
    ['u@[jumphost]:22', /brackets around something that is no address/],
    [
      'u@2001:db8:0:0:0:0:0:1:22',
      /a host that is no IPv6 address/,
      /write \[2001:db8:0:0:0:0:0:1\]:22/,
    ],
    ['u@2001:db8::1::2', /a host that is no IPv6 address/],
    ['http://jumphost', /is a web address/, /USER@jumphost, with :PORT/],
    ['https://u:p@bastion.example.com:8443/x?y', /is a web address/, /USER@bastion\.example\.com,/],
    ['HTTPS://', /is a web address/, /USER@HOST,/],
    ['sftp://u@jumphost:22/dir', /is not an SSH address/, /write ssh:\/\/u@jumphost:22$/],
    ['ssh://u:secret@jumphost', /may be a password/, /write %3A if the ":" belongs to the user/],
    ['ssh://u@session:secret@jumphost', /may be a password/],
    ['ssh://u@jumphost/path', /something after the host/],
    ['ssh://u%zz@jumphost', /"%" that isn't followed/],
    ['ssh://', /no host/],
  ];
  for (const [text, message, hint] of wrong) {
    it(`refuses ${JSON.stringify(text.slice(0, 40))}`, () => {
      assert.throws(
        () => parseRemote(text, REMOTE),
        (error) => {
          assert.ok(error instanceof UsageError);
          assert.match(error.message, message);
          assert.match(error.message, /^-r/);
          if (hint !== undefined) assert.match(error.hint ?? '', hint);
          return true;
        },
      );
    });
  }
});

describe('parseJump', () => {
  it('reads hosts in order, and none', () => {
    assert.deepEqual(
      parseJump('a, u@s@b:2222,ssh://[2001:db8::1]:23', JUMP).map(({ user, host, port }) => [
        user,
        host,
        port,
      ]),
      [
        [undefined, 'a', undefined],
        ['u@s', 'b', 2222],
        [undefined, '2001:db8::1', 23],
      ],
    );
    assert.deepEqual(parseJump('NONE', JUMP), []);
  });

  it('is written as it was read', () => {
    for (const text of [
      'none',
      'a,u@s@b:2222,[2001:db8::1]:23',
      'user:target@a:2222,DOMAIN\\user@b',
      '61,db.1:22,gw-10.0.0.1',
    ])
      assert.equal(formatJump(parseJump(text, JUMP)), text);
  });

  it('refuses wrong hosts, and too many', () => {
    for (const text of ['', 'a,', 'a,-b', 'a,none,b c', 'a,ssh://u%2cv@b', 'a/b']) {
      assert.throws(() => parseJump(text, JUMP), /^UsageError: -J[: ]/, text);
    }
    const hops = Array(MAX_JUMP_HOPS).fill('h');
    assert.equal(parseJump(hops.join(','), JUMP).length, MAX_JUMP_HOPS);
    assert.throws(() => parseJump([...hops, 'h'].join(','), JUMP), /9 hosts/);
  });
});
