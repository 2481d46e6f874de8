/** ssh's log, in the words of several releases. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MAX_CHANNELS } from '../../../../src/ssh/limits.ts';
import { SshLog } from '../../../../src/ssh/openssh/log.ts';

interface Refused {
  readonly host: string;
  readonly port: number;
  readonly text: string;
}

function read(lines: readonly string[]): { log: SshLog; refused: Refused[] } {
  const refused: Refused[] = [];
  const log = new SshLog({
    refused: (host, port, text) => void refused.push({ host, port, text }),
  });
  for (const line of lines) log.line(line);
  return { log, refused };
}

const UP = [
  'Authenticated to 127.0.0.1 ([127.0.0.1]:22) using "publickey".',
  'debug1: Local connections to /d/socks:-2 forwarded to remote address socks:0',
  'debug1: Local forwarding listening on path /d/socks.',
];
const LISTENERS = {
  'OpenSSH 8.4': 'debug1: channel 0: new [unix listener]',
  'OpenSSH 9.2': 'debug1: channel 0: new unix-listener [unix listener] (inactive timeout: 0)',
};
const OPENED = {
  'OpenSSH 8.4': (n: number) => `debug1: channel ${n}: new [dynamic-tcpip]`,
  'OpenSSH 9.2': (n: number) =>
    `debug1: channel ${n}: new dynamic-tcpip [dynamic-tcpip] (inactive timeout: 0)`,
};
const freed = (n: number, to: string): string =>
  `debug1: channel ${n}: free: direct-tcpip: listening port -2 for ${to}, connect from  port 0 to /d/socks port 0, nchannels 3`;

describe("ssh's log", () => {
  for (const release of ['OpenSSH 8.4', 'OpenSSH 9.2'] as const) {
    it(`${release}: reasons, channels, and the end`, () => {
      const opened = OPENED[release];
      const { log, refused } = read([
        ...UP,
        LISTENERS[release],
        opened(1),
        opened(2),
        opened(3),
        'channel 2: open failed: administratively prohibited: open failed',
        'channel 1: open failed: connect failed: Connection refused',
        freed(1, '10.0.0.1 port 443'),
        freed(2, '2001:db8::1 port 80'),
        // A flow that ends in the ordinary way.
        freed(3, 'api.example.com port 443'),
      ]);
      assert.deepEqual(refused, [
        { host: '10.0.0.1', port: 443, text: 'connect failed: Connection refused' },
        { host: '2001:db8::1', port: 80, text: 'administratively prohibited: open failed' },
      ]);
      assert.equal(log.channels, 0);
      assert.ok(!log.ending);
      log.line('debug1: channel 0: free: unix listener, nchannels 1');
      assert.ok(log.ending);
    });
  }

  it('a reason with other line ends in it is still one', () => {
    const { refused } = read([
      ...UP,
      LISTENERS['OpenSSH 9.2'],
      OPENED['OpenSSH 9.2'](1),
      'channel 1: open failed: connect failed: no\rway\u2028out',
      freed(1, '10.0.0.1 port 443'),
    ]);
    assert.deepEqual(refused, [
      { host: '10.0.0.1', port: 443, text: 'connect failed: no way out' },
    ]);
  });

  it("a listener of the user's configuration that is freed is not the end", () => {
    const { log } = read([
      'Authenticated to 127.0.0.1 ([127.0.0.1]:22) using "publickey".',
      'debug1: channel 0: new port-listener [port listener] (inactive timeout: 0)',
      ...UP.slice(1),
      'debug1: channel 1: new unix-listener [unix listener] (inactive timeout: 0)',
      'debug1: channel 0: free: port listener, nchannels 2',
    ]);
    assert.ok(!log.ending);
  });

  it('keeps a bounded number of channels and lines, whatever a server makes ssh write', () => {
    const { log, refused } = read(UP);
    for (let n = 0; n < 3 * MAX_CHANNELS; n++) {
      log.line(OPENED['OpenSSH 9.2'](n));
      log.line(`said: ${n}`);
    }
    assert.ok(log.channels <= MAX_CHANNELS + 64);
    assert.ok(log.kept.length <= 60);
    log.line('channel 999999: open failed: connect failed: x');
    log.line(freed(999999, '10.0.0.1 port 1'));
    assert.deepEqual(refused, []);
  });

  describe('knows what of the login the server has refused', () => {
    const key = '/k ED25519 SHA256:abc';
    const next = (method: string) => `debug1: Next authentication method: ${method}`;
    const fails = (methods: string) => `debug1: Authentications that can continue: ${methods}`;
    const offer = `debug1: Offering public key: ${key} explicit`;
    const accepts = `debug1: Server accepts key: ${key} explicit`;
    const rows: readonly (readonly [
      what: string,
      lines: readonly string[],
      refused: readonly string[],
      refusedSignatures?: readonly string[],
      unusedKey?: string,
    ])[] = [
      ['nothing but the question what there is', [fails('publickey,password')], []],
      ['a locked key', [fails('publickey'), next('publickey'), offer, accepts], [], [], key],
      ['a key', [fails('publickey'), next('publickey'), offer, fails('publickey')], ['publickey']],
      [
        'a signature',
        [fails('publickey'), next('publickey'), offer, accepts, fails('publickey')],
        ['publickey'],
        [key],
      ],
      [
        'a ticket, and a host key',
        [
          ...[fails('gssapi-with-mic,hostbased,password'), next('gssapi-with-mic')],
          ...[fails('gssapi-with-mic,hostbased,password'), next('hostbased')],
          fails('gssapi-with-mic,hostbased,password'),
        ],
        ['gssapi-with-mic', 'hostbased'],
      ],
      ['no ticket that was not sent', [fails('gssapi-with-mic'), next('gssapi-with-mic')], []],
      ...['using "publickey" ', ''].map(
        (using) =>
          [
            `nothing since a partial success ${using}`,
            [
              ...[fails('hostbased,publickey'), next('hostbased'), fails('hostbased,publickey')],
              ...[next('publickey'), offer, accepts],
              ...[`Authenticated ${using}with partial success.`, fails('password')],
            ],
            [],
          ] as const,
      ),
    ];
    for (const [what, lines, refused, refusedSignatures = [], unusedKey] of rows)
      it(what, () => {
        const { log } = read(lines);
        assert.deepEqual(
          [log.refused, log.refusedSignatures, log.unusedKey],
          [refused, refusedSignatures, unusedKey],
        );
      });
  });

  it('follows the phases, and knows when somebody may be asked', () => {
    const { log } = read(['debug1: Connecting to 10.0.0.1 [10.0.0.1] port 22.']);
    assert.equal(log.phase, 'identification');
    log.line('debug1: Remote protocol version 2.0, remote software version OpenSSH_9.2');
    assert.equal(log.phase, 'key exchange');
    log.line('debug1: Server host key: ssh-ed25519 SHA256:abc');
    assert.equal(log.hostKey, 'ssh-ed25519 SHA256:abc');
    assert.ok(log.mayAsk);
    log.line('debug1: SSH2_MSG_SERVICE_ACCEPT received');
    assert.equal(log.phase, 'authentication');
    assert.ok(!log.mayAsk);
    log.line('debug1: Offering public key: /k ED25519-CERT SHA256:abc explicit');
    assert.deepEqual(log.certificates, ['/k']);
    log.line('debug1: Next authentication method: keyboard-interactive');
    assert.ok(log.mayAsk);
    log.line('debug1: Authentication succeeded (keyboard-interactive).');
    assert.equal(log.phase, 'up');
  });

  it('a line that the server has forged does not hide the key that follows it', () => {
    const { log } = read([
      'debug1: Authentication succeeded (none).',
      'debug1: Server host key: ssh-ed25519 SHA256:true',
    ]);
    assert.equal(log.hostKey, 'ssh-ed25519 SHA256:true');
  });

  it('what the server calls its software', () => {
    const line =
      'debug1: Remote protocol version 2.0, remote software version OpenSSH_9.2p1 Debian-2';
    assert.equal(read([line]).log.serverSoftware, 'OpenSSH_9.2p1 Debian-2');
    assert.equal(read(UP).log.serverSoftware, undefined);
    assert.equal(read([...UP, line]).log.serverSoftware, undefined, 'only before the login');
  });

  it('what the guard has told last, and nothing else of it', () => {
    assert.equal(read(UP).log.told, undefined);
    const { log } = read([
      ...UP,
      'tunnel-guard: ssh 31 has read 7',
      'tunnel-guard: ssh 31 has read 812',
    ]);
    assert.deepEqual(log.told, { pid: 31, bytesRead: 812 });
    assert.deepEqual(log.kept, read(UP).log.kept);
    for (const forged of [
      'tunnel-guard: ssh 31 has read',
      'tunnel-guard: ssh 31 has read 1e99',
      'ssh 31 has read 5',
    ])
      assert.equal(read([forged]).log.told, undefined, forged);
  });
});
