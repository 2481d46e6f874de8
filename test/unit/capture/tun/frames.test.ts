/** Frames of all kinds: checksums, options, fragments, addresses, UDP, ICMP. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { addressWords } from '../../../../src/capture/tun/addresses.ts';
import type { EndpointCounters } from '../../../../src/capture/tun/counters.ts';
import {
  type Checksum,
  icmpFrame,
  otherFrame,
  type TcpFields,
  tcpFrame,
  udpFrame,
} from '../../../support/tcpframes.ts';
import { APPLICATION, ROUTER, SERVER, TcpLab } from '../../../support/tcpscript.ts';

const FAMILIES = [4, 6] as const;
const PORTS = { sourcePort: 5000, destinationPort: 53 } as const;

function ends(family: 4 | 6) {
  return { source: APPLICATION[family], destination: SERVER[family] };
}

function syn(family: 4 | 6, fields: Partial<TcpFields> = {}): Buffer {
  return tcpFrame({ ...ends(family), ...PORTS, flags: 'S', seq: 7, ack: 0, mss: 1460, ...fields });
}

/** The counters that are not zero, without those of frames. */
function counted(lab: TcpLab): Partial<EndpointCounters> {
  const { framesIn: _in, framesOut: _out, bytesOut: _bytes, ...rest } = lab.counters;
  return Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== 0));
}

const HELD = { flowsHeld: 1, flowsHeldTotal: 1 };

describe('checksums', () => {
  for (const family of FAMILIES) {
    const right: Checksum[] = ['complete', 'needed', 'valid'];
    for (const checksum of right)
      it(`of segments may be ${checksum}, IPv${family}`, () => {
        const lab = new TcpLab();
        lab.input(syn(family, { checksum }));
        assert.deepEqual(counted(lab), HELD);
      });

    it(`that are wrong drop the frame, and are counted, IPv${family}`, () => {
      const lab = new TcpLab();
      lab.input(syn(family, { checksum: 'wrong' }));
      lab.input(udpFrame({ ...ends(family), ...PORTS, data: 'x', checksum: 'wrong' }));
      lab.silent();
      assert.deepEqual(counted(lab), { droppedMalformed: 2 });
    });

    it(`cover each octet, IPv${family}`, () => {
      const lab = new TcpLab();
      const app = lab.app({ family });
      const far = app.connect();
      const frame = app.frame('P.', { data: 'odd number of octets!' });
      const from = 10 + (family === 4 ? 12 : 8);
      for (let at = from; at < frame.length; at++) {
        const wrong = Buffer.from(frame);
        wrong[at] = (wrong[at] ?? 0) ^ 1;
        lab.input(wrong);
      }
      lab.silent();
      assert.equal(far.text, '');
      assert.equal(lab.counters.droppedMalformed, frame.length - from);
    });

    it(`that are to be put elsewhere than there drop the frame, IPv${family}`, () => {
      const lab = new TcpLab();
      for (const at of [6, 8]) {
        const frame = syn(family, { checksum: 'needed' });
        frame[at] = (frame[at] ?? 0) + 2;
        lab.input(frame);
      }
      assert.deepEqual(counted(lab), { droppedMalformed: 2 });
    });
  }

  it('of zero say that a datagram has none', () => {
    const seen: string[] = [];
    const lab = new TcpLab({
      onDatagram: ({ bytes, payload, end }) =>
        seen.push(bytes.toString('latin1', payload, end)) > 0,
    });
    for (const family of FAMILIES) {
      const frame = udpFrame({ ...ends(family), ...PORTS, data: 'none' });
      frame.writeUInt16BE(0, frame.length - 6);
      lab.input(frame);
    }
    assert.deepEqual(seen, ['none', 'none']);
  });
});

describe('headers', () => {
  it('may have IPv4 options', () => {
    const lab = new TcpLab();
    const options = Buffer.from([0x94, 4, 0, 0, 1, 1, 1, 0]);
    lab.input(syn(4, { options }));
    lab.input(syn(4, { options, checksum: 'needed', sourcePort: 5001 }));
    assert.deepEqual(counted(lab), { flowsHeld: 2, flowsHeldTotal: 2 });
    const [flow] = lab.flows;
    assert.equal(flow?.source.port, 5000);
  });

  it('may have IPv6 extension headers', () => {
    const lab = new TcpLab();
    lab.input(syn(6, { extensions: [[0], [60, 24]] }));
    lab.input(syn(6, { extensions: [[60]], checksum: 'needed', sourcePort: 5001 }));
    lab.input(
      syn(6, {
        extensions: Array.from({ length: 8 }, () => [60] as const),
        sourcePort: 5002,
        mss: undefined,
      }),
    );
    assert.deepEqual(counted(lab), { flowsHeld: 3, flowsHeldTotal: 3 });
  });

  it('with more than eight extension headers are malformed', () => {
    const lab = new TcpLab();
    lab.input(syn(6, { extensions: Array.from({ length: 9 }, () => [60] as const) }));
    assert.deepEqual(counted(lab), { droppedMalformed: 1 });
  });

  it('with a routing header are prohibited: its destination is another', () => {
    const lab = new TcpLab();
    lab.input(syn(6, { extensions: [[0], [43]] }));
    lab.input(udpFrame({ ...ends(6), ...PORTS, extensions: [[43]] }));
    for (let n = 0; n < 2; n++) {
      const frame = lab.next();
      assert.ok(frame.kind === 'icmp' && frame.type === 1 && frame.code === 1);
    }
    assert.deepEqual(counted(lab), { answeredProhibited: 2 });
  });

  it('of fragments are dropped, and counted', () => {
    const lab = new TcpLab();
    for (const fragment of [0x2000, 1, 0x2001, 0x1fff]) lab.input(syn(4, { fragment }));
    lab.input(syn(6, { extensions: [[44]] }));
    lab.input(syn(6, { extensions: [[0], [44]] }));
    lab.silent();
    assert.deepEqual(counted(lab), { droppedFragments: 6 });
    lab.input(syn(4, { fragment: 0x8000 | 0x4000 }));
    assert.equal(lab.flows.length, 1, 'reserved bits do not matter');
  });

  it('that are cut off anywhere are malformed', () => {
    const lab = new TcpLab();
    const frames = [
      syn(4),
      syn(6),
      syn(4, { options: Buffer.from([1, 1, 1, 0]) }),
      syn(6, { extensions: [[0], [60, 16]] }),
      udpFrame({ ...ends(4), ...PORTS, data: 'data' }),
      udpFrame({ ...ends(6), ...PORTS, data: 'data' }),
    ];
    let cut = 0;
    for (const frame of frames)
      for (let length = 0; length < frame.length; length++, cut++)
        lab.input(frame.subarray(0, length));
    lab.silent();
    assert.deepEqual(counted(lab), { droppedMalformed: cut });
  });

  it('whose lengths do not add up are malformed', () => {
    const lab = new TcpLab();
    const wrong: [Buffer, number, number][] = [
      [syn(4), 10, 0x44], // the IPv4 header is too short
      [syn(4), 10, 0x4f], // or too long
      [syn(4), 10, 0x55],
      [syn(4, { checksum: 'valid' }), 13, 39], // no room for a TCP header
      [icmpFrame({ ...ends(4), type: 8, code: 0 }), 13, 27],
      [syn(4), 13, 19], // the whole
      [syn(4), 12, 0xff],
      [syn(4, { checksum: 'valid' }), 42, 0x40], // the TCP header
      [syn(4, { checksum: 'valid' }), 42, 0xf0],
      [syn(6, { checksum: 'valid' }), 62, 0x40],
      [syn(6), 14, 0xff],
      [syn(6, { extensions: [[60]] }), 51, 200],
      [udpFrame({ ...ends(4), ...PORTS, checksum: 'valid' }), 35, 7],
      [udpFrame({ ...ends(4), ...PORTS, checksum: 'valid' }), 35, 9],
    ];
    for (const [frame, at, value] of wrong) {
      frame[at] = value;
      lab.input(frame);
    }
    lab.silent();
    assert.deepEqual(counted(lab), { droppedMalformed: wrong.length });
  });

  it('may be followed by padding', () => {
    const lab = new TcpLab();
    const app = lab.app();
    const far = app.connect();
    lab.input(Buffer.concat([app.frame('P.', { data: 'x' }), Buffer.alloc(10, 1)]));
    app.expect('.', { ack: 2 });
    assert.equal(far.text, 'x');
  });

  it('may have TCP options that nobody knows, or that do not add up', () => {
    for (const [rawOptions, mss] of [
      [[4, 2, 30, 4, 1, 1, 2, 4, 5, 0xb4], 1460],
      [[30, 0, 2, 4, 5, 0xb4], undefined],
      [[30, 1, 2, 4, 5, 0xb4], undefined],
      [[2, 4, 5, 0xb4, 30, 200], 1460],
      [[2, 4, 5, 0xb4, 8], 1460],
      [[0, 2, 4, 5, 0xb4], undefined],
      [[2, 3, 5, 1, 1, 1], undefined],
      [[3, 4, 5, 1, 8, 9, 1, 1, 1, 1, 1, 1, 1], undefined],
    ] as const) {
      const lab = new TcpLab();
      const app = lab.app({ timestamps: false });
      app.send('S', { rawOptions: Buffer.from(rawOptions) });
      const far = app.open();
      app.expect('S.', { scale: undefined, ts: false });
      app.send('.');
      far.give(Buffer.alloc(3000));
      assert.equal(app.expect('P.', { data: 3000 }).gso, mss ?? 536);
    }
  });

  it('of ECN are ignored', () => {
    const lab = new TcpLab();
    const frame = syn(4, { checksum: 'valid' });
    frame[43] = (frame[43] ?? 0) | 0xc0;
    lab.input(frame);
    lab.flows[0]?.open();
    const answer = lab.next();
    assert.ok(answer.kind === 'tcp' && answer.flags === 'S.');
  });
});

describe('addresses', () => {
  it('of groups and of everybody are dropped, and counted', () => {
    const lab = new TcpLab();
    const groups = [
      [4, '224.0.0.1'],
      [4, '239.255.255.250'],
      [4, '255.255.255.255'],
      [6, 'ff02::1'],
      [6, 'ff0e::1234'],
    ] as const;
    for (const [family, destination] of groups) {
      lab.input(syn(family, { destination }));
      lab.input(tcpFrame({ ...ends(family), ...PORTS, destination, flags: '.', seq: 1, ack: 1 }));
      lab.input(udpFrame({ ...ends(family), ...PORTS, destination }));
      lab.input(icmpFrame({ ...ends(family), destination, type: family === 4 ? 8 : 128, code: 0 }));
    }
    lab.silent();
    assert.deepEqual(counted(lab), { droppedMulticast: 4 * groups.length });
  });

  it('that are nobody get no answer, whichever end they are', () => {
    const lab = new TcpLab();
    const nobody = [
      [4, '0.0.0.0'],
      [4, '0.1.2.3'],
      [4, '127.0.0.1'],
      [6, '::'],
      [6, '::1'],
    ] as const;
    const groups = [
      [4, '224.0.0.1'],
      [6, 'ff02::1'],
    ] as const;
    let frames = 0;
    const all = (family: 4 | 6, pair: { source: string; destination: string }) => {
      for (const frame of [
        syn(family, pair),
        tcpFrame({ ...pair, ...PORTS, flags: '.', seq: 1, ack: 1 }),
        udpFrame({ ...pair, ...PORTS }),
        icmpFrame({ ...pair, type: family === 4 ? 8 : 128, code: 0 }),
      ]) {
        lab.input(frame);
        frames++;
      }
    };
    for (const [family, address] of nobody) all(family, { ...ends(family), destination: address });
    for (const [family, address] of [...nobody, ...groups])
      all(family, { ...ends(family), source: address });
    lab.silent();
    assert.deepEqual(counted(lab), { droppedUnanswerable: frames });
  });

  it('may be of class E: it is unicast to Linux', () => {
    const lab = new TcpLab();
    lab.input(syn(4, { destination: '240.0.0.1' }));
    assert.deepEqual(counted(lab), HELD);
  });

  it('with port 0 are reset', () => {
    const lab = new TcpLab();
    lab.input(syn(4, { destinationPort: 0 }));
    lab.input(syn(6, { sourcePort: 0 }));
    for (let n = 0; n < 2; n++) {
      const frame = lab.next();
      assert.ok(frame.kind === 'tcp' && frame.flags === 'R.' && frame.ack === 8);
    }
    assert.equal(lab.flows.length, 0);
  });
});

describe('segments of no flow', () => {
  for (const family of FAMILIES)
    it(`are reset as RFC 9293 has it, IPv${family}`, () => {
      const lab = new TcpLab();
      const app = lab.app({ family });
      app.send('.', { seq: 10, ack: 555 });
      assert.equal(app.expect('R').seq, 555);
      app.send('S.', { seq: 10, ack: 555 });
      assert.equal(app.expect('R').seq, 555);
      app.send('FP', { seq: 10, data: 'abc' });
      app.expect('R.', { seq: 0, ack: 14 });
      app.send('', { seq: 10 });
      app.expect('R.', { seq: 0, ack: 10 });
      app.send('SF', { seq: 10 });
      app.expect('R.', { seq: 0, ack: 12 });
      lab.silent();
      assert.deepEqual(counted(lab), { answeredReset: 5 });
    });
});

describe('datagrams', () => {
  for (const family of FAMILIES) {
    it(`go to onDatagram, IPv${family}`, () => {
      const seen: unknown[] = [];
      const lab = new TcpLab({
        onDatagram: (frame) => {
          seen.push([
            frame.sourcePort,
            frame.destinationPort,
            frame.bytes.toString('latin1', frame.payload, frame.end),
          ]);
          return true;
        },
      });
      // What is behind the datagram in its packet is none of it.
      const frame = udpFrame({
        ...ends(family),
        ...PORTS,
        data: 'datagram and more',
        checksum: 'valid',
      });
      frame.writeUInt16BE(8 + 8, 10 + (family === 4 ? 20 : 40) + 4);
      lab.input(frame);
      lab.silent();
      assert.deepEqual(seen, [[5000, 53, 'datagram']]);
    });

    it(`that nobody takes are answered from their destination: no such port, IPv${family}`, () => {
      const lab = new TcpLab();
      const frame = udpFrame({ ...ends(family), ...PORTS, data: Buffer.alloc(3000, 1) });
      lab.input(frame);
      const answer = lab.next();
      assert.ok(answer.kind === 'icmp');
      assert.deepEqual([answer.type, answer.code], family === 4 ? [3, 3] : [1, 4]);
      assert.deepEqual([answer.source, answer.destination], [SERVER[family], APPLICATION[family]]);
      const room = family === 4 ? 576 - 28 : 1280 - 48;
      assert.ok(answer.quoted.equals(frame.subarray(10, 10 + room)));
      assert.deepEqual(counted(lab), { answeredPortUnreachable: 1 });
    });

    it(`are written with a checksum, IPv${family}`, () => {
      const lab = new TcpLab();
      for (const length of [0, 1, 2, 511, 65_507 - 20]) {
        const data = Buffer.alloc(length, 0xab);
        const words = (address: string) => addressWords(address);
        lab.endpoint.writer.datagram(
          family,
          words(SERVER[family]),
          53,
          words(APPLICATION[family]),
          5000,
          data,
        );
        const frame = lab.next();
        assert.ok(frame.kind === 'udp' && frame.data.equals(data));
        assert.deepEqual([frame.source, frame.sourcePort], [SERVER[family], 53]);
        assert.deepEqual([frame.destination, frame.destinationPort], [APPLICATION[family], 5000]);
      }
    });
  }

  it('whose checksum comes to zero say so by its other name', () => {
    const lab = new TcpLab();
    const data = Buffer.alloc(2);
    for (let value = 0; value < 65_536; value++) {
      data.writeUInt16BE(value);
      lab.endpoint.writer.datagram(
        4,
        addressWords(SERVER[4]),
        53,
        addressWords(APPLICATION[4]),
        5000,
        data,
      );
      // Each of them is checked: one has 0xffff.
      lab.next();
    }
  });
});

describe('other protocols', () => {
  for (const family of FAMILIES)
    it(`are prohibited, by the router, IPv${family}`, () => {
      const lab = new TcpLab();
      lab.input(
        icmpFrame({
          ...ends(family),
          type: family === 4 ? 8 : 128,
          code: 0,
          body: Buffer.from('ping'),
        }),
      );
      lab.input(otherFrame({ ...ends(family), protocol: 47 }));
      lab.input(otherFrame({ ...ends(family), protocol: 132 }));
      for (let n = 0; n < 3; n++) {
        const frame = lab.next();
        assert.ok(frame.kind === 'icmp');
        assert.deepEqual([frame.type, frame.code], family === 4 ? [3, 13] : [1, 1]);
        assert.deepEqual([frame.source, frame.destination], [ROUTER[family], APPLICATION[family]]);
      }
      assert.deepEqual(counted(lab), { answeredProhibited: 3 });
    });

  it('that are ICMP, but no request, get no answer', () => {
    const lab = new TcpLab();
    const body = Buffer.alloc(40);
    let frames = 0;
    for (let type = 0; type < 256; type++)
      for (const family of FAMILIES) {
        const requests = family === 4 ? [8, 13, 15, 17] : [128];
        if (requests.includes(type)) continue;
        lab.input(icmpFrame({ ...ends(family), type, code: 0, body }));
        frames++;
      }
    // Too big, but not what we have sent: cut off, another version, another protocol.
    for (const length of [0, 1, 20, 27]) {
      lab.input(
        icmpFrame({ ...ends(4), type: 3, code: 4, body: syn(4).subarray(10, 10 + length) }),
      );
      frames++;
    }
    lab.input(icmpFrame({ ...ends(4), type: 3, code: 4, body: syn(6).subarray(10) }));
    lab.input(
      icmpFrame({
        ...ends(4),
        type: 3,
        code: 4,
        body: udpFrame({ ...ends(4), ...PORTS }).subarray(10),
      }),
    );
    lab.input(icmpFrame({ ...ends(6), type: 2, code: 0, body: syn(6).subarray(10, 10 + 47) }));
    lab.silent();
    assert.deepEqual(counted(lab), { droppedUnanswerable: frames + 3 });
  });
});
