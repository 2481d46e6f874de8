/** Scripts for flows on which nothing is said: a firewall of this machine must not forget them. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  HALF_CLOSED_KEEPALIVE_MS,
  KEEPALIVE_MS,
  KEEPALIVE_PROBES,
  PROBE_MS,
} from '../../../../src/capture/tun/keepalive.ts';
import { type TcpApp, TcpLab } from '../../../support/tcpscript.ts';

/** Probes of many flows are sent together. */
const SLACK_MS = 5_050;

function start(options: { readonly timestamps?: boolean } = {}) {
  const lab = new TcpLab();
  const app = lab.app(options);
  const far = app.connect();
  return { lab, app, far };
}

/** The next frame is a probe, so long after now and a little later. */
function probed(
  lab: TcpLab,
  app: TcpApp,
  after: number,
  numbers: { seq: number; ack: number },
): void {
  const late = lab.waitForFrame(after + SLACK_MS) - after;
  assert.ok(late >= 0, `${late} ms late`);
  app.expect('.', { ...numbers, data: 0 });
}

describe('a flow on which nothing is said', () => {
  for (const timestamps of [true, false]) {
    it(`is probed, and goes on as long as it answers (${timestamps ? 'with' : 'without'} timestamps)`, () => {
      const { lab, app, far } = start({ timestamps });
      far.give('x');
      app.expect('P.', { data: 'x' });
      app.send('.');
      for (let hours = 0; hours < 24; hours++) {
        probed(lab, app, KEEPALIVE_MS, { seq: 1, ack: 1 });
        app.send('.');
        lab.silent();
      }
      app.send('P.', { data: 'still here' });
      app.expect('.', { ack: 11 });
      assert.equal(far.text, 'still here');
    });
  }

  it('is probed more often when the application has ended its part', () => {
    const { lab, app, far } = start();
    app.send('F.');
    app.expect('.', { ack: 2 });
    for (let minute = 0; minute < 4; minute++) {
      probed(lab, app, HALF_CLOSED_KEEPALIVE_MS, { seq: 0, ack: 2 });
      app.send('.');
    }
    far.give('at last');
    app.expect('P.', { seq: 1, data: 'at last' });
  });

  it('or when the far side has', () => {
    const { lab, app, far } = start();
    far.other.finish();
    app.expect('F.', { seq: 1 });
    app.send('.');
    probed(lab, app, HALF_CLOSED_KEEPALIVE_MS, { seq: 1, ack: 1 });
    app.send('.');
    app.send('P.', { data: 'more' });
    app.expect('.', { ack: 5 });
    probed(lab, app, HALF_CLOSED_KEEPALIVE_MS, { seq: 1, ack: 5 });
  });

  it('counts from the last that was heard', () => {
    const { lab, app } = start();
    for (let n = 0; n < 10; n++) {
      lab.wait(KEEPALIVE_MS - SLACK_MS);
      app.send('P.', { data: 'y' });
      app.expect('.');
      lab.silent();
    }
    probed(lab, app, KEEPALIVE_MS, { seq: 0, ack: 11 });
  });

  it('is lost when it does not answer, and is forgotten', () => {
    const { lab, app, far } = start();
    probed(lab, app, KEEPALIVE_MS, { seq: 0, ack: 1 });
    for (let probe = 1; probe < KEEPALIVE_PROBES; probe++)
      probed(lab, app, PROBE_MS, { seq: 0, ack: 1 });
    assert.deepEqual(far.said, []);
    lab.wait(PROBE_MS + SLACK_MS);
    assert.deepEqual(far.said, ['abort flow-given-up']);
    assert.equal(lab.counters.flowsTimedOut, 1);
    lab.idle();
  });

  it('is not probed while data wait for a window: those probes do', () => {
    const { lab, app, far } = start();
    app.send('.', { window: 0 });
    far.give('waits');
    let frames = 0;
    for (const end = lab.now + 2 * KEEPALIVE_MS; lab.now < end; frames++) {
      lab.waitForFrame(120_000);
      app.expect('.', { seq: 0, data: 0 });
      app.send('.', { window: 0 });
    }
    assert.ok(frames > 10, `${frames}`);
  });
});

/** A host behind this machine that is switched off says nothing, and neither does its network. */
describe('an application that vanishes', () => {
  /** Longer than any state may last: MAX_RETRIES take most. */
  const MOST_MS = 25 * 60_000;

  const STATES: Readonly<Record<string, (lab: TcpLab, app: TcpApp) => void>> = {
    'in connect()': (_lab, app) => void app.send('S', { scale: 7 }),
    'before it has acknowledged our SYN': (_lab, app) => {
      app.send('S', { scale: 7 });
      app.open();
    },
    'once connected': (_lab, app) => void app.connect(),
    'after it has sent': (_lab, app) => {
      app.connect();
      app.send('P.', { data: 'x' });
    },
    'with data on their way to it': (_lab, app) => void app.connect().give(Buffer.alloc(100_000)),
    'with its window shut': (_lab, app) => {
      const far = app.connect();
      app.send('.', { window: 0 });
      far.give('waits');
    },
    'after its own FIN': (_lab, app) => {
      app.connect();
      app.send('F.');
    },
    'after it has acknowledged our FIN': (lab, app) => {
      app.connect().other.finish();
      lab.ignore();
      app.send('.', { ack: 2 });
    },
    'before it has acknowledged our FIN': (_lab, app) => app.connect().other.finish(),
    'after the far side has gone': (_lab, app) => {
      const { other } = app.connect();
      other.shut();
      other.finish();
    },
  };
  for (const [when, enter] of Object.entries(STATES)) {
    it(`${when} is forgotten, and counted`, () => {
      const lab = new TcpLab();
      const app = lab.app();
      enter(lab, app);
      lab.wait(MOST_MS);
      lab.ignore();
      lab.idle();
      const { flowsTimedOut, flowsGivenUp } = lab.counters;
      assert.equal(flowsTimedOut + flowsGivenUp, 1);
      assert.equal(lab.deadline, Number.POSITIVE_INFINITY, 'no timer is left');
    });
  }
});
