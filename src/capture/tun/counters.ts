/** What the endpoint counts, for logs and metrics. */
export interface EndpointCounters {
  framesIn: number;
  framesOut: number;
  /** Payload to applications. */
  bytesOut: number;
  flowsHeld: number;
  flowsLive: number;
  flowsHeldTotal: number;
  flowsOpened: number;
  flowsRefused: number;
  /** By the application, before it was answered. */
  flowsGivenUp: number;
  flowsTimedOut: number;
  /** Put off for want of room. */
  flowsDeferred: number;
  answeredReset: number;
  answeredUnreachable: number;
  answeredProhibited: number;
  answeredPortUnreachable: number;
  droppedMalformed: number;
  droppedFragments: number;
  droppedMulticast: number;
  /** RSTs without a flow, ICMP errors, sources that can't be answered. */
  droppedUnanswerable: number;
  droppedRetransmits: number;
  droppedLongSyns: number;
  /** MAX_HELD, MAX_WAITING_BYTES, MAX_TIME_WAIT, MAX_HALF_OPEN. */
  droppedHeldLimit: number;
  droppedWaitingLimit: number;
  forgottenTimeWaits: number;
  forgottenHalfOpen: number;
  /** ICMP that told of a packet too large. */
  tooBig: number;
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
    droppedHeldLimit: 0,
    droppedWaitingLimit: 0,
    forgottenTimeWaits: 0,
    forgottenHalfOpen: 0,
    tooBig: 0,
  };
}
