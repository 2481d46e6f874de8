/** When the report is drawn, and what is written for it: at a terminal that the test plays. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { Display } from '../../../../src/cli/display/display.ts';
import type { Glance } from '../../../../src/control/status.ts';
import { LineWriter } from '../../../../src/observe/linewriter.ts';
import { Waits } from '../../../../src/observe/waits.ts';
import { nobody } from '../../../../src/ssh/prompter.ts';
import { glanceOf } from './fixture.ts';

const SECOND = 1_000;

describe('the display', () => {
  let written: string;
  /** Octets that the terminal takes. */
  let takes: number;
  let view: [number, number, boolean] | undefined;
  let stops: number;
  let writer: LineWriter;
  let waits: Waits;
  let display: Display;
  let end: () => string | undefined;
  let now: number;

  beforeEach(() => {
    mock.timers.enable({ apis: ['setInterval', 'setTimeout'] });
    written = '';
    takes = Number.POSITIVE_INFINITY;
    view = [80, 24, true];
    stops = 0;
    now = 100_000;
    writer = new LineWriter((bytes) => {
      const taken = Math.min(bytes.length, takes);
      takes -= taken;
      written += Buffer.from(bytes.subarray(0, taken)).toString();
      return taken;
    });
    waits = new Waits();
    display = new Display({
      writer,
      waits,
      encode: (line) => line.map(({ text }) => text).join(''),
      view: () => view,
      stopSelf: () => stops++,
      reflows: true,
    });
  });
  afterEach(() => {
    end?.();
    mock.timers.reset();
  });

  function begin(more: Partial<Glance> = {}): void {
    end = display.begin(() => {
      now += SECOND;
      return glanceOf({ at: now, ...more });
    });
    mock.timers.tick(SECOND);
  }

  /** What has been written since. */
  function taken(): string {
    const text = written;
    written = '';
    return text;
  }

  const shown = (text: string) => /link {6}up for/.test(text);
  /** A line of its own goes up so many lines, and erases each. */
  const erases = (text: string, lines: number) =>
    (text.match(/\x1b\[2K/g) ?? []).length === lines + 1;

  it('draws each second, and only what has changed', () => {
    begin();
    assert.ok(shown(taken()));
    mock.timers.tick(SECOND);
    const next = taken();
    assert.match(next, /^\x1b\[\?2026h\r\x1b\[5A.* {2}for 1 min \d+ s/);
    assert.doesNotMatch(next, /protected/);
  });

  it('is hidden for a message, and comes back', () => {
    begin();
    taken();
    display.hide();
    assert.ok(erases(taken(), 5));
    display.hide();
    assert.equal(taken(), '', 'once');
    mock.timers.tick(200);
    assert.ok(shown(taken()));
  });

  it('is not drawn by a background job, nor while another program asks or has the screen', () => {
    view = [80, 24, false];
    begin();
    assert.equal(taken(), '');
    view = [80, 24, true];
    mock.timers.tick(SECOND);
    assert.ok(shown(taken()));
    view = [80, 24, false];
    mock.timers.tick(SECOND);
    display.hide();
    assert.equal(taken(), '', 'what is there is not ours to erase');
    view = [80, 24, true];
    mock.timers.tick(SECOND);
    const over = waits.begin({ what: () => undefined, mayAsk: () => true });
    assert.ok(erases(taken().slice(-60), 5) || written === '');
    taken();
    mock.timers.tick(3 * SECOND);
    assert.equal(taken(), '');
    over();
    mock.timers.tick(SECOND);
    assert.ok(shown(taken()));
  });

  it('is hidden while somebody is asked', async () => {
    begin();
    taken();
    let answer: (text: string) => void = () => {};
    const asked = display
      .around({
        ...nobody('nobody'),
        secret: () =>
          new Promise((resolve) => {
            answer = resolve;
          }),
      })
      .secret('Password:');
    assert.ok(erases(taken(), 5));
    mock.timers.tick(10 * SECOND);
    assert.equal(taken(), '');
    answer('x');
    assert.equal(await asked, 'x');
    mock.timers.tick(SECOND);
    assert.ok(shown(taken()));
  });

  it('keeps at most one drawing for a terminal that takes nothing', () => {
    takes = 10;
    begin();
    const { waiting } = writer;
    assert.ok(waiting > 0);
    mock.timers.tick(3_600 * SECOND);
    assert.equal(writer.waiting, waiting);
    takes = Number.POSITIVE_INFINITY;
    mock.timers.tick(SECOND);
    mock.timers.tick(SECOND);
    assert.match(taken(), /for 1 h \d+ min/);
  });

  it('erases as many rows as the terminal has made of it', () => {
    begin();
    taken();
    view = [40, 24, true];
    process.emit('SIGWINCH');
    mock.timers.tick(200);
    // Of the five lines each is longer than 40 cells.
    assert.ok(erases(taken(), 10));
    view = [80, 24, true];
    process.emit('SIGWINCH');
    mock.timers.tick(200);
    assert.ok(erases(taken(), 5));
    view = [10, 24, true];
    process.emit('SIGWINCH');
    mock.timers.tick(200);
    assert.doesNotMatch(taken(), /link/);
  });

  it('goes before it is stopped, and is drawn below what others have written meanwhile', () => {
    begin();
    taken();
    process.emit('SIGTSTP');
    assert.ok(erases(taken(), 5));
    assert.equal(stops, 1);
    mock.timers.tick(SECOND);
    assert.ok(shown(taken()));
    // The signal that has ended this stop comes late: what has been drawn since stays.
    process.emit('SIGCONT');
    mock.timers.tick(200);
    assert.equal(taken(), '');
    // Of a stop by somebody else.
    process.emit('SIGCONT');
    mock.timers.tick(200);
    const text = taken();
    assert.ok(shown(text) && !/\x1b\[2K|\x1b\[\d+A/.test(text), JSON.stringify(text));
  });

  it('ends with a line of what was carried, if the run was ready', () => {
    begin();
    taken();
    assert.match(
      end() ?? '',
      /^ended after 1 min \d+ s: 120 connections, 2 refused; 1\.0 MB received, 2\.0 kB sent$/,
    );
    assert.ok(erases(taken(), 5));
    mock.timers.tick(10 * SECOND);
    assert.equal(taken(), '');
    begin({ ready: false });
    assert.equal(end(), undefined);
  });
});
