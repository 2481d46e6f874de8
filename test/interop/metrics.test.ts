/** --metrics of real tunnels at a real sshd: values are those of what was carried. */
import assert from 'node:assert/strict';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { MAX_SILENT } from '../../src/link/openplaces.ts';
import { FRESH_MS } from '../../src/metrics/server.ts';
import { sshdMissing } from '../support/loopback-sshd.ts';
import { LoopbackLab, proxyPort, START_MS } from '../support/loopbacklab.ts';
import type { Child } from '../support/process.ts';
import { exchange, throughProxy } from '../support/socksclient.ts';
import { StoppedListener } from '../support/stoppedlistener.ts';

const END_MS = 20_000;

describe('--metrics', { skip: sshdMissing }, () => {
  let lab: LoopbackLab;
  let echo = 0;

  before(async () => {
    lab = await LoopbackLab.open();
    echo = await lab.echo();
  });
  after(() => lab.close());

  const LINE = ['--listen', '127.0.0.1:0', '-v'];

  async function start(...args: readonly string[]): Promise<{ child: Child; proxy: number }> {
    const child = await lab.start('proxy', ...LINE, ...args);
    return { child, proxy: proxyPort(child) };
  }

  it('adds up what the relay has moved, with targets on a socket', async () => {
    const socketPath = lab.path('m.sock');
    const { child, proxy } = await start('--metrics', socketPath, '127.0.0.0/8');
    assert.equal(statSync(socketPath).mode & 0o777, 0o600);
    const sockets: Socket[] = [];
    for (let i = 0; i < 5; i++) sockets.push(await throughProxy(proxy, echo));
    await Promise.all(sockets.map((socket, i) => exchange(socket, 1000 * (i + 1))));
    await assert.rejects(throughProxy(proxy, 1));
    const values = samplesOf(await scrape({ socketPath }));
    const target = 'target="127.0.0.0/8"';
    const expected = {
      tunnel_link_up: 1,
      'tunnel_link_state{state="up"}': 1,
      'tunnel_link_state{state="waiting"}': 0,
      tunnel_ready: 1,
      [`tunnel_flows_live{${target}}`]: 5,
      [`tunnel_flow_bytes_total{direction="sent",${target}}`]: 15_000,
      [`tunnel_flow_bytes_total{direction="received",${target}}`]: 15_000,
      [`tunnel_flow_outcomes_total{outcome="opened",reason="",by="",${target}}`]: 5,
      [`tunnel_flow_outcomes_total{outcome="refused",reason="refused",by="far_side",${target}}`]: 1,
      'tunnel_open_duration_seconds_count{way="tunnel"}': 5,
      tunnel_flows_opened_total: 5,
      tunnel_sent_bytes_total: 0,
      tunnel_opens_waiting: 0,
      tunnel_opens_unanswered: 0,
      tunnel_ssh_unsent_bytes: 0,
      [`tunnel_flow_outcomes_total{outcome="refused",reason="timeout",by="far_side",${target}}`]: 0,
    };
    for (const [name, value] of Object.entries(expected))
      assert.equal(values.get(name), value, name);
    assert.ok((values.get('process_resident_memory_bytes') ?? 0) > 1e7);
    const used = values.get('tunnel_window_budget_used_bytes') ?? 0;
    assert.ok(used > 0 && used <= (values.get('tunnel_window_budget_bytes') ?? 0), String(used));
    const names = [...values.keys()].join('\n');
    assert.match(names, /tunnel_link_info\{client="[^"]+",server="OpenSSH[^"]*",cipher="[^"]+"/);
    assert.match(names, /tunnel_run_info\{command="proxy",name="[^"]+",remote="[^"]+"\}/);

    for (const socket of sockets) socket.destroy();
    const over = async (): Promise<ReadonlyMap<string, number>> => {
      const until = performance.now() + END_MS;
      for (;;) {
        const now = samplesOf(await scrape({ socketPath }));
        if (now.get('tunnel_sent_bytes_total') === 15_000) return now;
        assert.ok(performance.now() < until, 'the flows have not ended');
      }
    };
    const ended = await over();
    assert.equal(ended.get(`tunnel_flows_live{${target}}`), 0);
    assert.equal(ended.get(`tunnel_flow_bytes_total{direction="sent",${target}}`), 15_000);
    assert.equal(ended.get('tunnel_received_bytes_total'), 15_000);
    // A client that asks nothing keeps nobody from stopping.
    const silent = connect(socketPath);
    silent.on('error', () => {});
    await child.stop('SIGTERM');
    assert.ok(!existsSync(socketPath));
    silent.destroy();
  });

  it('shows what waits for an answer, and what waits until it may be asked for', async () => {
    const socketPath = lab.path('waiting.sock');
    const { child, proxy } = await start('--metrics', socketPath);
    const silent = await StoppedListener.start();
    try {
      const until = performance.now() + END_MS;
      // When so many of a destination are silent, one more is not asked for.
      for (let asked = 1; ; asked++) {
        throughProxy(proxy, silent.destination.port).catch(() => {});
        if (asked < MAX_SILENT) continue;
        await delay(FRESH_MS);
        const values = samplesOf(await scrape({ socketPath }));
        const waiting = values.get('tunnel_opens_waiting') ?? 0;
        const unanswered = values.get('tunnel_opens_unanswered') ?? 0;
        if (waiting > 0 && waiting + unanswered === asked) break;
        assert.ok(performance.now() < until, `${waiting} wait, ${unanswered} are unanswered`);
      }
    } finally {
      silent.kill();
      await child.stop('SIGKILL');
    }
  });

  it('tells all users of the machine nothing of destinations', async () => {
    const { child, proxy } = await start('--metrics', '127.0.0.1:0', '127.0.0.0/8');
    const port = Number(/metrics at http:\/\/127\.0\.0\.1:(\d+)/.exec(child.stderr)?.[1]);
    const socket = await throughProxy(proxy, echo);
    await exchange(socket, 10);
    const text = await scrape({ host: '127.0.0.1', port });
    const values = samplesOf(text);
    assert.equal(values.get('tunnel_flow_bytes_total{direction="sent"}'), 10);
    assert.equal(values.get('tunnel_flows_live'), 1);
    assert.doesNotMatch(text, /target=|remote=|user=|at=|127\.0\.0\./);
    socket.destroy();
    await child.stop('SIGTERM');
  });

  it('says which free port it has, also without -v', async () => {
    const line = ['--listen', '127.0.0.1:0', '--metrics', '127.0.0.1:0'];
    const child = await lab.start('proxy', ...line);
    assert.match(child.stderr, /^tunnel: metrics at http:\/\/127\.0\.0\.1:[1-9]\d*$/m);
    await child.stop('SIGTERM');
  });

  it('replaces the socket of a tunnel that was killed, and nothing else', async () => {
    const path = lab.path('again.sock');
    const first = await start('--metrics', path);
    await refused(path, /another program listens there/);
    await first.child.stop('SIGKILL');
    assert.ok(existsSync(path));
    const second = await start('--metrics', path);
    assert.equal(samplesOf(await scrape({ socketPath: path })).get('tunnel_link_up'), 1);
    await second.child.stop('SIGTERM');
    writeFileSync(path, 'precious');
    await refused(path, /there is another file, which is no socket/);
    await refused(lab.path('no/such.sock'), /its directory does not exist/);
    await refused(`127.0.0.1:${echo}`, /EADDRINUSE|in use/i);
  });

  async function refused(place: string, why: RegExp): Promise<void> {
    const child = await lab.begin(lab.words('proxy', ...LINE, '--metrics', place));
    assert.equal((await child.wait(START_MS)).status, 1);
    assert.match(child.stderr, /\[metrics-unavailable\]/);
    assert.match(child.stderr, why);
    assert.match(child.stderr, /hint/);
  }
});

interface At {
  readonly socketPath?: string;
  readonly host?: string;
  readonly port?: number;
}

function scrape(at: At): Promise<string> {
  return new Promise((resolve, reject) => {
    const asking = request({ ...at, path: '/metrics', agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('end', () => {
        if (response.statusCode === 200) resolve(text);
        else reject(new Error(`${response.statusCode}: ${text}`));
      });
    });
    asking.on('error', reject);
    asking.end();
  });
}

function samplesOf(text: string): ReadonlyMap<string, number> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => {
      const space = line.lastIndexOf(' ');
      return [line.slice(0, space), Number(line.slice(space + 1))];
    }),
  );
}
