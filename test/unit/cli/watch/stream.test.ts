import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type StreamOptions, streamStatus } from '../../../../src/cli/watch/stream.ts';
import type { Found, RunningTunnel } from '../../../../src/control/client.ts';
import { tunnelStatus } from './fixture.ts';

const EVERY_MS = 1;

function running(pid: number, name: string): RunningTunnel {
  return { pid, user: 0, path: `/run/${pid}.sock`, status: tunnelStatus([], { pid, name }) };
}

/** Tunnels that are found, one look after the other; then none. */
async function stream(looks: readonly Found[], options: Partial<StreamOptions> = {}) {
  const printed: string[] = [];
  const left = [...looks];
  await streamStatus({
    name: undefined,
    json: false,
    signal: new AbortController().signal,
    every: EVERY_MS,
    find: async () => left.shift() ?? { tunnels: [], silent: [] },
    print: (text) => printed.push(text) > 0,
    ...options,
  });
  return printed;
}

describe('streamStatus', () => {
  const lab = running(7, 'lab');
  const both: Found = { tunnels: [lab, running(8, 'home')], silent: [] };

  it('prints the status again until the last tunnel has ended', async () => {
    const printed = await stream([both, { tunnels: [lab], silent: [] }]);
    assert.equal(printed.length, 3);
    assert.match(printed[0] ?? '', /^lab \(.*\n[\s\S]*^home \(/m);
    assert.match(printed[1] ?? '', /^\nlab \(/);
    assert.doesNotMatch(printed[1] ?? '', /home/);
    assert.equal(printed[2], '\nno tunnel runs\n');
  });

  it('prints one line of JSON each', async () => {
    const printed = await stream([both], { json: true });
    const read = printed.map((line) => {
      assert.match(line, /^[^\n]+\n$/);
      return JSON.parse(line) as { tunnels: { name: string }[] };
    });
    assert.deepEqual(
      read.map(({ tunnels }) => tunnels.map(({ name }) => name)),
      [['lab', 'home'], []],
    );
  });

  it('follows the tunnel that has the name at the start', async () => {
    const later: Found = { tunnels: [running(9, 'lab')], silent: [] };
    const printed = await stream([both, later], { name: 'lab' });
    assert.equal(printed.length, 2);
    assert.doesNotMatch(printed.join(''), /home|pid 9/);
    await assert.rejects(stream([], { name: 'lab' }), { code: 'no-such-tunnel' });
  });

  it('ends when nobody reads any more, and rejects when it is stopped', async () => {
    let times = 0;
    const looks = [both, both, both];
    await stream(looks, { print: () => ++times < 2 });
    assert.equal(times, 2);
    const stop = new AbortController();
    const print = (): boolean => {
      stop.abort();
      return true;
    };
    const stopped = stream(looks, { signal: stop.signal, print });
    await assert.rejects(stopped, (error) => error === stop.signal.reason);
  });
});
