/** Prints docs/metrics.md: every metric of `--metrics`. A test compares it with the page. */
import { pathToFileURL } from 'node:url';
import { FAMILIES, OPEN_DURATION } from '../src/metrics/families.ts';
import { COUNTERS } from '../src/observe/counters.ts';

const HEAD = `# Metrics

What \`--metrics\` serves ([Operations](operations.md#metrics) says where). This page is made by
\`node dist/scripts/metricstable.js\`.

Names with \`_total\` are counters, which begin at 0 with each start of the tunnel. All others are
gauges, except the one histogram. Series whose labels can be told in advance are there at 0 from the
first scrape on.

## Of the tunnel, its flows and its process

Labels marked with * are only on a socket.
`;

const COUNTED = `
## Counted events

These have no labels. \`tunnel status --json\` and USR1 show the same.
`;

const code = (name: string): string => `\`${name}\``;
const starred = (name: string): string => `\`${name}\`*`;

export function metricsPage(): string {
  const { name, help, labels } = OPEN_DURATION;
  const families = FAMILIES.map((family) => {
    const named = [...family.labels.map(code), ...family.private.map(starred)];
    return `| ${code(family.name)} | ${named.join(', ')} | ${family.help} |`;
  });
  const histogram = `| ${code(name)} (histogram) | ${labels.map(code).join(', ')} | ${help} |`;
  const counters = Object.entries(COUNTERS).map(
    ([counter, what]) => `| ${code(counter)} | ${what} |`,
  );
  const table = ['| name | labels | what |', '|---|---|---|', ...families, histogram];
  const counted = ['| name | what |', '|---|---|', ...counters];
  return [HEAD, ...table, COUNTED, ...counted, ''].join('\n');
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href)
  process.stdout.write(metricsPage());
