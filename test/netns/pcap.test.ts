/** What Wireshark's own tools see in the file of --pcap. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { API1, API1_6, API1_NAME, PRIVATE4, PRIVATE6 } from '../support/addresses.ts';
import { pseudoRandomBytes } from '../support/bytes.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import type { Child } from '../support/process.ts';
import { MAIN, REMOTE, startTunnel } from '../support/tunnel.ts';

const BYTES = 3_000_000;
/** A clean run has none of these. */
const ANOMALIES = [
  'tcp.analysis.retransmission',
  'tcp.analysis.fast_retransmission',
  'tcp.analysis.out_of_order',
  'tcp.analysis.lost_segment',
  'tcp.analysis.ack_lost_segment',
  'tcp.analysis.duplicate_ack',
  'tcp.analysis.zero_window',
  '_ws.malformed',
].join(' || ');

/**
 * "Warning" (PI_WARN) and worse. A window that a sender fills is no fault, nor are the resets of
 * connections that still close when the tunnel stops.
 */
const WARNINGS = [
  '_ws.expert.severity >= 0x600000',
  '!tcp.analysis.window_full',
  'tcp.flags.reset != 1',
].join(' && ');

/** Faster than the jump host reads, the window would close. */
const SLOWLY = ['--limit-rate', '5M'];

function tshark(path: string, ...args: string[]): string[] {
  const text = execFileSync('tshark', ['-r', path, ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
    maxBuffer: 1e9,
  });
  return text.split('\n').filter((line) => line !== '');
}

function fields(path: string, filter: string, ...names: string[]): string[][] {
  const args = ['-n', '-Y', filter, '-T', 'fields', ...names.flatMap((name) => ['-e', name])];
  return tshark(path, ...args).map((line) => line.split('\t'));
}

/** Bytes of TCP payload, each counted once. */
function carried(path: string, filter: string): number {
  return fields(path, filter, 'tcp.len').reduce((sum, [length]) => sum + Number(length), 0);
}

describe('the file of packets', {
  skip: labUnavailable('curl', 'tshark', 'capinfos'),
  timeout: 240_000,
}, () => {
  let lab: Lab;
  let running: Child | undefined;
  let number = 0;
  before(async () => {
    lab = await Lab.create({ sshd: 'open' });
  });
  afterEach(() => running?.stop('SIGKILL'));
  after(() => lab?.close());

  const place = (): string => join(lab.directory, `packets-${++number}.pcapng`);
  const start = async (path: string, ...args: string[]): Promise<Child> => {
    running = await startTunnel(lab.client, ['--pcap', path, ...args]);
    return running;
  };
  const curl = (...args: string[]) => lab.client.exec(['curl', '-gsS', '-o', '/dev/null', ...args]);

  for (const whole of [false, true]) {
    it(`shows each byte once and nothing odd, ${whole ? 'with' : 'without'} payload`, async () => {
      const path = place();
      const more = whole ? ['--pcap-payload'] : [];
      const tunnel = await start(path, ...more, PRIVATE4, PRIVATE6);
      for (const host of [API1, `[${API1_6}]`]) {
        assert.equal((await curl(`http://${host}/bytes/${BYTES}`)).status, 0);
        const upload = await lab.client.exec(
          [
            'curl',
            '-gsS',
            ...SLOWLY,
            '-H',
            'Expect:',
            '--data-binary',
            '@-',
            `http://${host}/sha256`,
          ],
          { input: pseudoRandomBytes(BYTES, 'up') },
        );
        assert.equal(upload.status, 0, upload.stderr);
      }
      await tunnel.stop('SIGINT');
      assert.equal(statSync(path).mode & 0o777, 0o600);
      assert.deepEqual(tshark(path, '-n', '-Y', ANOMALIES), []);
      const checked = ['-o', 'tcp.check_checksum:TRUE', '-o', 'ip.check_checksum:TRUE'];
      assert.deepEqual(tshark(path, '-n', ...checked, '-Y', WARNINGS), []);
      for (const [ip, host] of [
        ['ip', API1],
        ['ipv6', API1_6],
      ] as const) {
        // Two requests and answers: the payload, and heads of less than 1000 bytes.
        for (const side of ['src', 'dst']) {
          const bytes = carried(path, `tcp && ${ip}.${side} == ${host}`);
          assert.ok(bytes > BYTES && bytes < BYTES + 2000, `${side} ${host}: ${bytes}`);
        }
      }
      if (whole) {
        const wrong = tshark(path, '-n', ...checked, '-Y', 'tcp.checksum.status == "Bad"');
        assert.deepEqual(wrong, []);
        assert.ok(
          tshark(path, '-n', ...checked, '-Y', 'tcp.checksum.status == "Good"').length > 100,
        );
        assert.equal(tshark(path, '-n', '-Y', 'http.request').length, 4);
      } else {
        // Nothing behind the TCP header.
        const kept = fields(path, 'tcp', 'frame.cap_len', 'ip.hdr_len', 'tcp.hdr_len');
        assert.ok(kept.length > 100);
        for (const [length, ip, tcp] of kept)
          assert.equal(Number(length), Number(ip === '' ? 40 : ip) + Number(tcp));
      }
      const info = execFileSync('capinfos', [path], { encoding: 'utf8' });
      assert.match(info, /File type: +Wireshark\/\.\.\. - pcapng/);
      assert.match(info, /Capture application: +tunnel /);
      assert.match(info, /File encapsulation: +Raw IP/);
      assert.match(info, /timestamp precision: +nanoseconds/);
      assert.match(info, /Name = tun\d+/);
      assert.match(info, /Strict time order: +True/);
      const directions = new Set(fields(path, 'tcp', 'frame.packet_flags_direction').flat());
      assert.deepEqual([...directions].map(Number).sort(), [1, 2]);
    });
  }

  it('shows names, and keeps what queries are for to itself', async () => {
    const path = place();
    const tunnel = await start(path, API1_NAME);
    assert.equal((await curl(`http://${API1_NAME}/bytes/1000`)).status, 0);
    await tunnel.stop('SIGINT');
    const shown = tshark(path, '-N', 'n', '-Y', 'tcp.flags.syn == 1');
    assert.ok(shown.length > 0);
    assert.ok(shown[0]?.includes(API1_NAME), shown[0]);
    const queries = fields(path, 'udp.port == 53', 'frame.cap_len', 'ip.hdr_len');
    for (const [length, ip] of queries)
      assert.equal(Number(length), Number(ip === '' ? 40 : ip) + 8);
    assert.deepEqual(tshark(path, '-Y', 'dns.qry.name'), []);
  });

  it('records exec, too', async () => {
    const path = place();
    const { status, stderr } = await lab.client.exec([
      ...[process.execPath, MAIN, 'exec', '-r', REMOTE, '--pcap', path, PRIVATE4, '--'],
      ...['curl', '-sS', '-o', '/dev/null', `http://${API1}/bytes/${BYTES}`],
    ]);
    assert.equal(status, 0, stderr);
    assert.deepEqual(tshark(path, '-n', '-Y', ANOMALIES), []);
    assert.ok(carried(path, `tcp && ip.src == ${API1}`) > BYTES);
  });

  it('is readable after kill -9', async () => {
    const path = place();
    const tunnel = await start(path, PRIVATE4);
    assert.equal((await curl(`http://${API1}/bytes/1000`)).status, 0);
    await new Promise((resolve) => setTimeout(resolve, 1000)); // the last second may be missing
    await tunnel.stop('SIGKILL');
    assert.ok(carried(path, 'tcp') > 1000);
  });

  it('goes on when the disk is full, and says so once', async () => {
    const disk = join(lab.directory, 'disk');
    mkdirSync(disk);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', disk]);
    try {
      const path = join(disk, 'packets.pcapng');
      const tunnel = await start(path, PRIVATE4);
      assert.throws(() => writeFileSync(join(disk, 'filler'), Buffer.alloc(128 * 1024)));
      for (let i = 0; i < 20; i++)
        assert.equal((await curl(`http://${API1}/bytes/100000`)).status, 0);
      await tunnel.waitForLine(/warning: --pcap \S+ can't be written to: .*no space/i);
      rmSync(join(disk, 'filler'));
      assert.equal((await curl(`http://${API1}/bytes/1000`)).status, 0);
      await tunnel.waitForLine(/--pcap \S+ is written again/);
      await tunnel.stop('SIGINT');
      assert.equal(tunnel.stderr.match(/can't be written to/g)?.length, 1);
      assert.match(tunnel.stderr, /--pcap \S+: \d+ packets are missing/);
      assert.ok(tshark(path, '-n').length > 0); // it ends in a whole block
    } finally {
      execFileSync('umount', [disk]);
    }
  });
});
