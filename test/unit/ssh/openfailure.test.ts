import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Destination } from '../../../src/net/destination.ts';
import type { Refusal } from '../../../src/net/refusal.ts';
import { OPEN_FAILURE, openFailure } from '../../../src/ssh/openfailure.ts';
import { CASES, type Case, SERVER_WORDS, type Words } from '../../support/serverwords.ts';

const TO: Destination = { host: '10.0.0.1', port: 80 };
const { prohibited, connectFailed, unknownChannelType, resourceShortage } = OPEN_FAILURE;

describe('openFailure', () => {
  for (const [server, byCase] of Object.entries(SERVER_WORDS)) {
    it(`tells what ${server} says, in its own words`, () => {
      for (const [name, { reason, text, refusal }] of Object.entries(byCase) as [Case, Words][]) {
        const [host, port] = CASES[name];
        const said = text.replace('#', '7');
        const error = openFailure({ host, port }, reason, said);
        assert.equal(error.refusal, refusal, `${name}: "${text}"`);
        // sshd's "open failed" alone is replaced: it has one meaning.
        if (text !== 'open failed') assert.ok(error.message.includes(said), error.message);
      }
    });
  }

  const texts: readonly (readonly [text: string, refusal: Refusal])[] = [
    // musl, the BSDs
    ['Host is unreachable', 'unreachable'],
    ['Network unreachable', 'no-network'],
    ['Operation timed out', 'timeout'],
    ['Name does not resolve', 'unreachable'],
    ['nodename nor servname provided, or not known', 'unreachable'],
    // a packet filter of the jump host
    ['Operation not permitted', 'prohibited'],
    ['Permission denied', 'prohibited'],
    // Go
    ['dial tcp 10.0.0.1:80: i/o timeout', 'timeout'],
    ['dial tcp 10.0.0.1:80: connect: operation not permitted', 'prohibited'],
    ['dial tcp: lookup api.corp: no such host', 'unreachable'],
    ['dial tcp: lookup api.corp on 10.0.0.2:53: read udp: i/o timeout', 'unreachable'],
    ['context deadline exceeded', 'timeout'],
    ['No connection could be made because the target machine actively refused it.', 'refused'],
    ['a socket operation was attempted to an unreachable host.', 'unreachable'],
    // Python, on other systems
    ["[Errno 61] Connect call failed ('10.0.0.1', 80)", 'refused'],
    ["[WinError 10060] Connect call failed ('10.0.0.1', 80)", 'timeout'],
    ['Multiple exceptions: [Errno 101] Connect call failed, [Errno 111] refused', 'refused'],
    // Rust, Node, Java
    ['No route to host (os error 113)', 'unreachable'],
    ['connect ECONNREFUSED 10.0.0.1:80', 'refused'],
    ['connect EHOSTUNREACH 10.0.0.1:80', 'unreachable'],
    ['getaddrinfo ENOTFOUND api.corp', 'unreachable'],
    ['ConnectException: Connection refused', 'refused'],
    ['ConnectException: Connection timed out', 'timeout'],
    ['UnknownHostException: api.corp', 'unreachable'],
    // Erlang
    ['Forwarding disabled', 'prohibited'],
    ['Forwarded connection refused: eacces', 'prohibited'],
    // policies
    ['direct-tcpip to 10.0.0.1:80 denied by policy', 'prohibited'],
    ['destination is not allowed', 'prohibited'],
    ["this port isn't permitted", 'prohibited'],
    ['port forwarding is denied', 'prohibited'],
    ['administratively prohibited', 'prohibited'],
    // A decision may say what it was about.
    ['policy lookup failed: destination not allowed', 'prohibited'],
    ['could not resolve the policy of this user: denied', 'prohibited'],
    ['resolver denied: host db is not permitted', 'prohibited'],
    ['connection refused by policy', 'prohibited'],
    ['Connection refused by the administrator', 'prohibited'],
    ['access denied: the session timed out', 'prohibited'],
    ['not allowed to connect (network unreachable from this zone)', 'prohibited'],
    ['Access to db:5432 denied', 'prohibited'],
    ['user u is not authorized to reach this host', 'prohibited'],
    ['Unauthorized', 'prohibited'],
    ['You do not have permission to access this host', 'prohibited'],
    ['target not in allowlist', 'prohibited'],
    ['blocked by network policy', 'prohibited'],
    ['Denied', 'prohibited'],
    // These are none.
    ['lookup db on 127.0.0.53:53: write: operation not permitted', 'unreachable'],
    ['Connection refused by peer', 'refused'],
    ['network is unreachable (IPv6 is disabled)', 'no-network'],
    // and more systems
    ['Host unreachable', 'unreachable'],
    ['SocketTimeoutException while opening channel', 'timeout'],
    ['[WinError 10013] An attempt was made to access a socket', 'prohibited'],
  ];
  it('knows the words of other systems and libraries, whatever the reason code', () => {
    for (const [text, refusal] of texts)
      for (const reason of [undefined, 0, prohibited, connectFailed, resourceShortage, 99])
        assert.equal(openFailure(TO, reason, text).refusal, refusal, `${reason} "${text}"`);
  });

  const rules: readonly (readonly [reason: number | undefined, refusal: Refusal])[] = [
    [prohibited, 'prohibited'],
    [connectFailed, 'refused'],
    [unknownChannelType, 'prohibited'],
    [resourceShortage, 'refused'],
    [0, 'refused'],
    [99, 'refused'],
    [undefined, 'refused'],
  ];
  it('goes by the reason code where the words say nothing, and quotes them', () => {
    for (const [reason, refusal] of rules) {
      const silent = openFailure(TO, reason, '');
      assert.equal(silent.refusal, refusal, `${reason}`);
      assert.doesNotMatch(silent.message, /\(\)|""/);
      const words = openFailure(TO, reason, 'computer says no');
      assert.equal(words.refusal, refusal, `${reason}`);
      assert.match(words.message, /computer says no/);
      assert.match(words.message, /10\.0\.0\.1:80/);
    }
  });

  it('does not call a denial without words a shortage', () => {
    assert.match(
      openFailure(TO, resourceShortage, '').message,
      /short of something or forwards nothing \(reason 4\), and does not say why/,
    );
  });

  it('is not misled by the name of the destination', () => {
    const host = 'timeout.lookup.example';
    const text = `could not reach ${host}: enough`;
    assert.equal(openFailure({ host, port: 80 }, connectFailed, text).refusal, 'refused');
    assert.equal(openFailure(TO, connectFailed, text).refusal, 'timeout');
  });

  it('says what to permit', () => {
    assert.match(openFailure(TO, prohibited, 'open failed').hint ?? '', /AllowTcpForwarding/);
  });
});
