/**
 * A running tunnel as a whole, for whoever shows it: `tunnel status`, USR1. It keeps nothing itself
 * that a part knows; `status()` asks them all.
 */
import type { AskedStatus, Glance, LinkStatus, RefusalStatus, Status } from '../control/status.ts';
import type { DestinationTable } from '../flow/destinationtable.ts';
import type { FlowTable, RefusedFlow } from '../flow/flowtable.ts';
import type { Flow } from '../flow/flowwatch.ts';
import type { LinkView } from '../link/linkstate.ts';
import { isAddress } from '../net/address.ts';
import { formatDestination } from '../net/destination.ts';
import type { CounterValue } from '../observe/counters.ts';
import type { Finding } from '../system/doctor/diagnosis.ts';

/** Who the tunnel is: known before anything is opened. */
export interface TunnelIdentity {
  /** `--name`, or the remote. */
  readonly name: string;
  readonly command: Status['command'];
  readonly version: string;
  /** All counters of the run. */
  readonly counters: () => readonly CounterValue[];
}

export interface OverviewParts {
  readonly identity: TunnelIdentity;
  readonly remote: string;
  readonly link: { view(): LinkView };
  readonly prompter: { readonly question: AskedStatus | undefined };
  readonly flows: FlowTable;
  readonly targets: () => readonly string[];
  readonly findings: () => readonly Finding[];
  /** Names that a canonical address is known by. */
  readonly namesOf: (address: string) => readonly string[];
}

export class Overview {
  readonly #parts: OverviewParts;
  /** In milliseconds since 1970. */
  readonly startedAt = Date.now();
  ready = false;
  device: string | undefined;
  proxies: readonly string[] = [];
  forwards: () => readonly string[] = () => [];

  constructor(parts: OverviewParts) {
    this.#parts = parts;
  }

  status(): Status {
    const { identity, flows, findings } = this.#parts;
    const { version, counters } = identity;
    const list = [...flows.live].map((flow) => this.#flow(flow));
    const { opened, refused, sent, received } = flows.totals();
    return {
      ...this.#head(),
      version,
      flows: {
        live: list.length,
        opening: list.filter(({ state }) => state === 'opening').length,
        opened,
        refused,
        sentBytes: sent,
        receivedBytes: received,
        list,
      },
      refusals: flows.refusals.map(refusalStatus),
      counters: Object.fromEntries(counters().map(({ name: counter, value }) => [counter, value])),
      checks: findings().map(({ name: check, state, detail, hint }) => ({
        name: check,
        state,
        detail,
        hint,
      })),
    };
  }

  link(): LinkStatus {
    return linkStatus(this.#parts.link.view());
  }

  /** With the last `refusals`. */
  glance(destinations: DestinationTable, refusals: number): Glance {
    const { flows, namesOf } = this.#parts;
    const { opened, refused, sent, received } = flows.totals();
    return {
      ...this.#head(),
      flows: { live: flows.size, opened, refused, sentBytes: sent, receivedBytes: received },
      destinations: destinations.totals().map(({ destination, live, ...of }) => ({
        destination: formatDestination(destination),
        names: isAddress(destination.host) ? namesOf(destination.host) : [],
        live,
        opened: of.opened,
        sentBytes: of.sent,
        receivedBytes: of.received,
      })),
      refusals: flows.refusals.slice(0, refusals).map(refusalStatus),
    };
  }

  #head() {
    const { identity, remote, prompter, targets } = this.#parts;
    return {
      name: identity.name,
      command: identity.command,
      pid: process.pid,
      startedAt: this.startedAt,
      at: Date.now(),
      ready: this.ready,
      remote,
      targets: targets(),
      device: this.device,
      proxies: this.proxies,
      forwards: this.forwards(),
      link: this.link(),
      asked: prompter.question,
    };
  }

  #flow(flow: Flow): Status['flows']['list'][number] {
    const { host } = flow.destination;
    return {
      id: flow.id,
      state: flow.openedAt === undefined ? 'opening' : 'open',
      way: flow.way,
      source: formatDestination(flow.source),
      destination: formatDestination(flow.destination),
      names: isAddress(host) ? this.#parts.namesOf(host) : [],
      askedAt: flow.askedAt,
      openedAt: flow.openedAt,
      sentBytes: flow.sent,
      receivedBytes: flow.received,
    };
  }
}

function refusalStatus({ flow, at, refusal, by, why }: RefusedFlow): RefusalStatus {
  return {
    at,
    id: flow.id,
    source: formatDestination(flow.source),
    destination: formatDestination(flow.destination),
    refusal,
    by,
    why,
  };
}

function linkStatus(view: LinkView): LinkStatus {
  const { state, since, upSince, attempt, error, hold, held, established, roundTripMs } = view;
  return {
    state,
    since,
    upSince,
    attempt,
    error: error && { code: error.code, message: error.message },
    holdSeconds: hold,
    held,
    holdEndsAt: view.holdEndsAt,
    redialAt: view.redialAt,
    roundTripMs: roundTripMs === undefined ? undefined : rounded(roundTripMs),
    at: established?.at,
    via: established?.via ?? [],
    user: established?.login.user,
    client: established?.client,
    server: established?.software,
    keyExchange: established?.algorithms?.kex,
    cipher: established?.algorithms?.cipher,
    hostKey: established?.hostKey?.key,
  };
}

/** Milliseconds; 10 µs are less than two measurements differ by. */
function rounded(milliseconds: number): number {
  return Math.round(milliseconds * 100) / 100;
}
