/**
 * How long the tunnel's DNS server takes to answer from its cache or leases, at many queries a
 * second.
 */
import { fileURLToPath } from 'node:url';
import { API1 } from '../../test/support/addresses.ts';
import type { LoadResult } from '../../test/support/dnsload.ts';
import { dnsmasqAt } from '../../test/support/dnsmasq.ts';
import { Lab } from '../../test/support/lab.ts';
import type { Child } from '../../test/support/process.ts';
import { startTunnel } from '../../test/support/tunnel.ts';
import type { Measurement, Run } from './measurement.ts';
import { cpuSeconds } from './processcost.ts';

const LOAD = fileURLToPath(new URL('../../test/support/dnsload.js', import.meta.url));
const PER_SECOND = 5_000;
const NAMES = 100;
/** The device's first address block is free in a lab. */
const TUNNEL_SERVER = '198.18.0.53';
const LOOPBACK = '127.0.0.1';

const KINDS = [
  { what: 'a cached answer', domain: 'lab.test' },
  { what: 'a virtual address', domain: 'virtual.test' },
] as const;
const p99 = (what: string) => `${what}, p99 ms`;
const cost = (what: string) => `${what}, processor µs a query`;
const answered = (what: string) => `${what}, answered %`;

const hosts = Array.from(
  { length: NAMES },
  (_, i) => `--host-record=n${i}.lab.test,10.77.2.${i + 1},600`,
);

async function run({ rounds, seconds, record }: Run): Promise<void> {
  const lab = await Lab.create({ sshd: 'open' });
  const names = (domain: string) => Array.from({ length: NAMES }, (_, i) => `n${i}.${domain}`);
  const ask = async (
    series: string,
    server: Child,
    address: string,
    kind: (typeof KINDS)[number],
  ) => {
    const before = cpuSeconds(server.pid);
    const argv = [LOAD, address, '53', String(PER_SECOND), String(seconds), ...names(kind.domain)];
    const { status, stdout, stderr } = await lab.client.exec([process.execPath, ...argv]);
    if (status !== 0) throw new Error(`${series}: ${stderr}`);
    const result = JSON.parse(stdout) as LoadResult;
    record(p99(kind.what), series, result.p99);
    record(answered(kind.what), series, (100 * result.answered) / result.sent);
    record(cost(kind.what), series, ((cpuSeconds(server.pid) - before) / result.asked) * 1e6);
  };
  try {
    await lab.api1.spawn(dnsmasqAt(API1, ...hosts));
    const own = await lab.client.spawn(dnsmasqAt(LOOPBACK, ...hosts));
    const options = ['--dns-server', API1, '--domain', 'lab.test', ...names('virtual.test')];
    const tunnel = await startTunnel(lab.client, options);
    for (let round = 0; round < rounds; round++) {
      for (const kind of KINDS) await ask('tunnel', tunnel, TUNNEL_SERVER, kind);
      await ask('dnsmasq', own, LOOPBACK, KINDS[0]);
    }
    await tunnel.stop('SIGTERM');
  } finally {
    await lab.close();
  }
}

export const names: Measurement = {
  name: 'names',
  title: `${PER_SECOND} queries a second`,
  how: `UDP queries for ${NAMES} names from a separate process, to the tunnel's DNS server through the TUN, and to a dnsmasq on the same machine.`,
  besideNoise: false,
  rounds: 3,
  checks: KINDS.flatMap(({ what }) => [
    { what: `${what}, p99 ms`, target: { atMost: 5 }, value: (read) => read(p99(what), 'tunnel') },
    {
      what: `${what}, answered %`,
      target: { atLeast: 99.9 },
      value: (read) => read(answered(what), 'tunnel'),
    },
  ]),
  run,
};
