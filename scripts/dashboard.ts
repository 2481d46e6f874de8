/**
 * Prints docs/grafana/tunnel.json: a dashboard of `--metrics` for Grafana 9 and later. A test
 * compares it with the file, and another runs its queries in a real Prometheus.
 *
 * Rows from what an operator asks first to what explains it: the link, connections, data, queues
 * and limits, names, packets, the process.
 */
import { pathToFileURL } from 'node:url';

/** What the queries are limited to: the variables at the top of the page. */
const OF = 'job=~"$job", instance=~"$instance"';
const RATE = '[$__rate_interval]';
const BY = 'job, instance';
const WIDTH = 24;
const STAT_HEIGHT = 4;
const GRAPH_HEIGHT = 8;

interface Query {
  readonly expr: string;
  readonly legend: string;
}

interface Panel {
  readonly title: string;
  readonly description: string;
  readonly type: 'stat' | 'timeseries' | 'state-timeline';
  readonly unit: string;
  /** Of the 24 columns of Grafana. */
  readonly width: number;
  readonly queries: readonly Query[];
  /** What values mean. */
  readonly words?: readonly (readonly [value: string, text: string, color: string])[];
}

interface Row {
  readonly title: string;
  readonly panels: readonly Panel[];
}

const gauge = (name: string, labels = ''): string =>
  `${name}{${OF}${labels === '' ? '' : `, ${labels}`}}`;
const rate = (name: string, labels = ''): string => `rate(${gauge(name, labels)}${RATE})`;
const sum = (by: string, expr: string): string => `sum by (${by}) (${expr})`;
const query = (expr: string, legend = '{{instance}}'): Query => ({ expr, legend });
/** Events of several counters, each a second. */
const rates = (named: Readonly<Record<string, string>>): Query[] =>
  Object.entries(named).map(([name, legend]) => query(rate(name), `${legend} {{instance}}`));

function graph(title: string, description: string, unit: string, queries: Query[]): Panel {
  return { title, description, type: 'timeseries', unit, width: 8, queries };
}

function stat(title: string, description: string, unit: string, expr: string): Panel {
  return { title, description, type: 'stat', unit, width: 4, queries: [query(expr)] };
}

const quantile = (part: number): Query =>
  query(
    `histogram_quantile(${part}, ${sum('le', rate('tunnel_open_duration_seconds_bucket'))})`,
    `${100 * part} %`,
  );
const outcomes = (labels: string) => rate('tunnel_flow_outcomes_total', labels);

const ROWS: readonly Row[] = [
  {
    title: 'Link',
    panels: [
      {
        ...stat('Link', 'To the jump host.', 'none', gauge('tunnel_link_up')),
        words: [
          ['0', 'down', 'red'],
          ['1', 'up', 'green'],
        ],
      },
      stat('Runs for', '', 's', `time() - ${gauge('tunnel_start_time_seconds')}`),
      stat('Connections', 'Open now.', 'none', sum(BY, gauge('tunnel_flows_live'))),
      stat('Round trip', 'To the jump host.', 's', gauge('tunnel_link_round_trip_seconds')),
      stat(
        'Refused',
        'Of the connections that were asked for.',
        'percentunit',
        `${sum(BY, outcomes('outcome="refused"'))} / ${sum(BY, outcomes(''))}`,
      ),
      {
        ...stat('Protected by', 'Cipher and key exchange.', 'none', gauge('tunnel_link_info')),
        queries: [query(gauge('tunnel_link_info'), '{{cipher}}, {{kex}}, {{server}}')],
      },
      {
        ...graph('State', 'What the link does.', 'none', [
          query(`${gauge('tunnel_link_state')} == 1`, '{{instance}} {{state}}'),
        ]),
        type: 'state-timeline',
        words: [['1', 'yes', 'blue']],
      },
      graph('Round trip', 'As it was timed last.', 's', [
        query(gauge('tunnel_link_round_trip_seconds')),
      ]),
      graph('Outages', 'Links that were lost, and attempts to dial again.', 'ops', [
        ...rates({
          tunnel_links_lost_total: 'lost',
          tunnel_redials_total: 'dials',
          tunnel_redial_failures_total: 'failed dials',
        }),
      ]),
    ],
  },
  {
    title: 'Connections',
    panels: [
      graph('Asked for', 'By what became of them.', 'ops', [
        query(sum('outcome', outcomes('')), '{{outcome}}'),
      ]),
      graph('Refused', 'Why, and by whom: the far side, the rules of the run, a limit.', 'ops', [
        query(sum('reason, by', outcomes('outcome="refused"')), '{{reason}}, {{by}}'),
      ]),
      graph('Time until the far side answers', 'Of those that were opened.', 's', [
        quantile(0.5),
        quantile(0.9),
        quantile(0.99),
      ]),
      graph('Open, by target', 'Targets are known where --metrics is a socket.', 'none', [
        query(sum('target', gauge('tunnel_flows_live')), '{{target}}'),
      ]),
      graph('Being opened', 'Their far side has not answered.', 'none', [
        query(sum(BY, gauge('tunnel_flows_opening'))),
      ]),
      graph('Ended', 'In order, or broken by an error.', 'ops', [
        query(sum('end', rate('tunnel_flows_ended_total')), '{{end}}'),
      ]),
    ],
  },
  {
    title: 'Data',
    panels: [
      graph('Carried', 'By direction.', 'Bps', [
        query(sum('direction', rate('tunnel_flow_bytes_total')), '{{direction}}'),
      ]),
      graph('Carried, by target', 'Both directions.', 'Bps', [
        query(sum('target', rate('tunnel_flow_bytes_total')), '{{target}}'),
      ]),
      graph(
        'Window budget',
        'What the jump host may have on its way, of --window-budget.',
        'bytes',
        [
          query(gauge('tunnel_window_budget_used_bytes'), 'used {{instance}}'),
          query(gauge('tunnel_window_budget_bytes'), 'budget {{instance}}'),
        ],
      ),
    ],
  },
  {
    title: 'Queues and limits',
    panels: [
      graph('Connections that wait', 'For a link, for a place, for an answer.', 'none', [
        query(gauge('tunnel_connects_held'), 'for a link {{instance}}'),
        query(gauge('tunnel_opens_waiting'), 'for a place {{instance}}'),
        query(gauge('tunnel_opens_unanswered'), 'for the jump host {{instance}}'),
      ]),
      graph(
        'Waiting to be sent',
        'Bytes for the jump host that the kernel has not taken.',
        'bytes',
        [query(gauge('tunnel_ssh_unsent_bytes'))],
      ),
      graph('Other queues', 'Connections with data, queries, records of the flow log.', 'none', [
        query(gauge('tunnel_ssh_channels_sending'), 'sending {{instance}}'),
        query(gauge('tunnel_dns_queries_waiting'), 'queries {{instance}}'),
        query(gauge('tunnel_flow_log_records_waiting'), 'records {{instance}}'),
      ]),
      graph('Turned away', 'By limits, and because no link or place came in time.', 'ops', [
        ...rates({
          tunnel_hold_timeouts_total: 'no link',
          tunnel_hold_limit_total: 'too many wait for a link',
          tunnel_opens_wait_timeouts_total: 'no place',
          tunnel_opens_over_limit_total: 'too many wait for a place',
          tunnel_channel_limit_total: 'channels',
          tunnel_flows_over_limit_total: 'connections',
        }),
      ]),
      graph('Budget short', 'Times that a channel got less than it needed.', 'ops', [
        ...rates({ tunnel_window_budget_total: '' }),
      ]),
      graph('Left out', 'Records, packets and messages that could not be written.', 'ops', [
        ...rates({
          tunnel_flow_log_missing_total: 'flow log',
          tunnel_pcap_lost_total: 'packets',
          tunnel_log_dropped_total: 'messages',
        }),
      ]),
    ],
  },
  {
    title: 'Names',
    panels: [
      graph('Queries', 'That the tunnel was asked, and passed on.', 'ops', [
        ...rates({
          tunnel_dns_queries_total: 'asked',
          tunnel_dns_cache_hits_total: 'from the cache',
          tunnel_dns_upstream_queries_total: 'behind the jump host',
          tunnel_dns_local_queries_total: 'to this machine',
        }),
      ]),
      graph('Failures', 'Queries that nobody answered, or that were too many.', 'ops', [
        ...rates({
          tunnel_dns_failures_total: 'SERVFAIL',
          tunnel_dns_upstream_failures_total: 'behind the jump host',
          tunnel_dns_over_limit_total: 'too many',
        }),
      ]),
      graph('Virtual addresses', 'Given to names, and names for which none was left.', 'ops', [
        ...rates({
          tunnel_dns_leases_total: 'given',
          tunnel_dns_leases_reclaimed_total: 'taken back',
          tunnel_dns_leases_exhausted_total: 'none left',
        }),
      ]),
    ],
  },
  {
    title: 'Packets of the device',
    panels: [
      graph('Frames', 'Of tunnel connect and exec.', 'pps', [
        ...rates({
          tunnel_tcp_frames_received_total: 'read',
          tunnel_tcp_frames_sent_total: 'written',
        }),
      ]),
      graph('Answered', 'With a reset, or with an ICMP error.', 'pps', [
        ...rates({
          tunnel_tcp_answered_reset_total: 'reset',
          tunnel_tcp_answered_unreachable_total: 'unreachable',
          tunnel_tcp_answered_prohibited_total: 'prohibited',
          tunnel_tcp_answered_port_unreachable_total: 'port unreachable',
        }),
      ]),
      graph('Lost and dropped', '', 'pps', [
        ...rates({
          tunnel_tcp_frames_lost_total: 'lost',
          tunnel_tcp_dropped_malformed_total: 'malformed',
          tunnel_tcp_dropped_fragments_total: 'fragments',
          tunnel_tcp_dropped_strangers_total: 'strangers',
          tunnel_tcp_dropped_held_limit_total: 'too many held',
          tunnel_tcp_dropped_waiting_limit_total: 'too many waiting',
        }),
      ]),
    ],
  },
  {
    title: 'Process',
    panels: [
      graph('Processor', 'Of one processor.', 'percentunit', [
        query(rate('process_cpu_user_seconds_total'), 'program {{instance}}'),
        query(rate('process_cpu_system_seconds_total'), 'kernel {{instance}}'),
      ]),
      graph('Memory', '', 'bytes', [
        query(gauge('process_resident_memory_bytes'), 'resident {{instance}}'),
        query(gauge('nodejs_heap_size_used_bytes'), 'objects {{instance}}'),
        query(gauge('nodejs_external_memory_bytes'), 'buffers {{instance}}'),
      ]),
      graph('How late it is', 'The event loop, between two scrapes.', 's', [
        query(gauge('tunnel_event_loop_delay_mean_seconds'), 'mean {{instance}}'),
        query(gauge('tunnel_event_loop_delay_max_seconds'), 'most {{instance}}'),
      ]),
    ],
  },
];

const SOURCE = { type: 'prometheus', uid: '$datasource' };

/** One that asks Prometheus for the values of a label. */
function variable(name: string, of: string) {
  return {
    name,
    label: name,
    type: 'query',
    datasource: SOURCE,
    query: { query: `label_values(${of}, ${name})`, refId: name },
    definition: `label_values(${of}, ${name})`,
    multi: true,
    includeAll: true,
    allValue: '.+',
    current: { selected: true, text: 'All', value: '$__all' },
    refresh: 2,
    sort: 1,
  };
}

function panelJson(panel: Panel, id: number, gridPos: Readonly<Record<string, number>>) {
  const { title, description, type, unit, queries, words = [] } = panel;
  const options = Object.fromEntries(
    words.map(([value, text, color], index) => [value, { text, color, index }]),
  );
  const isStat = type === 'stat';
  const named = title === 'Protected by';
  return {
    id,
    type,
    title,
    description,
    datasource: SOURCE,
    gridPos,
    fieldConfig: {
      defaults: { unit, min: 0, mappings: words.length === 0 ? [] : [{ type: 'value', options }] },
      overrides: [],
    },
    options: isStat
      ? { reduceOptions: { calcs: ['lastNotNull'] }, textMode: named ? 'name' : 'auto' }
      : { legend: { displayMode: 'list', placement: 'bottom' }, tooltip: { mode: 'multi' } },
    targets: queries.map(({ expr, legend }, index) => ({
      refId: String.fromCharCode('A'.charCodeAt(0) + index),
      datasource: SOURCE,
      expr,
      legendFormat: legend.trim(),
      // A figure is of now, and a curve of the time that is shown.
      ...(isStat ? { instant: true } : { range: true }),
    })),
  };
}

/** All panels, from left to right and from top to bottom. */
function panels(): object[] {
  const all: object[] = [];
  let y = 0;
  for (const { title, panels: ofRow } of ROWS) {
    const gridPos = { x: 0, y, w: WIDTH, h: 1 };
    all.push({ id: all.length + 1, type: 'row', title, collapsed: false, gridPos, panels: [] });
    y += 1;
    let x = 0;
    for (const [index, panel] of ofRow.entries()) {
      const h = panel.type === 'stat' ? STAT_HEIGHT : GRAPH_HEIGHT;
      const at = { x, y, w: panel.width, h };
      all.push(panelJson(panel, all.length + 1, at));
      x += panel.width;
      if (x < WIDTH && index < ofRow.length - 1) continue;
      x = 0;
      y += h;
    }
  }
  return all;
}

export function dashboard(): string {
  const source = {
    ...{ name: 'datasource', label: 'Data source', type: 'datasource', query: 'prometheus' },
    ...{ refresh: 1, current: {} },
  };
  const page = {
    uid: 'tunnel',
    title: 'Tunnels',
    description: 'Links, connections, data, queues and names of tunnels that have --metrics.',
    tags: ['tunnel'],
    schemaVersion: 38,
    version: 1,
    editable: true,
    graphTooltip: 1,
    refresh: '30s',
    time: { from: 'now-1h', to: 'now' },
    templating: {
      list: [
        source,
        variable('job', 'tunnel_build_info'),
        variable('instance', 'tunnel_build_info{job=~"$job"}'),
      ],
    },
    panels: panels(),
  };
  return `${JSON.stringify(page, undefined, 2)}\n`;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href)
  process.stdout.write(dashboard());
