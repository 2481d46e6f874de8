import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import stringWidth from 'string-width';
import { History } from '../../../../src/cli/watch/history.ts';
import { firstState, type Model, type ViewState } from '../../../../src/cli/watch/state.ts';
import { render } from '../../../../src/cli/watch/view.ts';
import type { Status } from '../../../../src/control/status.ts';
import { processorMs } from '../../../support/until.ts';
import { flowStatus, NOW, tunnelStatus } from './fixture.ts';

const SIZES = [
  [80, 24],
  [200, 50],
  [40, 12],
  [61, 13],
  [20, 3],
  [1, 1],
] as const;
const EVIL = 'evil\x1b]0;title\x07\u202e.example';

function model(more: Partial<Status> = {}): Model {
  const flows = (received: number) => [
    flowStatus(1, { receivedBytes: received, names: ['db.internal'] }),
    flowStatus(2, { state: 'opening', openedAt: undefined, destination: '日本語.example:80' }),
    flowStatus(3, { names: [EVIL], sentBytes: 1_234_567, destination: '[2001:db8::3]:22' }),
  ];
  const history = new History(tunnelStatus(flows(0), { ...more, at: NOW - 1_000 }), NOW);
  history.add(tunnelStatus(flows(500_000), more), NOW);
  return { tunnels: [history], silent: [{ pid: 7, why: EVIL }], now: NOW };
}

const refusals = [
  {
    at: NOW - 5_000,
    id: 9,
    source: '192.0.2.1:40009',
    destination: '10.9.9.9:22',
    refusal: 'prohibited',
    by: 'far-side',
    why: `administratively prohibited ${EVIL}`,
  },
];

function state(more: Partial<ViewState> = {}): ViewState {
  return { ...firstState({ ...model(), silent: [] }), ...more };
}

function text(shown: Model, chosen: ViewState, columns = 80, rows = 24): string[] {
  const lines = render(shown, chosen, { columns, rows });
  return lines.map((line) => line.map((span) => span.text).join(''));
}

describe('the view', () => {
  const zone = process.env['TZ'];
  before(() => {
    process.env['TZ'] = 'UTC';
  });
  after(() => {
    if (zone === undefined) delete process.env['TZ'];
    else process.env['TZ'] = zone;
  });

  it('fills every size exactly, on every page', () => {
    const pages = ['tunnels', 'flows', 'flow', 'refusals'] as const;
    for (const [columns, rows] of SIZES)
      for (const page of pages)
        for (const help of [false, true]) {
          const lines = text(model({ refusals }), state({ page, help, flow: 3 }), columns, rows);
          assert.equal(lines.length, rows);
          for (const line of lines) assert.equal(stringWidth(line), columns, `${page}: ${line}`);
          assert.doesNotMatch(lines.join(''), /[\x00-\x1f\x7f-\x9f\u202e]/);
        }
  });

  it('shows link, protection, capture, rates and flows at 80x24', () => {
    assert.deepEqual(text(model({ refusals }), state()), [
      'lab (connect, pid 4242, for 3 min 0 s)                                  03:04:05',
      'link          up for 2 min 0 s, me@jump.example:22, round trip 12.3 ms          ',
      'protected by  OpenSSH_9.9, mlkem768x25519-sha256, aes256-gcm@openssh.com, ssh-e…',
      'captured      10.0.0.0/8 by tunnel0                                             ',
      'flows         3 live, 3 opened, 0 refused                                       ',
      'last refusal  10.9.9.9:22 5 s ago: prohibited: administratively prohibited evil…',
      'received 500 kB/s, most 500 kB/s         sent 0 B/s, most 0 B/s                 ',
      '                                      █                                         ',
      '                                      █                                         ',
      '                                      █                                         ',
      'DESTINATION                                       AGE    SENT RECEIVED      RATE',
      '10.0.0.1:443 (db.internal)                      1 min     0 B   500 kB  500 kB/s',
      '[2001:db8::3]:22 (evil .example)                1 min  1.2 MB      0 B     0 B/s',
      '日本語.example:80                               1 min     0 B      0 B   opening',
      ...Array.from({ length: 9 }, () => ' '.repeat(80)),
      '? help  q quit  s b a d sort: rate  r refusals  Enter open  / filter            ',
    ]);
  });

  it('shows sources and ways on a wide screen', () => {
    const lines = text(model(), state(), 200, 50).join('\n');
    assert.match(lines, /DESTINATION .* SOURCE +WAY +AGE +SENT RECEIVED +RATE/);
    assert.match(lines, /10\.0\.0\.1:443 \(db\.internal\) .*192\.0\.2\.1:40000 +tun +1 min/);
  });

  it('shows a flow, and that it has ended', () => {
    const shown = text(model(), state({ page: 'flow', flow: 2 })).join('\n');
    assert.match(shown, /Flow 2/);
    assert.match(shown, /opened +not yet/);
    const ended = text(model(), state({ page: 'flow', flow: 77 })).join('\n');
    assert.match(ended, /flow 77 has ended/);
  });

  it('shows refusals with their reasons', () => {
    const lines = text(model({ refusals }), state({ page: 'refusals' })).join('\n');
    assert.match(lines, /5 s 10\.9\.9\.9:22 +prohibited +administrative/);
    assert.match(text(model(), state({ page: 'refusals' })).join('\n'), /nothing was refused/);
  });

  it('lists tunnels, and those that do not answer', () => {
    const lines = text(model(), state({ page: 'tunnels' })).join('\n');
    assert.match(lines, /lab +4242 up +12\.3 ms +3 +500 kB\/s/);
    assert.match(lines, /pid 7 does not answer: evil/);
  });

  it('says that a tunnel is silent', () => {
    const lines = text({ ...model(), now: NOW + 9_000 }, state());
    assert.match(lines[1] ?? '', /has not answered for 9 s/);
  });

  it('asks for a larger window', () => {
    assert.match(text(model(), state(), 39, 24)[0] ?? '', /^too small: 40x12/);
    assert.match(text(model(), state(), 80, 11)[0] ?? '', /^too small/);
  });

  it('keeps the cursor of a long table in sight', () => {
    const flows = Array.from({ length: 5_000 }, (_, at) => flowStatus(at + 1));
    const history = new History(tunnelStatus(flows), NOW);
    const shown: Model = { tunnels: [history], silent: [], now: NOW };
    const began = processorMs();
    const lines = render(shown, state({ flow: 2_500, sort: 'age' }), { columns: 80, rows: 24 });
    assert.ok(processorMs() - began < 1_000);
    const at = lines.find((line) => line[0]?.style === 'reverse' && line !== lines[0]);
    assert.match(at?.[0]?.text ?? '', /^10\.0\.0\.2500:443/);
  });
});
