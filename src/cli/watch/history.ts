/** What the view knows of a tunnel: its last status, and the rates that the earlier ones give. */
import type { FlowStatus, Status } from '../../control/status.ts';

/** Bytes a second. */
export interface Rate {
  readonly sent: number;
  readonly received: number;
}

export interface WatchedTunnel {
  readonly pid: number;
  readonly status: Status;
  /** When the status came, in milliseconds since 1970. */
  readonly heardAt: number;
  /** The latest one last. */
  readonly rates: readonly Rate[];
  rateOf(flow: FlowStatus): Rate;
}

/** One a second: more than any screen has columns. */
export const MAX_RATES = 512;

export class History implements WatchedTunnel {
  status: Status;
  heardAt: number;
  readonly #rates: Rate[] = [];
  #flows = new Map<number, Rate>();

  constructor(status: Status, heardAt = Date.now()) {
    this.status = status;
    this.heardAt = heardAt;
  }

  get pid(): number {
    return this.status.pid;
  }

  get rates(): readonly Rate[] {
    return this.#rates;
  }

  rateOf({ id }: FlowStatus): Rate {
    return this.#flows.get(id) ?? { sent: 0, received: 0 };
  }

  add(status: Status, heardAt = Date.now()): void {
    const before = this.status;
    this.status = status;
    this.heardAt = heardAt;
    const seconds = (status.at - before.at) / 1_000;
    if (!(seconds > 0)) return; // also NaN: unknown
    this.#rates.push(rate(before.flows, status.flows, seconds));
    if (this.#rates.length > MAX_RATES) this.#rates.shift();
    const known = new Map(before.flows.list.map((flow) => [flow.id, flow]));
    const none = { sentBytes: 0, receivedBytes: 0 };
    this.#flows = new Map(
      status.flows.list.map((flow) => [flow.id, rate(known.get(flow.id) ?? none, flow, seconds)]),
    );
  }
}

interface Carried {
  readonly sentBytes: number;
  readonly receivedBytes: number;
}

function rate(before: Carried, now: Carried, seconds: number): Rate {
  return {
    sent: Math.max(0, now.sentBytes - before.sentBytes) / seconds,
    received: Math.max(0, now.receivedBytes - before.receivedBytes) / seconds,
  };
}
