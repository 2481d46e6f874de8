/** Prometheus itself with what it is given: the metrics of a real tunnel, alerts, a dashboard. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { LoopbackSshd, sshdMissing } from '../support/loopback-sshd.ts';
import { Child, run } from '../support/process.ts';
import { missingPrograms } from '../support/requirements.ts';
import { exchange, throughProxy } from '../support/socksclient.ts';
import { MAIN } from '../support/tunnel.ts';

const DOCS = fileURLToPath(new URL('../../../docs/', import.meta.url));
const RULES = join(DOCS, 'prometheus/rules.yml');
const LIMIT_MS = 60_000;
/** Scrapes and evaluations a second: each rate has two samples soon. */
const INTERVAL = '1s';

interface Dashboard {
  readonly panels: readonly {
    readonly title: string;
    readonly targets?: readonly { readonly expr: string }[];
  }[];
}

interface Rules {
  readonly groups: readonly { readonly rules: readonly Rule[] }[];
}

interface Rule {
  readonly alert: string;
  readonly expr: string;
}

interface RunningRule {
  readonly name: string;
  readonly health: string;
  readonly lastError?: string;
  readonly state: string;
}

interface Answer<Data> {
  readonly status: string;
  readonly error?: string;
  readonly warnings?: readonly string[];
  readonly data: Data;
}

describe('Prometheus', {
  skip: sshdMissing || missingPrograms('prometheus', 'promtool'),
  timeout: 240_000,
}, () => {
  const directory = mkdtempSync(join(tmpdir(), 'tunnel-prometheus-'));
  let sshd: LoopbackSshd;
  let tunnel: Child;
  let prometheus: Child | undefined;
  let echo: Server;
  let scraped = '';
  let asked = '';

  before(async () => {
    sshd = await LoopbackSshd.start({ config: ['MaxSessions 0'] });
    echo = createServer((socket) => socket.on('error', () => {}).pipe(socket));
    await new Promise<void>((resolve) => echo.listen(0, '127.0.0.1', resolve));
    tunnel = await startTunnel();
    scraped = /metrics at http:\/\/(127\.0\.0\.1:\d+)/.exec(tunnel.stderr)?.[1] ?? '';
    await carry();
  });
  after(async () => {
    await prometheus?.stop('SIGKILL');
    await tunnel?.stop('SIGKILL');
    echo?.close();
    await sshd?.stop();
    rmSync(directory, { recursive: true });
  });

  async function startTunnel(): Promise<Child> {
    const { port, user, directory: keys } = sshd;
    const child = await Child.start(
      [
        ...[process.execPath, MAIN, 'proxy', '-v', '-r', `${user}@127.0.0.1:${port}`],
        ...['-F', 'none', '-i', join(keys, 'user_key')],
        ...['--host-key', (await sshd.knownHostsLine()).trim()],
        ...['--listen', '127.0.0.1:0', '--metrics', '127.0.0.1:0', '--reconnect-hold', '0'],
      ],
      { env: { PATH: process.env['PATH'] ?? '', HOME: directory, RUNTIME_DIRECTORY: directory } },
    );
    await child.waitForLine(/tunnel: ready\n/, LIMIT_MS);
    return child;
  }

  /** A connection that is opened, and one that is refused. */
  async function carry(): Promise<void> {
    const proxy = Number(/proxy at 127\.0\.0\.1:(\d+)/.exec(tunnel.stderr)?.[1]);
    const socket = await throughProxy(proxy, (echo.address() as { port: number }).port);
    await exchange(socket, 1000);
    socket.destroy();
    await assert.rejects(throughProxy(proxy, 1));
  }

  /** Listening only until it is known, so another program may take it: then Prometheus says so. */
  async function freePort(): Promise<number> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    await new Promise((resolve) => server.close(resolve));
    return port;
  }

  async function startPrometheus(): Promise<void> {
    const config = join(directory, 'prometheus.yml');
    writeFileSync(
      config,
      `global: { scrape_interval: ${INTERVAL}, evaluation_interval: ${INTERVAL} }
rule_files: [${JSON.stringify(RULES)}]
scrape_configs:
  - job_name: tunnel
    static_configs: [{ targets: ['${scraped}'] }]
`,
    );
    asked = `127.0.0.1:${await freePort()}`;
    prometheus = await Child.start([
      ...[
        'prometheus',
        `--config.file=${config}`,
        `--storage.tsdb.path=${join(directory, 'tsdb')}`,
      ],
      ...[`--web.listen-address=${asked}`, '--log.level=warn'],
    ]);
  }

  async function ask<Data>(path: string): Promise<Data> {
    const response = await fetch(`http://${asked}/api/v1/${path}`);
    const answer = (await response.json()) as Answer<Data>;
    assert.equal(answer.status, 'success', `${path}: ${answer.error}`);
    assert.deepEqual(answer.warnings ?? [], [], path);
    return answer.data;
  }

  const query = async (expr: string): Promise<readonly unknown[]> =>
    (await ask<{ result: unknown[] }>(`query?query=${encodeURIComponent(expr)}`)).result;

  async function eventually(what: string, check: () => Promise<boolean>): Promise<void> {
    const until = performance.now() + LIMIT_MS;
    while (!(await check().catch(() => false))) {
      assert.ok(performance.now() < until, `${what}: ${prometheus?.stderr}`);
      await delay(200);
    }
  }

  async function rules(): Promise<readonly RunningRule[]> {
    const { groups } = await ask<{ groups: { rules: RunningRule[] }[] }>('rules');
    return groups.flatMap(({ rules: all }) => all);
  }

  const stateOf = async (alert: string): Promise<string | undefined> =>
    (await rules()).find(({ name }) => name === alert)?.state;

  it('finds nothing wrong with the metrics, the alerts and their tests', async () => {
    const metrics = await (await fetch(`http://${scraped}/metrics`)).text();
    const checked = await run(['promtool', 'check', 'metrics'], { input: metrics });
    assert.deepEqual(
      { status: checked.status, said: checked.stdout + checked.stderr },
      { status: 0, said: '' },
    );
    for (const args of [
      ['check', 'rules', RULES],
      ['test', 'rules', join(DOCS, 'prometheus/rules_test.yml')],
    ]) {
      const { status, stdout, stderr } = await run(['promtool', ...args]);
      assert.equal(status, 0, stdout + stderr);
      assert.match(stdout, /SUCCESS/);
    }
  });

  it('has an answer for each query of the dashboard and of the alerts', async () => {
    await startPrometheus();
    await eventually('scrapes', async () => {
      const [first] = await query('count_over_time(tunnel_link_up[1m]) >= 4');
      return first !== undefined;
    });
    await carry();
    const { panels } = JSON.parse(
      readFileSync(join(DOCS, 'grafana/tunnel.json'), 'utf8'),
    ) as Dashboard;
    const shown = panels.flatMap(({ title, targets = [] }) =>
      targets.map(({ expr }) => [title, filledIn(expr)] as const),
    );
    assert.ok(shown.length > 60);
    for (const [title, expr] of shown) {
      assert.doesNotMatch(expr, /\$/);
      // The round trip is known after a while.
      await eventually(`${title}: ${expr}`, async () => (await query(expr)).length > 0);
    }
    const { groups } = parse(readFileSync(RULES, 'utf8')) as Rules;
    for (const { expr } of groups.flatMap(({ rules: all }) => all)) await query(expr);
    await eventually('rules', async () => (await rules()).every(({ health }) => health === 'ok'));
  });

  it('sees that the link is down, and that the tunnel has ended', async () => {
    assert.equal(await stateOf('TunnelLinkDown'), 'inactive');
    await sshd.stop();
    await eventually('link', async () => (await stateOf('TunnelLinkDown')) === 'pending');
    assert.equal(await stateOf('TunnelDown'), 'inactive');
    await tunnel.stop('SIGKILL');
    await eventually('tunnel', async () => (await stateOf('TunnelDown')) === 'pending');
  });
});

/** As Grafana does. */
function filledIn(expr: string): string {
  return expr
    .replaceAll('$__rate_interval', '4s')
    .replaceAll('$job', '.+')
    .replaceAll('$instance', '.+');
}
