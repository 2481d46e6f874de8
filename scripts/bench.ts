/**
 * The benchmark: one flow up and down, through this program and its peers, on a local link and at 50 ms round-trip time.
 *
 * The peers take turns within each round, so that a machine whose speed drifts or that is shared treats all alike; figures
 * are medians over the rounds, and what counts are the ratios. All encrypt with the same cipher.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { fileURLToPath } from 'node:url';
import { Lab } from '../test/support/lab.ts';
import { median, type Peer, peers, versions } from './benchpeers.ts';

const ROUNDS = Number(process.env['BENCH_ROUNDS'] ?? 5);
const SECONDS = Number(process.env['BENCH_SECONDS'] ?? 4);
const LINKS = [
  { name: 'local link', rtt: 0 },
  { name: '50 ms round trip', rtt: 50 },
] as const;
const DIRECTIONS = ['up', 'down'] as const;
type Direction = (typeof DIRECTIONS)[number];

interface Row {
  readonly link: string;
  readonly direction: Direction;
  /** MB/s (10^6 bytes), one a round, by peer. */
  readonly rates: Record<string, number[]>;
}

/** Through sshuttle, iperf3 now and then loses its control connection at the start: that is tried again. */
const ATTEMPTS = 3;

async function measure(lab: Lab, peer: Peer, direction: Direction, attempt = 1): Promise<number> {
  const target = peer.target(lab);
  const argv = [
    'iperf3',
    '-J',
    '-c',
    target.host,
    '-p',
    String(target.port),
    '-O',
    '1',
    '-t',
    String(SECONDS),
  ];
  if (direction === 'down') argv.push('-R');
  const { status, stdout, stderr } = await lab.client.exec(argv, { timeout: (SECONDS + 60) * 1000 });
  const report = JSON.parse(stdout || '{}') as {
    error?: string;
    end?: { sum_received?: { bits_per_second: number } };
  };
  const rate = report.end?.sum_received?.bits_per_second;
  if (rate !== undefined) return rate / 8e6;
  const message = `${peer.name} ${direction}: iperf3 ${status}: ${report.error ?? stderr}`;
  if (attempt === ATTEMPTS) throw new Error(message);
  process.stderr.write(`${message}, trying again\n`);
  return measure(lab, peer, direction, attempt + 1);
}

async function measureLink(link: (typeof LINKS)[number]): Promise<Row[]> {
  const lab = await Lab.create({ rtt: link.rtt, sshd: 'open' });
  const rows = DIRECTIONS.map((direction): Row => ({ link: link.name, direction, rates: {} }));
  try {
    await lab.startIperf();
    for (let round = 1; round <= ROUNDS; round++) {
      for (const peer of peers) {
        const running = await peer.start(lab);
        try {
          for (const row of rows) {
            const rate = await measure(lab, peer, row.direction);
            row.rates[peer.name] = [...(row.rates[peer.name] ?? []), rate];
            process.stderr.write(
              `${link.name}, round ${round}/${ROUNDS}, ${peer.name} ${row.direction}: ${rate.toFixed(1)} MB/s\n`,
            );
          }
        } finally {
          await running.stop();
        }
      }
    }
  } finally {
    await lab.close();
  }
  return rows;
}

function table(rows: readonly Row[]): string {
  const figure = (row: Row, peer: string) => median(row.rates[peer] ?? []);
  const names = peers.map((peer) => peer.name);
  const lines = [
    `| one flow | ${names.join(' | ')} | tunnel / ssh -L | tunnel / sshuttle |`,
    `|---|${names.map(() => '---:|').join('')}---:|---:|`,
  ];
  for (const row of rows) {
    const cells = names.map((name) => {
      const rates = row.rates[name] ?? [];
      return `${figure(row, name).toFixed(1)} (${Math.min(...rates).toFixed(1)}-${Math.max(...rates).toFixed(1)})`;
    });
    const ratio = (peer: string) => (figure(row, 'tunnel') / figure(row, peer)).toFixed(2);
    lines.push(
      `| ${row.link}, ${row.direction} | ${cells.join(' | ')} | ${ratio('ssh -L')} | ${ratio('sshuttle')} |`,
    );
  }
  return lines.join('\n');
}

const rows: Row[] = [];
for (const link of LINKS) rows.push(...(await measureLink(link)));

const date = new Date().toISOString().slice(0, 10);
const machine = `${cpus().length} x ${cpus()[0]?.model ?? 'unknown processor'}, Linux ${release()}`;
const report = {
  date,
  machine,
  versions: await versions(),
  rounds: ROUNDS,
  seconds: SECONDS,
  unit: 'MB/s',
  rows,
};
const docs = (name: string) => fileURLToPath(new URL(`../../docs/${name}`, import.meta.url));
writeFileSync(docs('measurements.json'), `${JSON.stringify(report, null, 2)}\n`);
const [before = '', , after = ''] = readFileSync(docs('measurements.md'), 'utf8').split(
  /<!-- (?:begin|end) of figures -->/,
);
const figures = `
${date}; ${machine}; ${Object.entries(report.versions)
  .map(([name, version]) => `${name} ${version}`)
  .join(', ')}. Medians of ${ROUNDS} interleaved rounds of ${SECONDS} s each (least-most), MB/s.

${table(rows)}
`;
writeFileSync(
  docs('measurements.md'),
  `${before}<!-- begin of figures -->${figures}<!-- end of figures -->${after}`,
);
process.stdout.write(`${table(rows)}\n`);
