/**
 * The endpoint's counters. They are plain fields because the endpoint counts every frame, and they
 * are read only when somebody wants to see them.
 */
import type { CounterName } from '../../observe/counters.ts';

export interface EndpointCounters {
  framesIn: number;
  framesOut: number;
  /** Payload sent to applications. */
  bytesOut: number;
  flowsHeld: number;
  flowsLive: number;
  flowsHeldTotal: number;
  flowsOpened: number;
  flowsRefused: number;
  /** The application gave up before it was answered. */
  flowsGivenUp: number;
  flowsTimedOut: number;
  /** Forgotten until the application sends its SYN again: there was no capacity. */
  flowsDeferred: number;
  answeredReset: number;
  answeredUnreachable: number;
  answeredProhibited: number;
  answeredPortUnreachable: number;
  droppedMalformed: number;
  droppedFragments: number;
  droppedMulticast: number;
  /** RSTs that belong to no flow, ICMP errors, addresses that can't be answered. */
  droppedUnanswerable: number;
  droppedRetransmits: number;
  droppedLongSyns: number;
  /** For MAX_STRANGERS. */
  droppedStrangers: number;
  /** These five: MAX_HELD, MAX_WAITING_BYTES, MAX_TIME_WAIT, MAX_HALF_OPEN, MAX_KNOWN. */
  droppedHeldLimit: number;
  droppedWaitingLimit: number;
  forgottenTimeWaits: number;
  forgottenHalfOpen: number;
  forgottenSources: number;
  /** ICMP errors about a packet that was too large. */
  tooBig: number;
}

/** The names under which they are shown. */
const NAMES: Readonly<Record<keyof EndpointCounters, CounterName>> = {
  framesIn: 'tunnel_tcp_frames_received_total',
  framesOut: 'tunnel_tcp_frames_sent_total',
  bytesOut: 'tunnel_tcp_sent_bytes_total',
  flowsHeld: 'tunnel_tcp_flows_waiting',
  flowsLive: 'tunnel_tcp_flows_live',
  flowsHeldTotal: 'tunnel_tcp_flows_held_total',
  flowsOpened: 'tunnel_tcp_flows_opened_total',
  flowsRefused: 'tunnel_tcp_flows_refused_total',
  flowsGivenUp: 'tunnel_tcp_flows_given_up_total',
  flowsTimedOut: 'tunnel_tcp_flows_timed_out_total',
  flowsDeferred: 'tunnel_tcp_flows_deferred_total',
  answeredReset: 'tunnel_tcp_answered_reset_total',
  answeredUnreachable: 'tunnel_tcp_answered_unreachable_total',
  answeredProhibited: 'tunnel_tcp_answered_prohibited_total',
  answeredPortUnreachable: 'tunnel_tcp_answered_port_unreachable_total',
  droppedMalformed: 'tunnel_tcp_dropped_malformed_total',
  droppedFragments: 'tunnel_tcp_dropped_fragments_total',
  droppedMulticast: 'tunnel_tcp_dropped_multicast_total',
  droppedUnanswerable: 'tunnel_tcp_dropped_unanswerable_total',
  droppedRetransmits: 'tunnel_tcp_dropped_retransmits_total',
  droppedLongSyns: 'tunnel_tcp_dropped_long_syns_total',
  droppedStrangers: 'tunnel_tcp_dropped_strangers_total',
  droppedHeldLimit: 'tunnel_tcp_dropped_held_limit_total',
  droppedWaitingLimit: 'tunnel_tcp_dropped_waiting_limit_total',
  forgottenTimeWaits: 'tunnel_tcp_forgotten_time_waits_total',
  forgottenHalfOpen: 'tunnel_tcp_forgotten_half_open_total',
  forgottenSources: 'tunnel_tcp_forgotten_sources_total',
  tooBig: 'tunnel_tcp_too_big_total',
};

/** The counters' values under those names, for `Observer.addCounters`. */
export function namedCounters(counters: EndpointCounters): (readonly [CounterName, number])[] {
  const fields = Object.keys(NAMES) as (keyof EndpointCounters)[];
  return fields.map((field) => [NAMES[field], counters[field]]);
}

export function createCounters(): EndpointCounters {
  return {
    framesIn: 0,
    framesOut: 0,
    bytesOut: 0,
    flowsHeld: 0,
    flowsLive: 0,
    flowsHeldTotal: 0,
    flowsOpened: 0,
    flowsRefused: 0,
    flowsGivenUp: 0,
    flowsTimedOut: 0,
    flowsDeferred: 0,
    answeredReset: 0,
    answeredUnreachable: 0,
    answeredProhibited: 0,
    answeredPortUnreachable: 0,
    droppedMalformed: 0,
    droppedFragments: 0,
    droppedMulticast: 0,
    droppedUnanswerable: 0,
    droppedRetransmits: 0,
    droppedLongSyns: 0,
    droppedStrangers: 0,
    droppedHeldLimit: 0,
    droppedWaitingLimit: 0,
    forgottenTimeWaits: 0,
    forgottenHalfOpen: 0,
    forgottenSources: 0,
    tooBig: 0,
  };
}
