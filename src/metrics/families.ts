/**
 * The metrics that are not plain counters of the program (observe/counters.ts): what each is
 * called, which labels it has, and how it is read. The tables of docs/metrics.md are made of this.
 *
 * A port of loopback is open to all users of this machine, so there a metric goes without its
 * `private` labels, and its values are added up.
 */
import type { LinkStateName, LinkView } from '../link/linkstate.ts';
import { printable } from '../observe/printable.ts';
import type { TargetTotals } from './flowtally.ts';
import type { ProcessValues } from './processvalues.ts';

/** Whether an operator alone reads it, or all users of this machine. */
export type Audience = 'operator' | 'everybody';

/** All that a scrape is made of, as it was at one moment. */
export interface Reading {
  readonly run: {
    readonly name: string;
    readonly command: string;
    readonly version: string;
    readonly remote: string;
    readonly startedAt: number;
    readonly ready: boolean;
    /** Bytes. */
    readonly windowBudget: number;
  };
  readonly link: LinkView;
  readonly targets: readonly TargetTotals[];
  readonly process: ProcessValues;
}

export type Labels = Readonly<Record<string, string>>;

export interface Sample {
  readonly labels: Labels;
  readonly value: number | undefined;
}

export interface Family {
  readonly name: string;
  readonly type: 'counter' | 'gauge';
  readonly help: string;
  readonly labels: readonly string[];
  /** Labels for the operator alone. */
  readonly private: readonly string[];
  read(reading: Reading): readonly Sample[];
}

const LINK_STATES: readonly LinkStateName[] = [
  'connecting',
  'up',
  'probing',
  'idle',
  'waiting',
  'closed',
  'failed',
];

/** Of texts that servers send. Longer ones are cut. */
export const MAX_LABEL_LENGTH = 128;

type Read = (reading: Reading) => number | undefined | readonly Sample[];

interface Declared {
  readonly labels?: readonly string[];
  readonly private?: readonly string[];
}

function family(
  type: Family['type'],
  [name, help]: readonly [name: string, help: string],
  read: Read,
  { labels = [], private: ofOperator = [] }: Declared = {},
): Family {
  return {
    name,
    type,
    help,
    labels,
    private: ofOperator,
    read(reading) {
      const values = read(reading);
      return typeof values === 'object' ? values : [{ labels: {}, value: values }];
    },
  };
}

/** 0 while there is no link; unknown if the link doesn't tell, as the system's ssh. */
function ofLink(value: (link: LinkView) => number | undefined): Read {
  return ({ link }) => (link.upSince === undefined ? 0 : value(link));
}

const BY_TARGET = ['target'] as const;

export const FAMILIES: readonly Family[] = [
  family(
    'gauge',
    ['tunnel_build_info', 'the version of the program and of Node.js; always 1'],
    ({ run }) => [{ labels: { version: run.version, node: process.version }, value: 1 }],
    { labels: ['version', 'node'] },
  ),
  family(
    'gauge',
    ['tunnel_run_info', 'what the tunnel is called and does; always 1'],
    ({ run: { name, command, remote } }) => [
      { labels: { name: text(name), command, remote: text(remote) }, value: 1 },
    ],
    { labels: ['command'], private: ['name', 'remote'] },
  ),
  family(
    'gauge',
    ['tunnel_start_time_seconds', 'when the tunnel was started, in seconds since 1970'],
    ({ run }) => run.startedAt / 1000,
  ),
  family('gauge', ['tunnel_ready', '1 once the tunnel has become ready'], ({ run }) =>
    Number(run.ready),
  ),

  family(
    'gauge',
    ['tunnel_link_up', '1 while the connection to the jump host stands'],
    ({ link }) => Number(link.upSince !== undefined),
  ),
  family(
    'gauge',
    ['tunnel_link_state', '1 for the state of the link, 0 for all others'],
    ({ link }) =>
      LINK_STATES.map((state) => ({ labels: { state }, value: Number(link.state === state) })),
    { labels: ['state'] },
  ),
  family(
    'gauge',
    ['tunnel_link_state_since_seconds', 'when it came into this state, in seconds since 1970'],
    ({ link }) => link.since / 1000,
  ),
  family(
    'gauge',
    ['tunnel_link_info', 'what protects the link that stands; always 1'],
    ({ link: { established } }) =>
      established === undefined
        ? []
        : [
            {
              labels: {
                client: text(established.client),
                server: text(established.software),
                cipher: text(established.algorithms?.cipher),
                kex: text(established.algorithms?.kex),
                at: text(established.at),
                user: text(established.login.user),
              },
              value: 1,
            },
          ],
    { labels: ['client', 'server', 'cipher', 'kex'], private: ['at', 'user'] },
  ),
  family(
    'gauge',
    ['tunnel_link_round_trip_seconds', 'the round trip to the jump host that was timed last'],
    ({ link: { roundTripMs } }) => (roundTripMs === undefined ? undefined : roundTripMs / 1000),
  ),
  family(
    'gauge',
    ['tunnel_link_attempt', 'the number of the dial of this outage; 0 while there is none'],
    ({ link }) => (link.upSince === undefined ? link.attempt : 0),
  ),
  family(
    'gauge',
    ['tunnel_link_hold_seconds', 'how long a connection waits that is asked for now'],
    ({ link }) => link.hold,
  ),
  family(
    'gauge',
    ['tunnel_connects_held', 'connections that wait for a link'],
    ({ link }) => link.held,
  ),
  family(
    'gauge',
    ['tunnel_window_budget_bytes', 'what all channels may have on their way (--window-budget)'],
    ({ run }) => run.windowBudget,
  ),
  family(
    'gauge',
    ['tunnel_window_budget_used_bytes', 'of it, what channels have been granted or hold now'],
    ofLink(({ load }) => load?.windowBytes),
  ),
  family(
    'gauge',
    ['tunnel_opens_waiting', 'connections that wait for a place to be opened in'],
    ({ link }) => link.opens.waiting,
  ),
  family(
    'gauge',
    ['tunnel_opens_unanswered', 'opens that the jump host was asked for and has not answered'],
    ({ link }) => link.opens.unanswered,
  ),
  family(
    'gauge',
    ['tunnel_ssh_unsent_bytes', 'bytes for the jump host that the kernel has not taken yet'],
    ofLink(({ load }) => load?.unsentBytes),
  ),
  family(
    'gauge',
    ['tunnel_ssh_channels_sending', 'connections that have data for the jump host, and take turns'],
    ofLink(({ load }) => load?.sendingChannels),
  ),

  family(
    'gauge',
    ['tunnel_flows_live', 'connections that are open now'],
    ({ targets }) => targets.map(({ target, open }) => ({ labels: { target }, value: open })),
    { private: BY_TARGET },
  ),
  family(
    'gauge',
    ['tunnel_flows_opening', 'connections whose far side has not answered'],
    ({ targets }) => targets.map(({ target, opening }) => ({ labels: { target }, value: opening })),
    { private: BY_TARGET },
  ),
  family(
    'counter',
    ['tunnel_flow_bytes_total', 'bytes carried, of open connections until now'],
    ({ targets }) =>
      targets.flatMap(({ target, sent, received }) => [
        { labels: { direction: 'sent', target }, value: sent },
        { labels: { direction: 'received', target }, value: received },
      ]),
    { labels: ['direction'], private: BY_TARGET },
  ),
  family(
    'counter',
    ['tunnel_flow_outcomes_total', 'connections asked for, by what became of them'],
    ({ targets }) =>
      targets.flatMap(({ target, outcomes }) =>
        outcomes.map(({ outcome, reason, by, count }) => ({
          labels: { outcome, reason, by, target },
          value: count,
        })),
      ),
    { labels: ['outcome', 'reason', 'by'], private: BY_TARGET },
  ),
  family(
    'counter',
    ['tunnel_flows_ended_total', 'connections that are over: in order, or broken by an error'],
    ({ targets }) =>
      targets.flatMap(({ target, endedInOrder, endedBroken }) => [
        { labels: { end: 'in_order', target }, value: endedInOrder },
        { labels: { end: 'broken', target }, value: endedBroken },
      ]),
    { labels: ['end'], private: BY_TARGET },
  ),

  family(
    'counter',
    ['process_cpu_user_seconds_total', 'time that the program has used the CPU itself'],
    (reading) => reading.process.cpuUserSeconds,
  ),
  family(
    'counter',
    ['process_cpu_system_seconds_total', 'time that the kernel has used the CPU for it'],
    (reading) => reading.process.cpuSystemSeconds,
  ),
  family(
    'counter',
    ['process_cpu_seconds_total', 'both together'],
    ({ process: { cpuUserSeconds, cpuSystemSeconds } }) => cpuUserSeconds + cpuSystemSeconds,
  ),
  family(
    'gauge',
    ['process_start_time_seconds', 'when the process was started, in seconds since 1970'],
    (reading) => reading.process.startTimeSeconds,
  ),
  family(
    'gauge',
    ['process_resident_memory_bytes', 'memory of the process'],
    (reading) => reading.process.residentBytes,
  ),
  family(
    'gauge',
    ['process_open_fds', 'descriptors that are open'],
    (reading) => reading.process.openDescriptors,
  ),
  family(
    'gauge',
    ['process_max_fds', 'descriptors that may be open'],
    (reading) => reading.process.maxDescriptors,
  ),
  family(
    'gauge',
    ['nodejs_heap_size_used_bytes', 'of the memory: objects'],
    (reading) => reading.process.heapUsedBytes,
  ),
  family(
    'gauge',
    ['nodejs_heap_size_total_bytes', 'of the memory: space for objects'],
    (reading) => reading.process.heapTotalBytes,
  ),
  family(
    'gauge',
    ['nodejs_external_memory_bytes', 'of the memory: buffers'],
    (reading) => reading.process.externalBytes,
  ),
  family(
    'gauge',
    ['tunnel_event_loop_delay_mean_seconds', 'how late the program was, since the last scrape'],
    (reading) => reading.process.loopDelay?.mean,
  ),
  family(
    'gauge',
    ['tunnel_event_loop_delay_max_seconds', 'how late it was at most, since the last scrape'],
    (reading) => reading.process.loopDelay?.max,
  ),
];

/** The one histogram. It is filled while flows are opened. */
export const OPEN_DURATION = {
  name: 'tunnel_open_duration_seconds',
  help: 'from the request for a connection to the answer of its far side',
  labels: ['way'],
  /** Seconds: a local network, a continent, a lost segment, a hold. */
  buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
} as const;

/** Texts of users and servers. */
function text(value: string | undefined): string {
  return printable(value ?? '').slice(0, MAX_LABEL_LENGTH);
}
