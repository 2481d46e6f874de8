/** The report as lines, at several sizes. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import stringWidth from 'string-width';
import { layout, MAX_LINES, type Shown } from '../../../../src/cli/display/layout.ts';
import { glanceOf } from './fixture.ts';

const text = (shown: Shown, columns: number, rows: number): string[] =>
  layout(shown, { columns, rows }).map((line) => line.map((span) => span.text).join(''));

const busy: Shown = {
  glance: glanceOf({
    refusals: [
      {
        ...{ at: 95_000, id: 7, source: '192.0.2.1:5', destination: '10.1.2.4:22' },
        ...{ refusal: 'refused', by: 'far side', why: '10.1.2.4:22: Connection refused' },
      },
      {
        ...{ at: 1_000, id: 6, source: '192.0.2.1:5', destination: '10.1.2.9:22' },
        ...{ refusal: 'refused', by: 'far side', why: 'long ago' },
      },
    ],
  }),
  rates: [0, 1, 2, 4, 8].map((n) => ({ sent: n * 1_000, received: n * 200_000 })),
  destinations: [
    { text: '10.1.2.3:443 (api.example.com)', live: 2, opened: 9, rate: 1_600_000 },
    { text: '10.1.2.4:22', live: 0, opened: 111, rate: 0 },
  ],
  waits: [],
};

describe('the report', () => {
  it('says what is captured, through whom, since when, and what protects it', () => {
    assert.deepEqual(text(busy, 81, 24), [
      '10.0.0.0/8, api.example.com by tun0, through user@jumphost        for 1 min 40 s',
      'link      up for 1 min 39 s, user@192.0.2.1:22, round trip 12.3 ms',
      'protected curve25519-sha256, aes128-gcm@openssh.com, ssh-ed25519 SHA256:abc, Op…',
      'rates     down 1.6 MB/s                 ▁▂▄█  up 8.0 kB/s                   ▁▂▄█',
      'flows     3 live, 120 opened, 2 refused; 1.0 MB received, 2.0 kB sent',
      '          10.1.2.3:443 (api.example.com)                        2 live  1.6 MB/s',
      '          10.1.2.4:22                                       111 opened     0 B/s',
      'refused   10.1.2.4:22 5 s ago: refused: Connection refused',
    ]);
  });

  it('shrinks: no line is too long, and what matters least goes first', () => {
    for (let columns = 1; columns < 210; columns++)
      for (const rows of [1, 3, 4, 8, 10, 24, 50]) {
        const lines = text(busy, columns, rows);
        assert.ok(lines.length <= Math.min(MAX_LINES, rows / 2));
        for (const line of lines) assert.ok(stringWidth(line) < columns, `${columns}: ${line}`);
      }
    assert.deepEqual(
      text(busy, 40, 10),
      [
        'through user@jumphost    for 1 min 40 s',
        'link      up for 1 min 39 s, user@192.…',
        'rates     down 1.6 MB/s  up 8.0 kB/s',
        'flows     3 live, 120 opened, 2 refuse…',
        'refused   10.1.2.4:22 5 s ago: refused…',
      ].slice(0, 5),
    );
    assert.deepEqual(text(busy, 19, 24), []);
    assert.deepEqual(text(busy, 80, 3), []);
  });

  it('says what is waited for', () => {
    const { glance } = busy;
    const link = {
      ...glance.link,
      state: 'connecting',
      upSince: undefined,
      roundTripMs: undefined,
    };
    const connecting = glanceOf({
      ready: false,
      link: { ...link, keyExchange: undefined, cipher: undefined, hostKey: undefined },
      flows: { live: 0, opened: 0, refused: 0, sentBytes: 0, receivedBytes: 0 },
    });
    const waits = ['3 s for 192.0.2.1:22 to decide about the login: keyboard-interactive'];
    const lines = text({ ...busy, glance: connecting, waits, destinations: [] }, 80, 24);
    assert.match(lines.join('\n'), /^waiting {3}3 s for 192.0.2.1:22 to decide .*-interactive$/m);
    assert.doesNotMatch(lines.join('\n'), /^(held|flows|rates)/m);
  });

  it('says while it is lost what waits for it, for how long, and why', () => {
    const { glance } = busy;
    const lost = {
      ...{ ...glance.link, state: 'waiting', since: 98_000, upSince: undefined, attempt: 3 },
      ...{ redialAt: 104_000, held: 2, holdEndsAt: 125_000, at: undefined },
      error: { code: 'jumphost-refused', message: '192.0.2.1:22 refused the connection' },
    };
    const shown = (link: typeof lost) =>
      text({ ...busy, glance: glanceOf({ link }) }, 81, 24).slice(1, 4);
    assert.deepEqual(shown(lost), [
      'link      waiting for 2 s, round trip 12.3 ms, tried again in 4 s, attempt 3',
      'held      2 connections wait for it, the first one for 25 s more',
      'why       192.0.2.1:22 refused the connection',
    ]);
    assert.equal(shown({ ...lost, held: 0 })[1], 'held      new connections wait for up to 30 s');
    assert.equal(
      shown({ ...lost, held: 0, holdSeconds: 0 })[1],
      'held      new connections are refused',
    );
  });

  it('shows nothing that a server could draw with', () => {
    const evil = '\x1b[2J\x1b]0;x\x07\u202eabc\r\n\tdef';
    const { glance } = busy;
    const lines = text(
      {
        ...busy,
        glance: glanceOf({
          remote: evil,
          targets: [evil],
          device: evil,
          link: { ...glance.link, server: evil, hostKey: evil, at: evil, user: evil, via: [evil] },
          refusals: [{ ...glance.refusals[0], at: 99_000, why: evil } as never],
        }),
        destinations: [{ text: evil, live: 1, opened: 1, rate: 1 }],
        waits: [evil],
      },
      200,
      50,
    );
    for (const line of lines) assert.doesNotMatch(line, /[\p{Cc}\p{Cf}]/u);
  });
});
