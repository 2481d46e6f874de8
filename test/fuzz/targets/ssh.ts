/** What SSH servers, agents, the system's ssh and SSH's own files say. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { parseDirective } from '../../../src/ssh/config/syntax.ts';
import { Channel } from '../../../src/ssh/embedded/channels/channel.ts';
import { parseKnownHosts } from '../../../src/ssh/hostkeys/knownhosts.ts';
import { checkKrl } from '../../../src/ssh/hostkeys/krl.ts';
import { readIdentities, readSignature } from '../../../src/ssh/identities/agent.ts';
import { parseCertificate } from '../../../src/ssh/keys/certificate.ts';
import { inspectKeyFile } from '../../../src/ssh/keys/keyfile.ts';
import { parseHostKeyPin } from '../../../src/ssh/keys/pin.ts';
import { parsePublicKey, publicKeyFromBlob } from '../../../src/ssh/keys/publickey.ts';
import { WireReader, wireString, wireUint32 } from '../../../src/ssh/keys/wire.ts';
import { SshLog } from '../../../src/ssh/openssh/log.ts';
import { parseJump, parseRemote } from '../../../src/ssh/remote.ts';
import { serverText } from '../../../src/ssh/servertext.ts';
import { Bench } from '../../support/channelbench.ts';
import { joined } from '../../support/testconduit.ts';
import type { FuzzTarget } from '../engine.ts';
import { refusable, text } from '../text.ts';
import { CERTIFICATE, KEY, PEM_KEY, PRIVATE_KEY } from './keys.ts';

const PLACE = { kind: 'argument', name: 'fuzz' } as const;

const publicKeys: FuzzTarget = {
  name: 'public-key',
  seeds: [
    KEY,
    CERTIFICATE,
    `@cert-authority *.example ${KEY}`,
    Buffer.from(KEY.split(' ')[1] ?? '', 'base64'),
  ],
  words: ['ssh-ed25519', 'ecdsa-sha2-nistp256', '-cert-v01@openssh.com', 'AAAA'],
  maxBytes: 4_000,
  run(input) {
    publicKeyFromBlob(Buffer.from(input));
    parsePublicKey(text(input));
    parseCertificate(text(input));
    refusable(() => parseHostKeyPin(text(input)));
  },
};

/** A certificate's own octets: its text would hide them from mutations. */
const certificates: FuzzTarget = {
  name: 'certificate',
  seeds: [Buffer.from(CERTIFICATE.split(' ')[1] ?? '', 'base64')],
  maxBytes: 2_000,
  run(input) {
    const type = 'ssh-ed25519-cert-v01@openssh.com';
    parseCertificate(`${type} ${Buffer.from(input).toString('base64')} comment`);
  },
};

const privateKeys: FuzzTarget = {
  name: 'key-file',
  seeds: [PRIVATE_KEY, PEM_KEY, KEY],
  words: ['-----BEGIN OPENSSH PRIVATE KEY-----', 'ENCRYPTED', 'Proc-Type: 4,ENCRYPTED\n'],
  maxBytes: 4_000,
  run(input) {
    inspectKeyFile(text(input), undefined);
    inspectKeyFile(PRIVATE_KEY, text(input));
  },
};

const knownHosts: FuzzTarget = {
  name: 'known-hosts',
  seeds: [
    `host,10.0.0.1,[h]:2222,!no,*.example ${KEY}\n`,
    `@revoked * ${KEY}\n|1|JfKTdBh7rNbXkVAQCRp4OQoPfmI=|USECr3SWf1JUPsms5AqfD5QfxkM= ${KEY}`,
  ],
  words: ['@revoked ', '@cert-authority ', '|1|', '*', '?', '!', '[', ']:'],
  maxBytes: 4_000,
  run: (input) => void parseKnownHosts(text(input), 'known_hosts'),
};

const BLOB = Buffer.from(KEY.split(' ')[1] ?? '', 'base64');

/** What an agent answers, after the type of the message. */
const agent: FuzzTarget = {
  name: 'agent-answer',
  seeds: [
    Buffer.concat([wireUint32(2), ...['one', 'two'].flatMap((it) => [BLOB, it]).map(wireString)]),
    wireString(Buffer.concat([wireString('ssh-ed25519'), wireString(Buffer.alloc(64))])),
  ],
  words: [wireString('ssh-ed25519'), wireString('rsa-sha2-512'), wireString(BLOB)],
  maxBytes: 1_000,
  run(input) {
    const answer = (): WireReader => new WireReader(Buffer.from(input));
    refusable(() => {
      for (const { type, blob } of readIdentities(answer()))
        assert.equal(publicKeyFromBlob(blob)?.type, type);
    });
    refusable(() => assert.ok(readSignature(answer(), 'ssh-ed25519').length <= input.length));
  },
};

/** A section of a KRL: its type, and its content as a string. */
function section(type: number, ...content: Buffer[]): Buffer {
  return Buffer.concat([Buffer.of(type), wireString(Buffer.concat(content))]);
}

const serial = (value: number): Buffer => Buffer.concat([wireUint32(0), wireUint32(value)]);
const digest = (name: string): Buffer => createHash(name).update(BLOB).digest();
const KRL_HEADER = Buffer.concat([
  Buffer.from('SSHKRL\n\0'),
  wireUint32(1),
  ...[1, 2, 0].map(serial),
  wireString(''),
  wireString('comment'),
]);

/** The sections of a KRL. Whether they are well-formed doesn't depend on the key. */
const krl: FuzzTarget = {
  name: 'krl',
  seeds: [
    section(2, wireString(BLOB)),
    section(3, wireString(digest('sha1'))),
    section(5, wireString(digest('sha256'))),
    section(
      1,
      wireString(BLOB),
      wireString(''),
      section(0x20, serial(1), serial(2)),
      section(0x21, serial(1), serial(9)),
      section(0x22, serial(7), wireString(Buffer.of(3))),
      section(0x23, wireString('host')),
      section(0x39, wireString('x@y'), Buffer.of(0), wireString('')),
    ),
    Buffer.concat([section(4, BLOB), wireString('signature')]),
    section(255, wireString('x@y'), Buffer.of(0), wireString('')),
  ],
  words: [wireString(BLOB), wireString(digest('sha256')), Buffer.of(0, 0, 0, 0), 'SSHKRL\n\0'],
  maxBytes: 1_000,
  run(input) {
    checkKrl(Buffer.from(input), BLOB);
    const data = Buffer.concat([KRL_HEADER, input]);
    const [own, other] = [checkKrl(data, BLOB), checkKrl(data, Buffer.from('another'))];
    assert.equal(own === 'malformed', other === 'malformed');
    const revoked = Buffer.concat([data, section(2, wireString(BLOB))]);
    if (own !== 'malformed') assert.equal(checkKrl(revoked, BLOB), 'revoked');
  },
};

const config: FuzzTarget = {
  name: 'ssh-config',
  seeds: [
    'Host a "b c" !d # comment',
    '  IdentityFile = "~/.ssh/a b"',
    'Match host a exec "test -f \\"x\\"" final',
    "ProxyCommand ssh -W '%h:%p' x",
  ],
  words: ['"', "'", '\\"', '=', ' # ', 'Match ', 'Include '],
  maxBytes: 1_000,
  run(input) {
    for (const line of text(input).split('\n')) refusable(() => parseDirective(line, 'config:1'));
  },
};

const remotes: FuzzTarget = {
  name: 'remote',
  seeds: ['user@host:2222', '[2001:db8::1]:22', 'ssh://user@host:22', 'a,b@c:1,none'],
  words: ['ssh://', '[', ']', '::', '@', ':65535', '%'],
  maxBytes: 300,
  run(input) {
    refusable(() => parseRemote(text(input), PLACE));
    refusable(() => parseJump(text(input), PLACE));
  },
};

const log: FuzzTarget = {
  name: 'ssh-log',
  seeds: [
    [
      'debug1: Remote protocol version 2.0, remote software version OpenSSH_9.2p1',
      'debug1: Server host key: ssh-ed25519 SHA256:AAAA',
      'Authenticated to 127.0.0.1 ([127.0.0.1]:22) using "publickey".',
      'debug1: channel 0: new unix-listener [unix listener] (inactive timeout: 0)',
      'debug1: channel 1: new dynamic-tcpip [dynamic-tcpip] (inactive timeout: 0)',
      'channel 1: open failed: connect failed: Connection refused',
      'debug1: channel 1: free: direct-tcpip: listening port -2 for 10.0.0.1 port 443, connect from  port 0 to /d/socks port 0, nchannels 3',
      'tunnel-guard: ssh 77 has read 12345',
    ].join('\n'),
  ],
  words: ['debug1: ', 'channel ', ': free: direct-tcpip: ', 'open failed: ', ' port ', '\x1b[31m'],
  maxBytes: 4_000,
  run(input) {
    const ssh = new SshLog({
      refused: (host, port, said) => {
        assert.ok(host.length > 0 && Number.isSafeInteger(port), `${host} ${port}`);
        serverText(said);
      },
    });
    for (const line of text(input).split('\n')) ssh.line(line);
    assert.ok(ssh.kept.length <= 60);
  },
};

/**
 * A server that says anything about channels: each message is an octet for its kind, one for the
 * channel, and four for a number. What we say to it must be right all the same.
 */
const channels: FuzzTarget = {
  name: 'channels',
  seeds: [
    Buffer.from(
      '80 00 00000000 00 00 00100000 02 00 00000400 01 00 00010000 03 00 00000000 04 00 00000000'.replaceAll(
        ' ',
        '',
      ),
      'hex',
    ),
  ],
  maxBytes: 1_200,
  run(input) {
    const bench = new Bench();
    const open = (): void => {
      const to = { srcIP: '127.0.0.1', srcPort: 1, dstIP: '192.0.2.1', dstPort: 80 };
      bench.multiplexer.open(to, (result) => {
        if (result instanceof Channel) joined(result).give('hello');
      });
    };
    open();
    open();
    const view = new DataView(input.buffer, input.byteOffset, input.byteLength);
    for (let at = 0; at + 6 <= input.length; at += 6) {
      const kind = view.getUint8(at) & 0x0f;
      const channel = view.getUint8(at + 1);
      const number = view.getUint32(at + 2);
      const { server } = bench;
      const recipient = channel < 250 ? channel % 8 : number;
      bench.now += kind;
      if (kind === 0) server.confirm(recipient, 1000 + recipient, number, number & 0xffff);
      else if (kind === 1) {
        const told = server.told.get(1000 + recipient);
        if (told !== undefined) told.window += number;
        server.say('CHANNEL_WINDOW_ADJUST', recipient, number);
      } else if (kind === 2) server.say('CHANNEL_DATA', recipient, Buffer.alloc(number & 0xffff));
      else if (kind === 3) server.say('CHANNEL_EOF', recipient);
      else if (kind === 4) server.say('CHANNEL_CLOSE', recipient);
      else if (kind === 5) server.say('CHANNEL_OPEN_FAILURE', recipient, number, 'no', '');
      else if (kind === 6) server.say('CHANNEL_EXTENDED_DATA', recipient, Buffer.alloc(9), number);
      else if (kind === 7) server.say('CHANNEL_REQUEST', recipient, 'x', (number & 1) === 1);
      else if (kind === 8) server.say('GLOBAL_REQUEST', 'x', (number & 1) === 1);
      else if (kind === 9) open();
      bench.multiplexer.run();
    }
    assert.deepEqual(bench.server.wrong, []);
  },
};

export const SSH_TARGETS: readonly FuzzTarget[] = [
  publicKeys,
  certificates,
  privateKeys,
  knownHosts,
  agent,
  krl,
  config,
  remotes,
  log,
  channels,
];
