/**
 * What `tunnel status` tells of a running tunnel: the types of its JSON. Programs read it, so a
 * field keeps its name and its meaning. Times are in milliseconds since 1970, and texts of servers
 * may hold anything: whoever prints them makes them printable.
 */

export interface Status {
  /** --name, the profile, or the remote. */
  readonly name: string;
  readonly command: 'connect' | 'proxy' | 'exec';
  readonly pid: number;
  readonly version: string;
  readonly startedAt: number;
  /** When this was made. */
  readonly at: number;
  readonly ready: boolean;
  readonly remote: string;
  /** As they were written. */
  readonly targets: readonly string[];
  /** The device that captures; undefined: there is none. */
  readonly device: string | undefined;
  readonly proxies: readonly string[];
  /** Fixed forwards that listen: `127.0.0.1:8080 -> db.internal:5432`. */
  readonly forwards: readonly string[];
  readonly link: LinkStatus;
  /** A question that waits for its answer: a password, a code, a passphrase, a host key. */
  readonly asked?: AskedStatus | undefined;
  readonly flows: FlowsStatus;
  readonly refusals: readonly RefusalStatus[];
  /** All counters by their names (observe/counters.ts). */
  readonly counters: Readonly<Record<string, number>>;
  /** What tunnel doctor finds wrong with this machine for it. */
  readonly checks: readonly CheckStatus[];
}

export interface AskedStatus {
  readonly text: string;
  /** At the tunnel's own terminal, or at that of `tunnel reconnect` and `tunnel reload`. */
  readonly at: 'tunnel' | 'caller';
  readonly since: number;
}

export interface LinkStatus {
  readonly state: string;
  readonly since: number;
  readonly upSince: number | undefined;
  readonly attempt: number;
  /** Why there is no link. */
  readonly error: { readonly code: string; readonly message: string } | undefined;
  /** For how long new connections wait while there is none, in seconds. */
  readonly holdSeconds: number;
  /** Connections that wait for it. */
  readonly held: number;
  /** When the wait of the first one of them is over. */
  readonly holdEndsAt: number | undefined;
  /** When the jump host is dialled again. */
  readonly redialAt: number | undefined;
  readonly roundTripMs: number | undefined;
  /** host:port */
  readonly at: string | undefined;
  readonly via: readonly string[];
  readonly user: string | undefined;
  readonly client: string | undefined;
  readonly server: string | undefined;
  readonly keyExchange: string | undefined;
  readonly cipher: string | undefined;
  readonly hostKey: string | undefined;
}

export interface FlowsStatus {
  readonly live: number;
  /** Of these, those whose far side has not answered. */
  readonly opening: number;
  readonly opened: number;
  readonly refused: number;
  readonly sentBytes: number;
  readonly receivedBytes: number;
  /** The oldest first. */
  readonly list: readonly FlowStatus[];
}

export interface FlowStatus {
  readonly id: number;
  readonly state: 'opening' | 'open';
  readonly way: string;
  readonly source: string;
  readonly destination: string;
  /** Names that the destination's address is known by. */
  readonly names: readonly string[];
  readonly askedAt: number;
  readonly openedAt: number | undefined;
  readonly sentBytes: number;
  readonly receivedBytes: number;
}

export interface RefusalStatus {
  readonly at: number;
  readonly id: number;
  readonly source: string;
  readonly destination: string;
  readonly refusal: string;
  readonly by: string;
  readonly why: string;
}

/** One destination of a Glance: all its flows that were opened, until now. */
export interface DestinationStatus {
  readonly destination: string;
  readonly names: readonly string[];
  readonly live: number;
  readonly opened: number;
  readonly sentBytes: number;
  readonly receivedBytes: number;
}

/** What is shown of a run while it goes on: the status without the lists that may be long. */
export interface Glance extends Omit<Status, 'version' | 'flows' | 'counters' | 'checks'> {
  readonly flows: Omit<FlowsStatus, 'list' | 'opening'>;
  /** The one used last comes first. */
  readonly destinations: readonly DestinationStatus[];
}

export interface CheckStatus {
  readonly name: string;
  readonly state: string;
  readonly detail: string;
  readonly hint: string | undefined;
}

/** What a reload has come to: the answer to `{"do":"reload"}` has it as `reload`. */
export interface ReloadAnswer {
  /** "reloaded: 3 targets added, 1 removed" */
  readonly said: string;
  /** What needs a restart, and the like: a sentence each. */
  readonly notices: readonly string[];
}
